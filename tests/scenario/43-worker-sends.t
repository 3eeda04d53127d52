#!/usr/bin/env bash
# What a handler sends leaves with the acknowledgement of its message, or not at all.
# timeout: 240
# asan: yes
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

bodies() { queue-inspect list "$1" --where 'state=ready' --json 2>/dev/null | wc -l; }
put() { queue-inspect put Q -q "$@" >put.id; }
fresh_errors() { queue-inspect purge error --all -q >purged; }
header() { queue-inspect list "$1" --json | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["headers"].get(sys.argv[1], "-"))' "$2"; }
outboxes() { find root/outbox -mindepth 1 | wc -l; }
run_ok queue-inspect create Q Out Other error
sites='--site A=http://127.0.0.1:9/A/ --site B=http://127.0.0.1:9/B/'
export sites

# --- held, and sent with the acknowledgement -----------------------------------------------------------------------------------
printf x | put --id in-1 --header NServiceBus.ConversationId=talk-7
cat >handler <<'EOS'
#!/bin/sh
printf one | queue-inspect put Out
printf two | queue-inspect put Out --type T.Two
# shellcheck disable=SC2086
printf three | gw-send -q --to A,B $sites
printf four | queue-inspect put New --create -q
echo "seen: $(queue-inspect list Out --json | wc -l)"
EOS
chmod +x handler
run_ok distributor worker --queue Q --drain -- ./handler
same 5 "$(printf '%s\n' "$out" | wc -l)" 'each send prints its id'
like '^seen: 0$' "$out" 'nobody sees it before the handler has ended'
same 'one two' "$(queue-inspect take Out --max 1) $(queue-inspect list Out --where 'type=T.Two' --json | wc -l | sed s/1/two/)" 'in the order in which it was sent'
same 'in-1 talk-7' "$(header Out NServiceBus.RelatedTo) $(header Out NServiceBus.ConversationId)"
same 'in-1' "$(header Out NServiceBus.CorrelationId)" 'correlation is the id of the incoming message'
same 'A B 1 1' "$(header site.A NServiceBus.DestinationSites) $(header site.B NServiceBus.DestinationSites) $(bodies site.A) $(bodies New)" 'a copy for each site, each with its own key'
same 0 "$(bodies Q)" 'the message is acknowledged'
same 0 "$(outboxes)" 'nothing is left in outboxes'
queue-inspect purge Out --all -q >purged

printf x | put --id in-2 --header NServiceBus.CorrelationId=corr-2
run_ok distributor worker --queue Q --drain -- sh -c 'echo y | queue-inspect put Out -q --header NServiceBus.ConversationId=mine'
same 'corr-2 mine in-2' "$(for n in CorrelationId ConversationId RelatedTo; do header Out "NServiceBus.$n"; done | paste -sd' ')" "an incoming correlation goes on, --header wins"
queue-inspect purge Out --all -q >purged

# --- a handler that fails has sent nothing ---------------------------------------------------------------------------------------
quick='--retries 0 --immediate-retries 0 --drain -q'
for end in 'exit 1' 'exit 65' 'exit 75' 'kill -9 $$'; do
  printf x | put
  # shellcheck disable=SC2086
  run_exit 1 distributor worker --queue Q $quick -- sh -c 'echo y | queue-inspect put Out -q; echo y | gw-send -q --to A $sites; '"$end"
  same 0 "$(bodies Out)" "$end: nothing was sent"
done
printf x | put
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q $quick --handler-timeout 500ms -- sh -c 'echo y | queue-inspect put Out -q; sleep 100'
same '0 1' "$(bodies Out) $(bodies site.A)" 'timed out: nothing was sent'
printf x | put --id again
run_ok distributor worker --queue Q --drain -q -- sh -c 'echo "attempt $GW_ATTEMPT" | queue-inspect put Out -q; [ "$GW_ATTEMPT" = 3 ]'
same 'attempt 3' "$(queue-inspect take Out)" 'only what the good attempt sent'
printf x | put
distributor worker --queue Q -q -- sh -c 'echo y | queue-inspect put Out -q; kill -9 $PPID; sleep 100' >killed.out 2>&1
same 0 "$(bodies Out)" 'the worker is killed: nothing was sent'
run_ok distributor worker --queue Q --drain -q -- sh -c 'echo z | queue-inspect put Out -q'
same z "$(queue-inspect take Out)"
same 0 "$(outboxes)" 'outboxes of killed workers are swept'

