#!/usr/bin/env bash
# The fair distribution sample: the fast instance gets more, every order is handled once; its parts refuse what they do not understand.
# timeout: 120
. "$(dirname "$0")/../lib.sh"

RUN_TIMEOUT=90
run_ok env TMPDIR="$T" "$SRC/scripts/sample-fair/run" 40
like 'Handled: Sales-fast [0-9]+, Sales-slow [0-9]+' "$out"
check_not 'its directory is gone' compgen -G "$T/gatepost-fair.*"
run_exit 64 "$SRC/scripts/sample-fair/run" many

export FAIR_STATE=$T/state FAIR_MARKER=7
mkdir state
printf '%s\n' 1 2 3 >state/A@vm
printf '%s\n' 4 5 >state/B@vm
run_ok "$SRC/scripts/sample-fair/choose" A@vm B@vm
same B@vm "$out" 'the one with less in flight'
run_ok "$SRC/scripts/sample-fair/choose" A@vm B@vm C@vm
same C@vm "$out" 'one that was never used comes first'
echo session >state/session
printf '%s\n' 'NServiceBus.FlowControl.ACK: 2' 'NServiceBus.FlowControl.Address: A@vm' 'NServiceBus.FlowControl.SessionId: session' >headers
run_ok env GW_HEADERS_FILE="$T/headers" "$SRC/scripts/sample-fair/handle-ack"
same 3 "$(cat state/A@vm)" 'up to there nothing is in flight'
printf '%s\n' 'NServiceBus.FlowControl.ACK: 2; rm' 'NServiceBus.FlowControl.Address: A@vm' >headers
run_exit 65 env GW_HEADERS_FILE="$T/headers" "$SRC/scripts/sample-fair/handle-ack"
printf '%s\n' 'NServiceBus.FlowControl.ACK: 2' 'NServiceBus.FlowControl.Address: ../A' >headers
run_exit 65 env GW_HEADERS_FILE="$T/headers" "$SRC/scripts/sample-fair/handle-ack"
done_testing
