#!/bin/bash
# timeout: 120
# Workers and handlers killed at random under load: work that consists of messages of the root is done exactly once. MESSAGES=N: more.
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

messages=${MESSAGES:-600}
RANDOM=${SEED:-$$}
note "SEED=${SEED:-$$}"
check 'queues are made' queue-inspect -q create q a b error
check 'messages are stored' bash -c "seq 1 $messages | queue-inspect -q put q --lines"
cat >stream.py <<'EOF2'
import json, os, random, sys
for line in sys.stdin:
    message = json.loads(line)
    if random.random() < 0.01: os.kill(os.getpid(), 9)
    body = message["body"]
    print(json.dumps({"seq": message["seq"], "result": "ok", "send": [{"queue": "a", "body": body}, {"queue": "b", "body": body}]}), flush=True)
EOF2
cat >handler <<'EOF2'
#!/bin/bash
case $((RANDOM % 30)) in
  0) kill -9 $$ ;;
  1) exit 1 ;;
esac
queue-inspect -q put a <"$GW_BODY_FILE" >"$GW_BODY_FILE.id"
[ $((RANDOM % 30)) != 0 ] || kill -9 $$
queue-inspect -q put b <"$GW_BODY_FILE" >"$GW_BODY_FILE.id"
[ $((RANDOM % 30)) != 0 ] || exit 3
EOF2
chmod 755 handler
# Interrupted or failed often enough to be given up is not what is tested here.
options=(--queue q -q --retries 0 --immediate-retries 200)
wrong=0
left() { queue-inspect list --json | python3 -c 'import json, sys
print(*[o["ready"] + o["claimed"] + o["deferred"] for o in map(json.loads, sys.stdin) if o.get("queue") == "q"])'; }
deadline=$((SECONDS + 60)) rounds=0
while [ "$(left)" != 0 ] && [ "$SECONDS" -lt "$deadline" ]; do
  rounds=$((rounds + 1))
  pids=()
  for kind in process process stream; do
    { if [ "$kind" = stream ]; then exec distributor worker "${options[@]}" --capacity 4 --stream -- python3 stream.py; fi
      exec distributor worker "${options[@]}" --capacity 3 -- ./handler; } >>workers.out 2>>workers.err &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
    { kill -9 "$pid"; wait "$pid"; } 2>/dev/null
    [ $? = 137 ] || { note "worker ended with $?"; wrong=$((wrong + 1)); }
  done
done
same 0 "$wrong" "$rounds rounds of three workers killed"
run_exit 0 distributor worker "${options[@]}" --drain --capacity 4 -- ./handler
for queue in a b; do
  check "$queue can be read" bash -c "queue-inspect take $queue --max $((messages + 10)) --lines | sort -n >$queue.out"
  same "$(seq 1 "$messages")" "$(cat "$queue.out")" "each message is in $queue once"
done
same 0 "$(queue-inspect list error --json | wc -l)" 'nothing went to the error queue'
same '' "$(ls root/outbox)" 'no outbox is left'
run_ok queue-inspect check
done_testing
