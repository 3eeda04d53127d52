#!/usr/bin/env bash
# What operators do by hand, in detail: what is due, what is selected, what leaves an outbox, what is counted, what a kill leaves.
. "$(dirname "$0")/../lib.sh"

put() { printf '%s' "$1" | queue-inspect put "${@:2}"; }
row() { queue-inspect list --json | jq -r --arg q "$1" 'select(.queue == $q) | '"$2"; }

# --- what was deferred is ready when its time has come, whether or not somebody looks for work --------------------------------
run_ok queue-inspect create Sales
run_ok put soon Sales --id soon --delay 300ms
due() { [ "$(row Sales '"\(.ready) \(.deferred)"')" = '1 0' ]; }
wait_until 10 due
check "it has an age" [ -n "$(row Sales .oldest_s)" ]
run_ok put token Shop.distributor.storage --id token --create
run_exit 1 queue-inspect list --max-age 100ms
like '^Sales +1' "$out"
unlike 'distributor' "$out" "what a distributor notes waits for nothing"
run_exit 1 queue-inspect list Shop.distributor.storage --max-count 0
run_ok queue-inspect take Sales --dry-run
same $'soon\twould-take' "$out"
run_ok queue-inspect list Sales --json
same 'ready none' "$(jq -r '"\(.state) \(.due_at // "none")"' <<<"$out")"
run_ok queue-inspect metrics
like '^gatepost_queue_messages\{queue="Sales",state="ready"\} 1$' "$out"

# --- a selection names what is there, even if its expressions choose it not ---------------------------------------------------
run_ok queue-inspect list Sales :1 --where 'age>1h'
same '' "$err" "it is not missing"
run_ok queue-inspect list Sales soon --where state=claimed --json
same '' "$out$err"
run_exit 66 queue-inspect list Sales :2 --where 'age>1h'
run_exit 64 queue-inspect list Sales --max 0
like "^queue-inspect: --max: expected 1 or more" "$err"
run_ok queue-inspect purge Sales --all
same '' "$out$err" "success is silent"

# --- taking what is selected, now or later ------------------------------------------------------------------------------------
run_exit 75 queue-inspect take Sales --where type=Reply --wait --timeout 200ms
run_ok put other Sales --type Order
start_background reply queue-inspect take Sales --where RelatedTo=q-17 --wait --timeout 30s
sleeping() { [ "$(ps -o stat= -p "$daemon_pid" | cut -c1)" = S ]; }
wait_until 10 sleeping
run_ok put mine Sales --header NServiceBus.RelatedTo=q-17
wait_daemon reply 15
same '0 mine' "$status $(cat reply.out)"
same other "$(queue-inspect take Sales -n --json | jq -r .id | while read -r id; do queue-inspect show Sales "$id" --body; done)" "what is not meant stays"
start_background follower queue-inspect take Sales --where type=Wanted --follow --max 2 --lines
run_ok put one Sales --type Wanted
run_ok put two Sales --type Wanted
wait_daemon follower 15
same $'0 one\ntwo' "$status $(cat follower.out)"
run_ok put torn Sales --id torn --header X=torn
printf 'a\nb' | queue-inspect put Sales --id torn2 --header X=torn2 -q
run_exit 65 queue-inspect take Sales --where X=torn2 --wait --lines
like '1 message cannot' "$err"
run_ok queue-inspect purge Sales --all -q
printf 'a\nb' | queue-inspect put Sales --id torn3 -q
run_exit 65 queue-inspect take Sales --wait --lines
run_ok queue-inspect purge Sales --all -q

# --- a reader that goes away ends the reading ---------------------------------------------------------------------------------
seq 2000 | queue-inspect put Long --lines --create -q
for words in 'list Long' 'list Long --json' 'show Long --all'; do
  # shellcheck disable=SC2086
  same 74 "$(queue-inspect $words 2>said | head -c 1 >/dev/null; echo "${PIPESTATUS[0]}")" "$words | head"
  same '' "$(cat said)"
done

# --- dry runs say what the real run would ---------------------------------------------------------------------------------------
run_ok queue-inspect create error Jobs
printf '#!/bin/sh\nexit 65\n' >fails
chmod 755 fails
run_ok put job Jobs --id job
run_exit 1 distributor worker --queue Jobs --drain -- ./fails
run_ok queue-inspect hold Jobs --puts --reason closed
run_exit 1 queue-inspect return error job --dry-run
same $'job\twould-skip\tJobs' "$out"
run_exit 1 queue-inspect return error job
same $'job\tskipped\tJobs' "$out"
run_ok queue-inspect release Jobs
printf '#!/bin/sh\necho claimed\nread -r go <go\ncat\n' >slow
chmod 755 slow
mkfifo go
start_background editing queue-inspect edit error job --exec ./slow
claimed() { [ "$(row error .claimed)" = 1 ]; }
wait_until 10 claimed
run_exit 1 queue-inspect move error Jobs --all --dry-run
same $'job\twould-skip\tJobs' "$out"
run_exit 1 queue-inspect move error Jobs --all --json
same '{"id":"job","seq":1,"result":"skipped","to":"Jobs"}' "$out"
like 'moved queue=error count=0 skipped=1' "$err"
run_exit 1 queue-inspect purge error job --dry-run
run_exit 1 queue-inspect edit error job --dry-run
run_exit 1 queue-inspect take error job --dry-run
echo go >go
wait_daemon editing 10
same 0 "$status"

# --- failed attempts are counted, the last one too ------------------------------------------------------------------------------
same 1 "$(row Jobs .failed_total)"
run_ok queue-inspect metrics
like '^gatepost_failed_total\{queue="Jobs"\} 1$' "$out"
like '^gatepost_retries_total\{queue="Jobs"\} 0$' "$out"
url=http://127.0.0.1:$(free_port)/
run_ok put price Jobs --id price
run_ok bash -c 'echo price | gw-send --to A --site "A=$1" --id price -q' - "$url"
run_exit 1 gw-send forward --drain --site "A=$url" --retries 1 --retry-increment 100ms
same 2 "$(row site.A .failed_total)"
run_ok queue-inspect metrics
like '^gatepost_failed_total\{queue="site.A"\} 2$' "$out"
like '^gatepost_retries_total\{queue="site.A"\} 1$' "$out"
unlike 'time_seconds_count\{queue="site.A"\}' "$out"
run_ok queue-inspect remove Jobs --force
run_ok queue-inspect create Jobs
same 0 "$(row Jobs .failed_total)" "a queue made anew counts from 0"

# --- who waits for a message at a site hears what was done by hand --------------------------------------------------------------
outcome() { timeout 20 gw-send wait --json --timeout "${2:-0}" --site "A=$url" "$1" 2>/dev/null | jq -r '"\(.state) \(.reason)"'; }
for id in moved taken edited; do echo price | gw-send --to A --site "A=$url" --id $id -q; done
run_ok queue-inspect move site.A Jobs moved
same "purged moved to 'Jobs' by 'queue-inspect move'" "$(outcome moved)"
run_exit 69 gw-send wait moved --site "A=$url"
run_ok queue-inspect move Jobs site.A moved
run_exit 75 gw-send wait moved --timeout 0 --site "A=$url"
run_ok queue-inspect take site.A taken
same "purged taken by 'queue-inspect take'" "$(outcome taken)"
run_ok queue-inspect edit site.A edited --exec cat
like "^purged replaced by $out$" "$(outcome edited)"

# --- a hold that was cut off between its two steps holds all the same -------------------------------------------------------------
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
  run_ok queue-inspect create Cut
  run_ok put x Cut
  run_exit 137 strace -o trace -qq -e trace=fdatasync -e inject=fdatasync:signal=KILL:when=1 queue-inspect hold Cut --reason cut
  run_ok queue-inspect list --json
  like '"queue":"Cut".*"takes":"off".*"hold_reason":"cut"' "$out"
  run_exit 75 queue-inspect take Cut
  like 'cut' "$err"
  run_ok queue-inspect release Cut
  run_ok queue-inspect take Cut
else
  skip 7 'no strace here, or not allowed'
fi

# --- a queue that cannot be read hides no other -------------------------------------------------------------------------------------
run_ok queue-inspect create Broken
head -c 8192 /dev/zero >root/queues/Broken/meta
run_exit 71 queue-inspect list
like "Broken/meta' is not the description of a queue" "$err"
like '^Sales ' "$out"
run_exit 71 queue-inspect list --json
check 'the others are told' [ "$(wc -l <<<"$out")" -gt 3 ]
run_exit 71 queue-inspect metrics
like '^gatepost_queue_messages\{queue="Sales"' "$out"
run_exit 1 queue-inspect trace moved
like 'Broken' "$err"
like '^moved: ' "$out"
start_background watch queue-inspect watch --interval 200ms
wait_until 10 grep -q "Z unreadable .*Broken" watch.out
check 'watch tells of the others' grep -q ' queue Long ' watch.out
stop_daemon watch
rm -r root/queues/Broken

# --- imports stand in the journal -------------------------------------------------------------------------------------------------
run_ok put x Jobs --id carried
queue-inspect export Jobs carried >one.tar
run_ok queue-inspect --root fresh import --create <one.tar
same '' "$out$err" "success is silent"
run_ok queue-inspect --root fresh trace carried
like "stored +in 'Jobs': by 'queue-inspect import'" "$out"
run_ok queue-inspect --root fresh import <one.tar
like 'imported stored=0 already_there=1' "$err"
done_testing
