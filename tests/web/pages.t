#!/usr/bin/env bash
# The web page as Chromium shows it. Pictures are left in $BUILD/web.
# timeout: 300
. "$(dirname "$0")/../lib.sh"

command -v chromium >/dev/null || skip_all 'chromium is not installed'
cat >config.xml <<'EOS'
<gatepost><Gateway Endpoint="HQ" Outages="wait"><Sites>
<Site Key="Store17" Address="https://store17.example.net/Store17/" ChannelType="http"/>
<Site Key="Warehouse-North" Address="http://127.0.0.1:9/a-rather-long-path-of-a-warehouse/that-goes-on-and-on-without-a-space/" ChannelType="http"/>
</Sites></Gateway></gatepost>
EOS
export GW_CONFIG=$T/config.xml
run_ok queue-inspect create Sales Sales.audit Prices "$(printf 'Long.%.0s' {1..25})x" Jobs
seq 1 1200 | queue-inspect put Sales --lines -q --type Shop.OrderPlaced
echo soon | queue-inspect put Prices --delay 1h -q
for site in Store17 Warehouse-North; do echo price | gw-send --to $site -q 2>/dev/null; done
printf '#!/bin/sh\necho "connection to database refused after 30 s: $(printf %%0200d 0)" >&2\nexit 65\n' >handler
chmod 755 handler
seq 1 30 | queue-inspect put Jobs --lines -q --type '<script>document.title = "broken"</script>'
run_exit 1 distributor worker --queue Jobs --drain -- ./handler
head -c 5000 /dev/urandom | queue-inspect put Prices --id "$(printf 'x%.0s' {1..250})" --header "X-Long=$(printf '%01000d' 0)" --header 'X-Evil="><img src=x onerror=alert(1)>' -q
run_ok queue-inspect hold Jobs --reason 'database upgrade until Monday'
start_daemon page queue-inspect serve --listen 127.0.0.1:0
url=${ready_line#ready }
check "each page at each width" bash -c 'python3 "$1/tests/web/devtools.py" "$2" "$3" / /queue/Sales /queue/error /message/error/1 /message/Prices/2 /queue/site.Store17 /nowhere >looked; s=$?; exit $s' - "$SRC" "${url%/}" "$BUILD/web"
sed 's/^not ok/#   fault:/; s/^ok/#   fine:/' looked
stop_daemon page
done_testing
