#!/bin/bash
# queue-inspect trace --remote: one story over both sides of the gateway.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

port=$(free_port)
cat >config.xml <<XML
<gatepost><Gateway Endpoint="HQ"><Sites>
<Site Key="Store1" Address="http://127.0.0.1:$port/Store1/" Trace="$BUILD/bin/queue-inspect --root $T/store trace --json -"/>
<Site Key="Store2" Address="http://127.0.0.1:1/Store2/" Trace="no-such-program"/>
</Sites></Gateway></gatepost>
XML
export GW_CONFIG=$T/config.xml
cat >store.xml <<XML
<gatepost><Gateway Endpoint="Store1"><Sites>
<Site Key="HQ" Address="http://127.0.0.1:1/HQ/" Trace="$BUILD/bin/queue-inspect --root $T/root trace --json -"/>
</Sites></Gateway></gatepost>
XML
GW_CONFIG='' start_daemon store gw-listen --root store --endpoint Store1 --channel "http://127.0.0.1:$port/Store1/"
run_ok gw-send --to Store1 --id 'order; touch evil' -v --wait delivered --timeout 20s <<<'x'
run_ok distributor worker --root store --queue Store1 --once -- true

run_ok queue-inspect trace 'order; touch evil' --json
same 'stored delivered' "$(jq -r .event <<<"$out" | paste -sd' ')"
run_ok queue-inspect trace 'order; touch evil' --remote --json
same 'delivered handled stored stored' "$(jq -r .event <<<"$out" | sort | paste -sd' ')"
same "$(jq -r .at <<<"$out")" "$(jq -r .at <<<"$out" | sort)" 'in time order'
run_ok queue-inspect trace 'order; touch evil' --remote
like "delivered to site 'Store1' at .*; at site 'Store1': handled by worker 'Store1@" "$(head -n 1 <<<"$out")"
check_not 'an id is no command' test -e evil
# from the other end
run_ok queue-inspect --root store --config store.xml trace 'order; touch evil' --remote
like "handled by worker 'Store1@.*; at site 'HQ': delivered to site 'Store1'" "$(head -n 1 <<<"$out")"

# Known only there, or nowhere.
run_ok queue-inspect --root store create Here
run_ok queue-inspect --root store put Here --id there <<<'x'
run_exit 1 queue-inspect trace there --remote
like "at site 'Store1': in queue 'Here' since" "$out"
like "site 'Store2' cannot be asked" "$err"
run_exit 1 queue-inspect trace nowhere --remote
same '' "$out"
like "'nowhere' is not known" "$err"
# Without a command there is nobody to ask.
echo '<gatepost/>' >none.xml
run_exit 78 queue-inspect --config none.xml trace there --remote
like 'Trace=' "$err"
done_testing
