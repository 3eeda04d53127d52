#!/usr/bin/env bash
# Data bus properties from gw-send --attach to the handler at the other end: order and repetition on the wire, and how long each blob lives.
# timeout: 180
# asan: yes
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/gateway-lib.sh
. "$SRC/tests/gateway-lib.sh"

send() { gw-send -q --root "$T/send" "$@"; }
forward() { gw-send --root "$T/send" forward "$@"; }
blobs() { find "$T/$1/databus" -type f 2>/dev/null | wc -l; }
no_blobs() { [ "$(blobs "$1")" = 0 ]; }
links() { find "$T/$1/databus" -type f -printf '%n\n' | sort | paste -sd' '; }
count() { queue-inspect --root "$T/$1" list "$2" --json 2>/dev/null | wc -l; }
has() { [ "$(count "$1" "$2")" -ge "$3" ]; }
drained() { [ "$(count "$1" "$2")" = 0 ]; }
# The properties of the first message of a queue: NAME BYTES, sorted; and the file of one.
attached() { queue-inspect --root "$T/$1" show "$2" --all --json | head -n 1 | jq -r '.attachments[] | "\(.key) \(.bytes)"' | sort; }
file_of() { queue-inspect --root "$T/$1" show "$2" --all --json | jq -r --arg key "$3" '.attachments[] | select(.key == $key) | .path' | head -n 1; }
calls() { # SITE: what came on the wire, in its order
  local file
  while read -r file; do
    case $(header "$1/$file" NServiceBus.CallType) in *Property) printf 'property ' ;; *Submit) printf 'submit ' ;; *) printf '? ' ;; esac
  done < <(find "$1" -name '*.request' -printf '%f\n' | sort -n)
}
listen() { start_daemon "$1" gw-listen -q --root "$T/$2" --endpoint Store --channel "http://127.0.0.1:${3:-0}/Store/"; url=${ready_line#ready }; }
key_pattern='^[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
head -c 20000000 /dev/urandom >big
printf hello >small
printf '0123456789=' >'odd=name'

# --- two sites from one command: stored once -------------------------------------------------------------------------------------
start_site a
start_site b
sites=(--site "A=${URL[a]}" --site "B=${URL[b]}")
run_ok gw-send -q --root "$T/send" --to A,B "${sites[@]}" --id m1 --attach big=big --attach 'a/b%c=small' --attach eq=odd=name small
same 3 "$(blobs send)" 'each file is stored once'
same '3 3 3' "$(links send)" 'its bytes are shared by the messages to both sites'
run_ok queue-inspect --root "$T/send" show site.A --all --json
like "$key_pattern" "$(jq -r '.headers["NServiceBus.DataBus.big"]' <<<"$out")" 'the header is the key of the file share'
same $'a/b%c 5\nbig 20000000\neq 11' "$(attached send site.A)" 'attachments[] of show'
case $(file_of send site.A big) in "$T/send/databus/"*) pass 'path is absolute' ;; *) fail 'path is absolute' ;; esac
run_ok cmp big "$(file_of send site.B big)"
run_ok cmp 'odd=name' "$(file_of send site.A eq)"

# --- on the wire: properties first; a restart in between; then the submit alone --------------------------------------------------------
listen first recv
plan_site a "pass $url" "pass $url" "pass $url" close 'close'
plan_site b close
run_exit 75 forward --once "${sites[@]}" --retry-increment 100ms
same 'property property property submit ' "$(calls a)" 'properties come before their message'
same 3 "$(blobs send)" "the sender's copies stay while a site has not got them"
stop_daemon first
listen second recv
plan_site a "pass $url"
wait_until 30 forward -q --once --to A "${sites[@]}" --retry-increment 100ms
same 'property property property submit submit ' "$(calls a)" 'the second attempt is the submit alone'
same 1 "$(count recv Store)" 'properties outlive a restart of the receiver'
same $'a/b%c 5\nbig 20000000\neq 11' "$(attached recv Store)"
for pair in big:big 'a/b%c:small' 'eq:odd=name'; do run_ok cmp "${pair#*:}" "$(file_of recv Store "${pair%:*}")"; done
like "$key_pattern" "$(queue-inspect --root "$T/recv" show Store --all --json | jq -r '.headers["NServiceBus.DataBus.big"]')"
unlike "$(basename "$(file_of send site.B big)")" "$(file_of recv Store big)" 'the receiver has keys of its own'
same '2 2 2' "$(links send)" 'one site has it, the other one has not'

