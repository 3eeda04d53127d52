#!/bin/bash
# timeout: 120
# `queue-inspect return` and the workers that get the messages, killed at random: each message is handled once. What fails again comes
# back and is returned again. MESSAGES=N: more.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

messages=${MESSAGES:-1500}
RANDOM=${SEED:-$$}
note "SEED=${SEED:-$$}"
check 'queues are made' queue-inspect -q create Work error Done
check 'messages are stored' bash -c "seq 1 $messages | queue-inspect -q put error --lines --header NServiceBus.FailedQ=Work"
cat >stream.py <<'EOF2'
import json, os, random, sys
for line in sys.stdin:
    message = json.loads(line)
    chance = random.random()
    if chance < 0.002: os.kill(os.getpid(), 9)
    if "Gatepost.Returned" in message["headers"]: sys.exit("the mark is none of a handler's business")
    if chance < 0.02:
        print(json.dumps({"seq": message["seq"], "result": "fail", "reason": "by chance"}), flush=True)
        continue
    print(json.dumps({"seq": message["seq"], "result": "ok", "send": [{"queue": "Done", "body": message["body"]}]}), flush=True)
EOF2
left() { queue-inspect list --json | python3 -c 'import json, sys
print(sum(o["ready"] + o["claimed"] + o["deferred"] for o in map(json.loads, sys.stdin) if o.get("queue") in sys.argv[1:]))' "$@"; }
work() { exec distributor worker --queue Work -q --capacity 16 --stream -- python3 stream.py; }
wrong=0 rounds=0 deadline=$((SECONDS + 60 + messages / 100))
while [ "$(left Work error)" != 0 ] && [ "$SECONDS" -lt "$deadline" ]; do
  rounds=$((rounds + 1))
  pids=()
  for _ in 1 2; do
    { work; } >>workers.out 2>>workers.err &
    pids+=($!)
  done
  # Two at once: a message that both want goes once.
  for _ in 1 2; do
    { exec queue-inspect -q return error --all --json; } >>returned 2>>returned.err &
    pids+=($!)
  done
  # Long enough to get somewhere, most of the time.
  sleep "$((RANDOM % (1 + messages / 10000))).$((RANDOM % 10))$((RANDOM % 10))"
  # shellcheck disable=SC2207
  pids=($(printf '%s\n' "${pids[@]}" | shuf --random-source=<(yes "$RANDOM")))
  for pid in "${pids[@]}"; do
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    case $? in 0 | 1 | 137) ;; *) wrong=$((wrong + 1)) && note "one ended with $?" ;; esac
    sleep "0.0$((RANDOM % 10))"
  done
done
same 0 "$wrong" "$rounds rounds"
same 0 "$(left Work error)" 'all are handled'
check 'done can be read' bash -c "queue-inspect take Done --max $((messages + 10)) --lines | sort -n >done.out"
same "$(seq 1 "$messages" | sha256sum)" "$(sha256sum <done.out)" "each message was handled once"
note "$(grep -c '"returned"' returned) lines of returned, $(grep -c '"came-back"' returned) of came-back"
run_ok queue-inspect check
done_testing
