#!/usr/bin/env bash
# The price update sample runs as its README says, from the web page's request to the stores' answers.
# timeout: 150
. "$(dirname "$0")/../lib.sh"
for tool in curl openssl; do command -v "$tool" >/dev/null || skip_all "no $tool"; done

RUN_TIMEOUT=120
run_ok env TMPDIR="$T" "$SRC/scripts/sample-gateway/run" "$(free_port)" "$(free_port)" "$(free_port)"
for line in "jQuery17_1\(\{ status: 'OK'\}\)" 'Store1: Apple costs 1\.20' 'Store2: Apple costs 1\.20' 'price update received by Store1' \
  'price update received by Store2' 'Store1: 3 prices for tomorrow' 'Store2: 3 prices for tomorrow' 'headquarters: 2 lines in store1-sales.csv' \
  'store2: 0 queues with messages'; do
  like "$line" "$out"
done
same 2 "$(printf '%s\n' "$out" | grep -c 'update received by')" 'each store has answered once'
check_not 'its directory is gone' compgen -G "$T/gatepost-sample.*"
run_exit 64 "$SRC/scripts/sample-gateway/run" 1
run_exit 64 "$SRC/scripts/sample-gateway/web-client"
done_testing
