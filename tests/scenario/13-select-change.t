#!/usr/bin/env bash
# Choosing messages, moving and purging them, limits.
. "$(dirname "$0")/../lib.sh"

put() { printf '%s' "$2" | queue-inspect put "$1" "${@:3}" >/dev/null; }
ids() { queue-inspect list "$@" --json | python3 -c 'import json, sys; print(" ".join(json.loads(l)["id"] for l in sys.stdin))'; }
failed() { put error "$3" --id "$1" --type "$2" --header "NServiceBus.FailedQ=Sales@vm1" --header "NServiceBus.ExceptionInfo.Message=$4"; }

run_ok queue-inspect create error Sales Empty
failed e1 Prices.Updated small 'order 17 timed out'
failed e2 Prices.Updated small 'order 18 timed out'
failed e3 Orders.Placed small 'connection refused'
failed e4 Orders.Placed 'a much longer body than the others have' 'order 5 timed out'

for row in 'id=e3|e3' 'id~^e[12]$|e1 e2' 'type=Prices.Updated|e1 e2' 'type~Orders|e3 e4' 'reason~timed out|e1 e2 e4' 'reason!~timed out|e3' \
  'bytes>10|e4' 'bytes<=5|e1 e2 e3' 'body~longer|e4' 'seq>2|e3 e4' 'state=ready|e1 e2 e3 e4' 'state=claimed|' 'age<1h|e1 e2 e3 e4' 'age>1h|' \
  'attempts=0|e1 e2 e3 e4' 'failed_queue=Sales@vm1|e1 e2 e3 e4' 'FailedQ!=Sales@vm1|' 'MessageIntent=Send|e1 e2 e3 e4' 'NoSuchHeader=x|'; do
  same "${row##*|}" "$(ids error --where "${row%|*}")" "${row%|*} selects '${row##*|}'"
done
same "e1 e2" "$(ids error --where 'reason~timed out' --where type=Prices.Updated)" "two expressions are an and"
same "e1 e4" "$(ids error :4 e1)" "ids and numbers, in the order of the queue"
same "e1" "$(ids error --all --max 1)"
group=$(queue-inspect list error e1 --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["group"])')
same "e1 e2" "$(ids error --group "$group")" "digits in the reason do not make another group"
run_exit 64 queue-inspect list error --where 'reason~('
run_exit 64 queue-inspect list error --where nonsense
run_exit 64 queue-inspect list error --group zz
run_exit 66 queue-inspect list error no-such-id
run_exit 1 queue-inspect list error e1 no-such-id
like no-such-id "$err"

# Nothing happens without a selection, or with -n.
run_exit 64 queue-inspect move error Sales
run_exit 64 queue-inspect purge error
run_exit 64 queue-inspect purge error ''
run_ok queue-inspect move error Sales --where 'reason~timed out' -n
same $'e1\twould-move\tSales\ne2\twould-move\tSales\ne4\twould-move\tSales' "$out"
run_ok queue-inspect purge error e1 --dry-run --json
same '{"id":"e1","seq":1,"result":"would-purge"}' "$out"
same "e1 e2 e3 e4" "$(ids error)"

run_ok queue-inspect take error --where 'reason~timed out' -n
same $'e1\twould-take\ne2\twould-take\ne4\twould-take' "$out"
run_ok queue-inspect take error -n --max 1
same $'e1\twould-take' "$out"
run_exit 64 queue-inspect take error --max 0
same "e1 e2 e3 e4" "$(ids error)"

# Moving.
run_exit 66 queue-inspect move error Nowhere --all
run_exit 66 queue-inspect move Nowhere error --all
run_exit 64 queue-inspect move error error --all
same "e1 e2 e3 e4" "$(ids error)"
run_ok queue-inspect move error Sales --where 'reason~timed out' -v
same $'e1\tmoved\tSales\ne2\tmoved\tSales\ne4\tmoved\tSales' "$out"
like 'moved .*count=3' "$err"
same "e3" "$(ids error)"
same "e1 e2 e4" "$(ids Sales)"
run_ok queue-inspect show Sales e1 --headers
like '^NServiceBus.FailedQ: Sales@vm1' "$out" "headers are kept"
run_exit 66 queue-inspect move error Sales e1
run_exit 1 queue-inspect move error Sales e3 e1
same "e1 e2 e4 e3" "$(ids Sales)"
put error later --id d1 --delay 1h
run_ok queue-inspect move error Sales d1
same deferred "$(queue-inspect list Sales d1 --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')" "what was deferred stays deferred"
put error short --id ttl1 --ttl 1h
expires() { queue-inspect list "$1" ttl1 --json | grep -o '"expires_at":"[^"]*"'; }
at=$(expires error)
run_ok queue-inspect move error Sales ttl1
same "$at" "$(expires Sales)" "a message still expires when it would have"
run_ok queue-inspect purge Sales ttl1
head -c 1000000 /dev/urandom >big
run_ok queue-inspect put error big --id big
run_ok queue-inspect move error Sales big
run_ok queue-inspect show Sales big --body
check "a large body moves along" cmp .out big

