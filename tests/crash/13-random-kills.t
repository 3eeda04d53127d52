#!/bin/bash
# timeout: 120
# Kills at random instants, between system calls too: many short runs of each step on one root, each cut off after a few
# milliseconds; what was promised is compared with what is there again and again. RUNS=N: more of them.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

runs=${RUNS:-400}
events=$T/events
: >"$events"
RANDOM=${SEED:-$$}
note "SEED=${SEED:-$$}"
check 'queues are made' queue-inspect -q --root "$GW_ROOT" create q a b c

next=1 wrong=0
cut() { # cut COMMAND...: at most 0 to 40 ms of it
  # --foreground: timeout waits until the process is really gone. The redirection around it takes what bash says about each kill.
  { timeout --foreground -s KILL "0.0$(printf %02d $((RANDOM % 40)))$((RANDOM % 10))" driver "$GW_ROOT" "$@" >>"$events" 2>>"$T/errors"; } 2>/dev/null
  case $? in
    0 | 124 | 137) ;;
    *) note "driver $* ended with $?"; wrong=$((wrong + 1)) ;;
  esac
}
for ((i = 0; i < runs; i++)); do
  case $((i % 8)) in
    0 | 3) cut put q "$next" 40; next=$((next + 40)) ;;
    1) cut fan a,b,c "$next" 10; next=$((next + 10)) ;;
    2) cut move q a 10 ;;
    4) cut ack q 10 ;;
    5) cut defer q 3 ;;
    6) cut move a b,c 6 ;;
    7) cut put q "$next" 3 70000; next=$((next + 3)) ;;
  esac
  if ((i % 20 == 19)) && ! driver "$GW_ROOT" verify "$events" unordered >"$T/verify"; then
    wrong=$((wrong + 1))
    note "after $((i + 1)) runs:"
    note "$(head -n 10 "$T/verify")"
    break
  fi
done
[ ! -s "$T/errors" ] || note "$(sort "$T/errors" | uniq -c | head -n 5)"
same 0 "$wrong" "$runs runs cut off at random: nothing lost, nothing twice, no step half done"
note "$(grep -c -v ing: "$events") steps were confirmed"
done_testing
