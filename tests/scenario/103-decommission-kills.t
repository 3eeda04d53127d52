#!/bin/bash
# instance-map decommission is killed at every step, and at random, while senders that read the map late go on: nothing is lost, nothing
# comes twice, and it always ends.
# timeout: 150
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

export GW_CONFIG=$T/config.xml
echo '<gatepost><Gateway Endpoint="HQ"/></gatepost>' >config.xml
echo '<routing><route type="T" endpoint="Sales"/></routing>' >routing.xml
cat >original.xml <<'XML'
<endpoints>
  <!-- here -->
  <endpoint name="Sales"><instance/><instance discriminator="2"/><instance discriminator="3"/></endpoint>
</endpoints>
XML
cp original.xml instance-mapping.xml
run_ok queue-inspect create Sales Sales-2 Sales-3
here=$(cat "$GW_ROOT/machine")
decommission=(instance-map decommission Sales-2 --refresh 1s --drain-timeout 2s)

# Kills the command as soon as it has said that step K is done (0: at once).
kill_at() {
  : >kill.out
  "${decommission[@]}" >kill.out 2>kill.err &
  local pid=$! i
  for ((i = 0; i < 500; i++)); do
    [ "$1" = 0 ] || grep -q "^\[$1/6\].*  done" kill.out && break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.01
  done
  kill -9 "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
}
bodies() { for queue in Sales Sales-2 Sales-3; do queue-inspect list "$queue" --json | grep '"type":"T"' | sed 's/.*"id":"\([^"]*\)".*/\1/'; done | sort; }

for round in 1 2; do
  cp original.xml instance-mapping.xml
  # A sender that has the old map and sends all the time; it looks again by itself.
  mkfifo lines
  instance-map send --type T --lines --id "r$round" -q --refresh 1s <lines 2>sender.err &
  sender=$!
  exec 5>lines
  for ((i = 1; i <= 30; i++)); do echo "$i" >&5; done
  (for ((i = 31; i <= 60; i++)); do echo "$i" >&5; sleep 0.03; done) &
  feeder=$!
  queue-inspect put Sales-2 --type T --id "d$round" --delay 1h -q <config.xml >/dev/null
  for step in 0 1 2 3 4 5; do
    kill_at "$step"
    if [ "$round" = 2 ]; then
      "${decommission[@]}" >kill.out 2>kill.err &
      pid=$!
      sleep "0.0$((RANDOM % 90 + 10))"
      kill -9 "$pid" 2>/dev/null
      wait "$pid" 2>/dev/null
    fi
  done
  wait "$feeder"
  exec 5>&-
  wait "$sender"
  same 0 $? "the sender has sent all"
  rm lines
  run_ok "${decommission[@]}"
  same 6 "$(grep -c '  done  .' <<<"$out")"
  run_ok instance-map decommission Sales-2 --status
  same "$( (for ((i = 1; i <= 60; i++)); do echo "r$round-$i"; done; echo "d$round") | sort)" "$(bodies)" "all messages once, in the queues of the others"
  same 0 "$(queue-inspect list Sales-2 --json | wc -l)" "its queue is empty"
  unlike 'Sales-2' "$(instance-map list)" "it is out of the map"
  like "puts-off" "$(queue-inspect list | grep '^Sales-2 ')"
  # The way back is killed, too.
  for i in 1 2 3; do
    instance-map decommission Sales-2 --rollback >/dev/null 2>&1 &
    pid=$!
    sleep "0.00$((RANDOM % 9 + 1))"
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
  done
  instance-map decommission Sales-2 --rollback >back.out 2>&1
  code=$?
  like '^[01]$' "$code" "back in service, now or before the kill"
  check "the map is as it was" cmp original.xml instance-mapping.xml
  unlike "puts-off" "$(queue-inspect list | grep '^Sales-2 ')"
  for queue in Sales Sales-2 Sales-3; do queue-inspect purge "$queue" --all -q >/dev/null; done
done
# --- out, back, and out again: a proof of the first time is none the second time --------------------------------------------------
cp original.xml instance-mapping.xml
left() { # what a sender on another machine says when its map has lost the instance
  queue-inspect put Sales-2 -q --type Gatepost.MapVersion --header NServiceBus.ControlMessage=True --header Gatepost.MapVersion=0123456789abcdef \
    --header Gatepost.Sender=Shop@vm9 </dev/null >/dev/null
}
left
run_ok "${decommission[@]}"
like '^\[2/6\] senders  done  .*Shop@vm9' "$out"
unlike 'waiting  Shop@vm9' "$out" "who has left is not waited for"
run_ok instance-map decommission Sales-2 --rollback
run_ok "${decommission[@]}"
like '^\[2/6\] senders  waiting  Shop@vm9 had left it before' "$out"
like '^\[2/6\] senders  done  .*waited 1s' "$out"
unlike 'all senders have proved it' "$out" "and it has to be quiet"
run_ok instance-map decommission Sales-2 --rollback
left
run_ok "${decommission[@]}"
unlike 'waiting  Shop@vm9' "$out" "it has said so again"
like '^\[3/6\] nothing new  done  .*all senders have proved it' "$out"
note "machine $here"
done_testing