# --- 412: the properties again, then the submit ---------------------------------------------------------------------------------------
rm b/*.request
plan_site b close "pass $url"
before=$(requests b)
start_daemon forwarder gw-send --root "$T/send" forward --to B "${sites[@]}" --retry-increment 100ms --retries 20
wait_until 30 drained send site.B
stop_daemon forwarder
same 1 "$(count recv Store)" 'the same id at the same endpoint: nothing twice'
wait_until 5 no_blobs send
same 0 "$before"
rm -f a/*.request a/plan
queue-inspect --root "$T/recv" purge Store --all -q >purged
same 0 "$(blobs recv)" 'a purge takes the blobs along'
start_site c
plan_site c 503 "pass $url"
printf body | send --to C --site "C=${URL[c]}" --id m2 --attach one=small --attach two=big >id
start_daemon forwarder gw-send --root "$T/send" forward --site "C=${URL[c]}" --retry-increment 100ms --retries 20
wait_until 30 drained send site.C
stop_daemon forwarder
same 'property submit property property submit ' "$(calls c)" 'after a failure: the submit, and only after its 412 the properties'
same 1 "$(count recv Store)"
run_ok cmp big "$(file_of recv Store two)"
wait_until 5 no_blobs send

# --- a balancer deals each request to another listener -------------------------------------------------------------------------------
one=$url
listen third recv
start_site balancer
mapfile -t turns < <(for i in $(seq 1 100); do echo "pass $one"; echo "pass $url"; done)
plan_site balancer "${turns[@]}"
for i in $(seq 1 8); do printf 'body %d' "$i" | send --to L --site "L=${URL[balancer]}" --id "l$i" --attach one=small --attach two='odd=name' >id; done
run_ok forward -q --drain --site "L=${URL[balancer]}"
same 24 "$(requests balancer)" 'over two listeners: nothing is sent twice'
same 9 "$(count recv Store)" 'each is there once'
same 18 "$(blobs recv)"
same 0 "$(queue-inspect --root "$T/recv" show Store --all --json | jq -r '.attachments[] | select(.bytes == null) | .path' | wc -l)" 'every blob is there'
check 'the sender keeps none' no_blobs send
stop_daemon third

# --- workers: GW_ATTACHMENTS, ack, error queue, move, purge ------------------------------------------------------------------------------
queue-inspect --root "$T/recv" purge Store --where 'id!=m2' -q >purged
same 2 "$(blobs recv)" 'those of other messages stay'
export GW_ROOT=$T/recv
queue-inspect create error V -q
run_ok queue-inspect put W --create --attach 'a/b%c=small' --attach ..=odd=name small
same 4 "$(blobs recv)" 'queue-inspect put attaches as well'
run_ok queue-inspect move W V --all
same 4 "$(blobs recv)" 'they move with their message'
run_exit 1 distributor worker --queue V --retries 0 --immediate-retries 0 --drain -q -- sh -c 'exit 3'
same 4 "$(blobs recv)" 'the error queue keeps them'
run_ok queue-inspect move error V --all
run_ok distributor worker --queue V --drain -q -- sh -c 'cd "$GW_ATTACHMENTS" && LC_ALL=C ls -A && cat a%2Fb%25c %2E%2E'
same $'%2E%2E\na%2Fb%25c\nhello0123456789=' "$out" 'the handler sees a file for each, with an encoded name'
same 2 "$(blobs recv)" 'the acknowledgement takes them along'
same 0 "$(find recv/databus.open -mindepth 1 | wc -l)"
run_ok distributor worker --queue Store --drain -q -- sh -c 'cmp "$GW_ATTACHMENTS/two" '"$T/big"
check 'the last one has gone' no_blobs recv
printf x | queue-inspect put W -q
run_ok distributor worker --queue W --drain -q -- sh -c 'echo "${GW_ATTACHMENTS-unset}"'
like '^(unset|)$' "$out" 'no attachments, no directory'
run_ok queue-inspect put W --attach one=small small
run_ok queue-inspect take W
same hello "$out"
check 'take takes them along' no_blobs recv

# --- sent by a handler ---------------------------------------------------------------------------------------------------------------
export A_SITE="A=${URL[a]}"
handler='printf z | gw-send -q --to A --site "$A_SITE" --attach one='$T/small' >/dev/null; [ "$GW_ATTEMPT" = 2 ]'
for i in 1 2; do printf x | queue-inspect put W -q; done
run_ok distributor worker --queue W --drain -q --capacity 1 -- sh -c "$handler"
same 2 "$(count recv site.A)" 'only the good attempts have sent'
same '2 2' "$(links recv)" 'and only their blobs are left'
run_ok forward --root "$T/recv" -q --drain --site "$A_SITE"
same 'property property submit submit' "$(calls a | xargs -n 1 | sort | paste -sd' ')"
check 'delivered: gone' no_blobs recv

# --- time to be received --------------------------------------------------------------------------------------------------------------
printf x | queue-inspect put W -q --ttl 1s --attach one=small
printf x | queue-inspect put W -q --attach two=small
same 2 "$(blobs recv)"
start=$SECONDS
wait_until 15 eval '[ "$(blobs recv)" = 1 ]'
check 'within 10 s after its time' [ $((SECONDS - start)) -le 12 ]
queue-inspect purge W --all -q >purged
check 'purged' no_blobs recv
stop_daemon second

# --- other channels ------------------------------------------------------------------------------------------------------------------
mkdir box
start_daemon others gw-listen -q --root "$T/recv" --endpoint Other --channel "$T/box,file" --channel http://127.0.0.1:0/vnext/,httpvnext
vnext=$(sed -n 's/^ready \(http[^ ,]*\).*/\1/p' others.out)
[ -n "$vnext" ] || { wait_until 5 grep -q http others.out; vnext=$(grep -o 'http://[^ ,]*' others.out); }
other=(--site "F=$T/box,file" --site "V=$vnext,httpvnext")
printf f | send --to F "${other[@]}" --id f1 --attach 'a/b%c=small' --attach two=big >id
printf v | send --to V "${other[@]}" --id v1 --attach 'a/b%c=small' --attach two=big >id
run_ok forward -q --drain "${other[@]}"
wait_until 20 has recv Other 2
for id in f1 v1; do
  queue-inspect show Other "$id" --json >shown
  same $'a/b%c 5\ntwo 20000000' "$(jq -r '.attachments[] | "\(.key) \(.bytes)"' shown | sort)" "$id"
  run_ok cmp big "$(jq -r '.attachments[] | select(.key == "two") | .path' shown)"
