#!/bin/bash
# The sample of scaling out runs as its README says, and ends by itself.
# timeout: 150
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

RUN_TIMEOUT=120
run_ok env DEMO_LIMIT=100 TMPDIR="$T" "$SRC/scripts/demo-scaleout"
uuid='[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
like "^Press 'Enter' to send a message\.$" "$out"
like "^Sent PlacedOrder command with order ID \[$uuid\]\.$" "$out"
like "^Received OrderPlaced\. OrderId: $uuid\. Worker: Worker1$" "$out"
like "^Received OrderPlaced\. OrderId: $uuid\. Worker: Worker2$" "$out"
like "^Processing received order\.\.\.\.$" "$out"
like "^Sent Order placed event for orderId \[$uuid\]\.$" "$out"
for n in 1 2; do like "INFO  Worker at 'Sample\.Scaleout\.Worker$n' has been registered with 1 capacity\.$" "$out"; done
like '^Worker started, failures will be redirected to Sample\.Scaleout\.Server$' "$out"
like 'kill -9 [0-9]+: Worker[12], while it works' "$out"
like '8 orders, each answered once; killed: Worker[12]$' "$out"
same 8 "$(printf '%s\n' "$out" | grep -c '^Sent PlacedOrder')"
same 8 "$(printf '%s\n' "$out" | grep -c '^Received OrderPlaced')"
same 'tokens 2 = capacity 2 - in flight 0' "$(tail -n 1 <<<"$out")"
unlike 'NOT AS PROMISED' "$out"
check_not 'its directory is gone' compgen -G "$T/gatepost-scaleout.*"
done_testing