# --- large and many -------------------------------------------------------------------------------------------------------------------
head -c 5000000 /dev/urandom >big
printf x | put
run_ok distributor worker --queue Q --drain -- sh -c 'gw-send -q --to A,B $sites big; queue-inspect put Out -q big; exit 0'
queue-inspect take Out >big.out
check 'a large body arrives whole' cmp big big.out
same 5000000 "$(queue-inspect list site.B --json | python3 -c 'import json, sys; print([json.loads(l)["body_bytes"] for l in sys.stdin][-1])')"
printf x | put
run_ok distributor worker --queue Q --drain -- sh -c 'seq 1 1000 | queue-inspect put Out --lines -q'
same "$(seq 1 1000)" "$(queue-inspect take Out --max 1000 --lines)" 'a thousand messages, in order'
fresh_errors
printf x | put
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q $quick -- sh -c 'seq 1 5000 | queue-inspect put Out --lines -q'
same 0 "$(bodies Out)" 'more than one commit takes: none'
like 'at most 4000' "$(header error NServiceBus.ExceptionInfo.Message)"

# --- ids that the handler names -------------------------------------------------------------------------------------------------------------
for body in same same other; do
  printf %s "$body" | put
done
fresh_errors
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q $quick -- sh -c 'queue-inspect put Out -q --id once; printf plain | queue-inspect put Other -q; gw-send -q --to A,B $sites --id once-too <"$GW_BODY_FILE"'
same 'same 2' "$(queue-inspect take Out) $(bodies Other)" 'the same id and body again: one message, and the rest is sent'
like "held messages were not sent: id 'once.*another body" "$(header error NServiceBus.ExceptionInfo.Message)" 'another body: nothing of it is sent'
same 1 "$(queue-inspect list site.B --json | grep -c once-too)"
fresh_errors
printf x | put
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q $quick -- sh -c 'echo a | queue-inspect put Out -q --id twice; echo b | queue-inspect put Out -q --id twice'
like 'two messages with the id' "$(header error NServiceBus.ExceptionInfo.Message)"
same 0 "$(bodies Out)"
queue-inspect purge Other --all -q >purged

# --- what is refused at once --------------------------------------------------------------------------------------------------------------
printf x | put
run_ok distributor worker --queue Q --drain -q -- sh -c '
  gw-send --to A $sites --wait delivered </dev/null; echo "wait $?"
  gw-send --to Nowhere $sites </dev/null; echo "unknown $?"
  queue-inspect put Nope </dev/null; echo "no queue $?"
  queue-inspect put Out --from-dir . ; echo "from-dir $?"' 2>refused.err
same 'wait 64 unknown 64 no queue 66 from-dir 64' "$(paste -sd' ' <<<"$out")"
check_not '--from-dir touched nothing' [ -e .sent ]

# --- at once, and elsewhere ------------------------------------------------------------------------------------------------------------------
printf x | put
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q $quick -- sh -c 'echo now | GW_OUTBOX= queue-inspect put Out -q; exit 1'
same now "$(queue-inspect take Out)" 'GW_OUTBOX=: at once, whatever becomes of the handler'
run_ok queue-inspect --root "$T/other" put There --create -q - <<<'first'
printf x | put
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q $quick -- sh -c 'echo second | queue-inspect --root "$HOME/other" put There -q; exit 1'
same 2 "$(queue-inspect --root "$T/other" list There --json | wc -l)" 'another root: at once'
printf x | put
run_ok distributor worker --queue Q --drain -q -- sh -c '(exec >late.out 2>&1 </dev/null; until [ -e ended ]; do sleep 0.05; done; echo y | queue-inspect put Out -q; echo "late $?" >>late.out) & exit 0'
: >ended
late() { grep -q late late.out; }
wait_until 10 late
like 'late 66' "$(cat late.out)" 'who comes after the end of the handler is told'
same 0 "$(bodies Out)"

# --- a target that is gone or full when the handler ends ------------------------------------------------------------------------------------------
fresh_errors
printf x | put
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q $quick -- sh -c 'echo y | queue-inspect put Other -q; GW_OUTBOX= queue-inspect remove Other -q'
like "held messages were not sent: no queue 'Other'" "$(header error NServiceBus.ExceptionInfo.Message)"
printf x | put
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q $quick -- sh -c 'echo y | queue-inspect put Out -q; queue-inspect hold Out --puts -q'
same '0 2' "$(bodies Out) $(bodies error)" 'refused: nothing was sent, the attempt failed'
run_ok queue-inspect release Out
done_testing
