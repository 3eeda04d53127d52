#!/bin/bash
# timeout: 900
# Workers and the distributor killed at random under load: each message is handled once, no worker is ever handed more than its capacity,
# and no token is lost. MESSAGES=N, WORKERS=N: more; `make crash` takes 10,000 messages and 8 workers.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

messages=${MESSAGES:-600} workers=${WORKERS:-3} capacity=4
[ "$messages" -le 10000 ] || messages=10000 workers=${WORKERS:-8}
RANDOM=${SEED:-$$}
note "SEED=${SEED:-$$}, $messages messages, $workers workers"
check 'queues are made' queue-inspect -q create E out error
check 'messages are stored' bash -c "seq 1 $messages | queue-inspect put E --lines -q"
cat >stream.py <<'P'
import json, random, sys, time
for line in sys.stdin:
    message = json.loads(line)
    time.sleep(random.random() * 0.01)
    if random.random() < 0.02:
        print(json.dumps({"seq": message["seq"], "result": "retry", "delay_s": 0.05}), flush=True)
        continue
    print(json.dumps({"seq": message["seq"], "result": "ok", "send": [{"queue": "out", "body": message["body"]}]}), flush=True)
P
# Looks again and again what the queues of the workers hold.
cat >watch.py <<'P'
import json, os, subprocess, sys, time
capacity, workers, root = int(sys.argv[1]), int(sys.argv[2]), os.environ["GW_ROOT"]
looks = over = 0
while not os.path.exists("stop"):
    for n in range(1, workers + 1):
        listed = subprocess.run(["queue-inspect", "list", f"W{n}", "--json"], capture_output=True, text=True)
        rows = [json.loads(line) for line in listed.stdout.splitlines()]
        handed_out = [row["seq"] for row in rows if "Gatepost.HandOut" in row["headers"]]
        looks += 1
        if len(handed_out) > capacity:
            over += 1
            print(f"W{n} holds {len(handed_out)}: {handed_out}", file=sys.stderr)
print(looks > 0, over)
P
declare -A pid=()
start() { # NAME
  if [ "$1" = run ]; then
    distributor run -q --endpoint E --concurrency 64 >>run.out 2>>run.err &
  else
    distributor worker -q --master E --queue "$1" --capacity $capacity --stream --retries 50 --immediate-retries 0 --retry-increment 100ms -- python3 stream.py >>"$1.out" 2>>"$1.err" &
  fi
  pid[$1]=$!
}
names=(run)
for ((n = 1; n <= workers; n++)); do names+=("W$n"); done
# What is left behind by this test's end must not go on.
stop_all() { for name in "${!pid[@]}"; do kill -9 "${pid[$name]}" 2>/dev/null; done; touch "$T/stop"; }
at_exit stop_all
for name in "${names[@]}"; do start "$name"; done
python3 watch.py $capacity "$workers" >watch.out 2>watch.err &
watch=$!

handled() { queue-inspect list --json | sed -n '/"queue":"out"/s/.*"puts_total":\([0-9]*\).*/\1/p'; }
all_handled() { [ "$(handled)" -ge "$messages" ]; }
kills=0 wrong=0 end=$((SECONDS + 200))
until all_handled || [ "$SECONDS" -ge "$end" ]; do
  sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
  name=${names[$((RANDOM % ${#names[@]}))]}
  { kill -9 "${pid[$name]}"; wait "${pid[$name]}"; } 2>/dev/null
  [ $? = 137 ] || { note "$name had ended: $(tail -n 1 "$name.err")"; wrong=$((wrong + 1)); }
  kills=$((kills + 1))
  start "$name"
done
check "all is handled within the time" all_handled
same 0 "$wrong" "$kills kills; nobody ended by itself"
empty() { [ "$(queue-inspect list E --json | wc -l)" = 0 ] && [ "$(distributor status --json | sed -n '/"kind":"endpoint"/s/.*"in_flight":\([0-9]*\).*/\1/p')" = 0 ]; }
wait_until 60 empty
idle() { [ "$(distributor status --json | sed -n '/"kind":"endpoint"/s/.*"tokens":\([0-9]*\).*/\1/p')" = $((workers * capacity)) ]; }
wait_until 60 idle
run_ok distributor status
same "tokens $((workers * capacity)) = capacity $((workers * capacity)) - in flight 0" "$(tail -n 1 <<<"$out")"
same $((workers * capacity)) "$(queue-inspect list E.distributor.storage --json | wc -l)" 'as many in the storage queue'
touch stop
wait "$watch"
same 'True 0' "$(cat watch.out)" 'no worker was ever handed more than its capacity'
run_ok bash -c "queue-inspect take out --max $((messages + 10)) --lines | sort -n >out.lines"
same "$(seq 1 "$messages")" "$(cat out.lines)" 'each message is handled once'
same 0 "$(queue-inspect list error --json | wc -l)" 'nothing went to the error queue'
stop_all
wait
run_ok queue-inspect check
done_testing
