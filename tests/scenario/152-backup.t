#!/bin/bash
# A backup of a whole root while it is used, and what a new root makes of it.
# timeout: 240
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export TMPDIR=$T/tmp
mkdir "$TMPDIR"

export_all() { queue-inspect -v export --all >"$1"; }
import() { queue-inspect --root "$1" import --create <"$2"; }
listing() { # ROOT QUEUE: what matters of its messages
  queue-inspect --root "$1" list "$2" --json | python3 -c '
import json, sys
for line in sys.stdin:
    o = json.loads(line)
    print(o["id"], o["state"], o["attempts"], o.get("due_at"), o.get("expires_at"), o["body_bytes"])'
}
flags() { queue-inspect --root "$1" list --json | python3 -c '
import json, sys
for line in sys.stdin:
    o = json.loads(line)
    print(o["queue"], o["ready"] + o["claimed"], o["deferred"], o["takes"], o["puts"], o.get("hold_reason", ""))'; }

# --- everything that a root has -----------------------------------------------------------------------------------------------
run_ok queue-inspect create Sales error Held PutsHeld Empty
echo one | queue-inspect put Sales --id a1 >/dev/null
echo later | queue-inspect put Sales --id later --at 2099-01-01T00:00:00Z >/dev/null
echo soon | queue-inspect put Sales --id soon --ttl 5h >/dev/null
head -c 100000 /dev/urandom >blob
echo with | queue-inspect put Held --id with --attach prices=blob >/dev/null
echo kept | queue-inspect put PutsHeld --id kept >/dev/null
run_ok queue-inspect hold Held --reason 'database upgrade'
run_ok queue-inspect hold PutsHeld --puts --reason 'being removed'
# A failed attempt, and a message that waits for its second.
echo fails | queue-inspect put Retried --create --id fails >/dev/null
run_exit 75 distributor worker --queue Retried --retry-increment 10h --once -- sh -c 'exit 75'
same 'fails deferred 1' "$(listing root Retried | cut -d' ' -f1-3)" "failed, waits"
# Ids: of local puts, of a listener (one handled, one waiting), marked by hand.
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
address=${ready_line#ready }
send() { gw-send --root "$T/hq" --site "S=$address" --to S --id "$1" --wait delivered --timeout 20s <<<"$2"; }
run_ok send handled first
run_ok queue-inspect take Store1
run_ok send waiting second
run_ok gw-dedup mark --endpoint Store1 marked
# What became of messages to sites.
run_ok gw-send --site "S=$address" --to S --id out --wait delivered --timeout 20s blob
run_ok export_all all.tar
like 'queues=[0-9]+ messages=[0-9]+' "$err"
before=$(flags root)
stop_daemon listen
same '' "$(ls "$TMPDIR")" "no temporary file is left"
run_ok tar -tf all.tar
like '^\+root/dedup/Store1.db$' "$out"
like '^\+root/outcomes.db$' "$out"
mkdir unpacked
tar -C unpacked -xf all.tar 2>/dev/null
same 'handled marked out waiting ' "$(sqlite3 unpacked/+root/dedup/Store1.db 'select id from seen order by id' | tr '\n' ' ')" "the ids are a database that sqlite3 opens"

run_ok import new all.tar
same '' "$(ls "$TMPDIR")" "no temporary file is left"
same "$before" "$(flags new)" "counts, holds and their reasons"
for queue in Sales Held PutsHeld Retried Store1; do same "$(listing root $queue)" "$(listing new $queue)" "messages of $queue"; done
run_ok queue-inspect --root new show Held with --json
path=$(jq -r '.attachments[0].path' <<<"$out")
check "the blob came along, into the new root" cmp "$path" blob
like "^$T/new/" "$path"
run_exit 75 queue-inspect --root new take Held
run_exit 75 queue-inspect --root new put PutsHeld <<<x
same 'delivered' "$(gw-send --root new --site "S=$address" wait -v --json --timeout 0 out | jq -r .state)" "what became of a message is known"
check "another identity" [ "$(od -An -tx1 -N64 root/format)" != "$(od -An -tx1 -N64 new/format)" ]
run_ok queue-inspect --root new check
run_ok gw-dedup --root new check --endpoint Store1

# A sender that tries again is not believed: what was finished, and what waits, came before.
start_daemon listen gw-listen --root new --endpoint Store1 --channel http://127.0.0.1:0/Store1/
address=${ready_line#ready }
send_new() { gw-send --root "$T/hq2" --site "S=$address" --to S --id "$1" --wait delivered --timeout 20s <<<"$2"; }
run_ok send_new handled first
run_ok send_new waiting second
run_ok send_new fresh third
same 'waiting out fresh ' "$(queue-inspect --root new list Store1 --json | jq -r .id | tr '\n' ' ')" "the new one is delivered, nothing twice"
stop_daemon listen
# Once more into the same root: nothing comes twice.
run_ok import new all.tar
like 'stored=0 ' "$err"

# Damage is noticed before anything is stored.
python3 - <<'EOF'
data = bytearray(open("all.tar", "rb").read())
at = data.index(b"SQLite format 3")
data[at + 3000] ^= 1
open("damaged.tar", "wb").write(data)
EOF
run_exit 65 import damaged damaged.tar
like "member '\\+root/" "$err"
same '' "$(find damaged/dedup damaged/queues -type f)" "nothing of it is stored"
cp -a unpacked/+root evil
(cd unpacked && tar --format=pax --transform 's|^evil|+root/../evil|' -cf ../evil.tar ../evil/outcomes.db 2>/dev/null)
run_exit 65 import evil-root evil.tar

# --- while others work ---------------------------------------------------------------------------------------------------------
# Messages walk through the queues against the order in which they are read, and some are handled on the way.
export GW_ROOT=$T/busy
run_ok queue-inspect create A M Z
seq -f 'm%g' 1 600 >all-ids
run_ok queue-inspect put Z --lines -q --id walk all-ids
walk() { while [ ! -e stop ]; do for way in Z:M M:A A:Z; do queue-inspect move "${way%:*}" "${way#*:}" --all -q --max 37 2>/dev/null; done; done; }
walk &
walker=$!
distributor worker --queue Z --capacity 2 -- sh -c 'cat >/dev/null; sleep 0.05; echo "$GW_MESSAGE_ID" >>handled' >/dev/null 2>&1 &
worker=$!
for n in 1 2 3 4; do
  cp handled handled-before 2>/dev/null || : >handled-before
  export_all "busy$n.tar" 2>/dev/null
  run_ok import "copy$n" "busy$n.tar"
  for queue in A M Z; do queue-inspect --root "copy$n" list $queue --json 2>/dev/null; done | jq -r .id | sort >"ids$n"
  same '' "$(uniq -d "ids$n")" "copy $n has no message twice"
  same '' "$(seq -f 'walk-%g' 1 600 | sort | comm -23 - "ids$n" | comm -23 - <(sort handled))" "copy $n has all that was not handled"
done
check "some were handled meanwhile" test -s handled
touch stop
wait "$walker"
kill -TERM "$worker"
wait "$worker"
done_testing