# A message in somebody's hands is left: the holder is stopped while it writes a body that nobody reads.
mkfifo pipe
start_background holder bash -c 'exec queue-inspect take Sales big >pipe'
exec 7<pipe
claimed() { queue-inspect list Sales big --json | grep -q '"state":"claimed".*"owner_pid":[1-9]'; }
wait_until 10 claimed
run_exit 1 queue-inspect move Sales error big -v
same $'big\tskipped\terror' "$out"
run_exit 1 queue-inspect purge Sales big
kill_daemon holder
exec 7<&-
unclaimed() { queue-inspect list Sales big --json | grep -q '"state":"ready"'; }
wait_until 5 unclaimed
run_ok queue-inspect move Sales error big
run_ok queue-inspect purge error big

# 10,000 at once, in order.
run_ok queue-inspect purge Sales --all
seq 1 10000 | queue-inspect put error --lines -q
run_ok queue-inspect move error Sales --all
run_ok queue-inspect take Sales --lines
same "$(seq 1 10000 | md5sum)" "$(md5sum <.out)" "10,000 messages move in order"
run_ok queue-inspect check
like '^error: put 10008 = ready 0 \+ claimed 0 \+ deferred 0 \+ done 10008$' "$out"

# Purging.
failed p1 T x r
failed p2 T x r
run_ok queue-inspect purge error p1
same p2 "$(ids error)"
run_ok bash -c 'printf "p2\n" | queue-inspect purge error -'
same "" "$(ids error)"
run_exit 66 queue-inspect purge error p2
run_ok queue-inspect purge error --all

# What is purged from a site's outbox has an outcome: whoever waits for it is told.
run_ok queue-inspect create site.Store1
put site.Store1 x --id never
run_ok queue-inspect purge site.Store1 never
run_exit 69 gw-send wait --timeout 0 --json never
same "never Store1 purged" "$(jq -r '"\(.id) \(.site) \(.state)"' <<<"$out")"

# Moves killed at any point: nothing lost, nothing twice.
seq 1 3000 | queue-inspect put error --lines -q
for n in $(seq 20); do
  if [ $((n % 2)) = 0 ]; then from=error to=Sales; else from=Sales to=error; fi
  { timeout -s KILL "0.0$((RANDOM % 10))$((RANDOM % 10))" queue-inspect move "$from" "$to" --all -q; } 2>/dev/null
done
run_ok queue-inspect check
queue-inspect take error --lines >all.txt
queue-inspect take Sales --lines >>all.txt
same "$(seq 1 3000)" "$(sort -n all.txt)" "3,000 messages, each once"

# Alarms.
put Sales a; put Sales b; put Empty c
queue-inspect take Empty -q >/dev/null
run_ok queue-inspect list --max-count 2 --max-age 1h
same "" "$out" "no alarm, no output"
run_exit 1 queue-inspect list --max-count 1 --json
same '"queue":"Sales"' "$(grep -o '"queue":"[A-Za-z]*"' .out)"
run_exit 1 queue-inspect list --max-count 1
like '^Sales +2' "$out"
unlike '^Empty' "$out"
sleepless() { queue-inspect list --max-age 100ms >/dev/null; [ $? = 1 ]; }
wait_until 5 sleepless
run_exit 1 queue-inspect list --min-free 1000000G
like '^root ' "$out"
run_exit 1 queue-inspect list Sales --max-count 1
like '^ *[0-9]+ +ready' "$out"
run_ok queue-inspect list Sales --max-count 2 --max-age 1h
same "" "$out"
run_exit 1 queue-inspect list Sales --max-age 50ms --json
same 2 "$(wc -l <.out | tr -d ' ')"
run_exit 64 queue-inspect list --max-count many
run_exit 64 queue-inspect list --all
done_testing
