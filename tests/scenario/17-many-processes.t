#!/usr/bin/env bash
# 16 producers and 16 consumers on one queue, some of them killed or stopped at random: every id is acked exactly once, each
# producer's messages keep their order, nobody hangs.
# timeout: 240
. "$(dirname "$0")/../lib.sh"

producers=16 consumers=16 each=${GW_TEST_MESSAGES:-800}
run_ok queue-inspect create Work Done

# A producer repeats its numbered stream until all of it is stored: the ids make that safe.
cat >producer <<'SH'
#!/bin/sh
# NAME COUNT
while :; do
  seq -f "$1 %g" 1 "$2" | queue-inspect put Work --lines --id "$1" -q --batch 16 2>/dev/null && exit 0
done
SH
# Consumers move to another queue, so that what they acked is written down in the same step.
cat >consumer <<'SH'
#!/bin/sh
while [ ! -e stop ]; do
  queue-inspect move Work Done --all --max 40 -q >/dev/null 2>&1 || queue-inspect wait Work --for quiet=20ms --timeout 200ms >/dev/null 2>&1
done
SH
chmod +x producer consumer

pids=()
for n in $(seq $producers); do
  start_background "p$n" ./producer "p$n" "$each"
  pids+=("$daemon_pid")
done
for n in $(seq $consumers); do start_background "c$n" ./consumer; done

# Whatever belongs to these shells: the tools that they run right now.
tool_pids() {
  local shell child children name
  for shell in "${DAEMON[@]}"; do
    read -ra children <"/proc/$shell/task/$shell/children"
    for child in "${children[@]}"; do
      read -r name <"/proc/$child/comm" && [ "$name" = queue-inspect ] && echo "$child"
    done
  done 2>/dev/null
}
trouble() {
  local pid stopped=()
  while [ ! -e calm ]; do
    mapfile -t tools < <(tool_pids)
    [ "${#tools[@]}" -gt 0 ] || { sleep 0.02 && continue; }
    pid=${tools[RANDOM % ${#tools[@]}]}
    case $((RANDOM % 3)) in
      0) kill -KILL "$pid" 2>/dev/null ;;
      1) kill -STOP "$pid" 2>/dev/null && stopped+=("$pid") ;;
      2) [ "${#stopped[@]}" -gt 2 ] && { kill -CONT "${stopped[@]}" 2>/dev/null; stopped=(); } ;;
    esac
    sleep 0.1
  done
  kill -CONT "${stopped[@]}" 2>/dev/null
  true
}
trouble &
trouble_pid=$!
sleep "${GW_TEST_SECONDS:-5}"
touch calm
wait "$trouble_pid"
for pid in $(tool_pids); do kill -CONT "$pid" 2>/dev/null; done

for n in $(seq $producers); do
  wait_daemon "p$n" 120
  [ "$status" = 0 ] || fail "producer $n ended with $status"
done
pass "all producers end"
drained() { queue-inspect wait Work --for empty --timeout 100ms; }
wait_until 60 drained
touch stop
for n in $(seq $consumers); do
  wait_daemon "c$n" 30
  [ "$status" = 0 ] || fail "consumer $n ended with $status"
done
pass "all consumers end"

run_ok queue-inspect check
like "^Work: put $((producers * each)) = ready 0 \+ claimed 0 \+ deferred 0 \+ done $((producers * each))$" "$out"
like "^Done: put $((producers * each)) = ready $((producers * each)) \+ claimed 0 \+ deferred 0 \+ done 0$" "$out"
run_ok bash -c 'queue-inspect take Done --lines >done.txt'
for n in $(seq $producers); do seq -f "p$n %g" 1 "$each"; done | sort >expected
sort done.txt >sorted
check "$((producers * each)) messages, each exactly once" cmp expected sorted

# Order: with one consumer what one producer put comes in its order.
run_ok bash -c 'for p in $(seq 8); do seq -f "q$p %g" 1 1000 | queue-inspect put Work --lines -q & done; wait'
run_ok bash -c 'queue-inspect take Work --lines >ordered.txt'
in_order() {
  local p
  for p in $(seq 8); do
    cmp <(grep "^q$p " ordered.txt) <(seq -f "q$p %g" 1 1000) || return
  done
}
check "each producer's messages in its order" in_order

# A stopped owner: its messages wait for it, others go on; killed, they come back within a second.
seq 1 10 | queue-inspect put Work --lines -q
mkfifo pipe
start_background stopped bash -c 'exec queue-inspect take Work :"$0" --json >pipe' "$(queue-inspect list Work --json --max 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["seq"])')"
exec 7<pipe
head -c 1 <&7 >/dev/null
wait_daemon stopped 10
exec 7<&-
same 9 "$(queue-inspect list Work --json | wc -l | tr -d ' ')"
head -c 3000000 /dev/zero | queue-inspect put Work --id slow >/dev/null
mkfifo pipe2
start_background holder bash -c 'exec queue-inspect take Work slow >pipe2'
exec 8<pipe2
claimed() { queue-inspect list Work slow --json | grep -q '"state":"claimed"'; }
wait_until 10 claimed
kill -STOP "${DAEMON[holder]}"
run_ok queue-inspect take Work --lines
same 9 "$(wc -l <.out | tr -d ' ')" "others go on beside a stopped process"
run_exit 1 queue-inspect take Work slow
start_background next queue-inspect take Work --wait --timeout 20
begin=$(date +%s%N)
kill_daemon holder
wait_daemon next 10
elapsed=$((($(date +%s%N) - begin) / 1000000))
same "0 3000000" "$status $(wc -c <next.out | tr -d ' ')" "what a dead process held comes back"
check "within a second or so ($elapsed ms)" [ "$elapsed" -lt 3000 ]
exec 8<&-
run_ok queue-inspect check
done_testing