done
check 'delivered: gone' no_blobs send
stop_daemon others
run_ok queue-inspect check

# --- export and import ---------------------------------------------------------------------------------------------------------------
run_ok queue-inspect put X --create -q --id x1 --attach 'a/b%c=small' --attach two=big --attach empty=/dev/null small
run_ok queue-inspect put X -q --id x2 small
queue-inspect export X >x.tar
for round in 1 2; do
  run_ok queue-inspect --root "$T/other" import --create <x.tar
  same 3 "$(blobs other)" "import $round: each blob once"
done
same 2 "$(count other X)"
same $'a/b%c 5\nempty 0\ntwo 20000000' "$(attached other X)"
run_ok cmp big "$(file_of other X two)"
run_ok queue-inspect --root "$T/other" check
run_ok queue-inspect --root "$T/other" purge X --all -q
check 'and they go' no_blobs other
mkdir x
tar -xf x.tar -C x
same 20000000 "$(find x -name '*.blob.*' -size +1M -printf '%s')" 'any tar reads it'
python3 - x.tar >bad.tar <<'PY'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[10_000_000] ^= 1
sys.stdout.buffer.write(data)
PY
run_exit 65 queue-inspect --root "$T/third" import --create <bad.tar
like 'blob is damaged' "$err"
same 0 "$(blobs third)"
queue-inspect purge X --all -q >purged

# --- check --------------------------------------------------------------------------------------------------------------------------
file=$(file_of recv Other two)
rm "$file"
run_exit 1 queue-inspect check
like "missing-blob|names '$file'" "$out$err"
run_ok queue-inspect check --repair
run_ok cmp big "$file"
run_ok queue-inspect check
orphan=$(dirname "$file")/00000000-0000-4000-8000-000000000001
old=$(dirname "$file")/00000000-0000-4000-8000-000000000002 # named by a message without a link, as in roots of before
queue-inspect put Old --create -q --header "NServiceBus.DataBus.x=${old#"$GW_ROOT/databus/"}" small
cp small "$old"
cp small "$orphan"
cp small "$orphan.part"
run_ok queue-inspect check
check 'a young one may belong to somebody' [ -e "$orphan" ]
preload=$BUILD/test-bin/clock_offset.so
later() { CLOCK_OFFSET=700000 LD_PRELOAD=$preload "$@"; }
if [ ! -e "$preload" ] || [[ ${CXXFLAGS-}${MODE-}$BUILD == *san* ]]; then 
  skip 7 'no other clock here'
  rm "$orphan" "$orphan.part"
else
  run_exit 1 later queue-inspect check
  like "$orphan' belongs to no message" "$out$err"
  later queue-inspect check --repair >repaired 2>&1
  check_not 'the orphan goes' [ -e "$orphan" ]
  check_not 'an unfinished one too' [ -e "$orphan.part" ]
  check 'a header in a message is enough to keep one' [ -e "$old" ]
  run_ok cmp big "$file"
  run_ok queue-inspect check
fi
queue-inspect purge Other --all -q >purged
rm "$old"

# --- bad input ------------------------------------------------------------------------------------------------------------------------
for word in nokey =small key= ''; do run_exit 64 gw-send --to A --site "$A_SITE" --attach "$word" small; done
run_exit 64 gw-send --to A --site "$A_SITE" --attach one=small --attach ONE=big small
run_exit 66 gw-send --to A --site "$A_SITE" --attach one=missing small
like "'?missing'?" "$err"
run_exit 66 queue-inspect put W --attach "one=$T" small
like 'is a directory' "$err"
same '0 0' "$(count recv site.A) $(blobs recv)" 'nothing is stored'
run_ok queue-inspect check
done_testing
