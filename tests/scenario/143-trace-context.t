#!/usr/bin/env bash
# W3C trace context: a message carries it from sender to handler, over a gateway, and every one who works on it has a span of its own.
. "$(dirname "$0")/../lib.sh"

trace=4bf92f3577b34da6a3ce929d0e0e4736
parent=00-$trace-00f067aa0ba902b7-01
header_of() { queue-inspect show "$1" --all --headers | sed -n "s/^$2: //p"; }

start_daemon listener gw-listen -v --endpoint Store --channel http://127.0.0.1:0/Store/
url=${ready_line#ready }
run_ok env TRACEPARENT=$parent TRACESTATE=shop=1 gw-send --to Store --site "Store=$url" --wait delivered --timeout 30s <<<'order 17'
sent=$(header_of Store traceparent)
like "^00-$trace-[0-9a-f]{16}-01$" "$sent" "the sender's span arrives"
unlike 00f067aa0ba902b7 "$sent" "... which is its own"
same shop=1 "$(header_of Store tracestate)"
check "the listener's event names it" grep -q " debug received .* traceparent=$sent\$" listener.err
stop_daemon listener
# Events name the trace too.
printf x | gw-send --to Gone --site Gone=http://127.0.0.1:1/ --header "traceparent=$parent" -q >/dev/null
run_exit 1 gw-send forward --once --retries 0 --site Gone=http://127.0.0.1:1/
like " error attempt-failed id=[^ ]+ site=Gone attempt=1 reason=.* traceparent=$parent\$" "$err"
printf x | gw-send --to Gone --site Gone=http://127.0.0.1:1/ --header traceparent= -q >/dev/null
run_exit 1 gw-send forward --once --retries 0 --site Gone=http://127.0.0.1:1/ --log-format json
same '["at","level","event","id","site","attempt","reason"]' "$(jq -c keys_unsorted <<<"$err")" "and nothing that is not known"

cat >handler <<'EOS'
#!/bin/sh
echo "$TRACEPARENT $TRACESTATE" >>"$GW_ROOT/../seen"
echo answer | queue-inspect put Answers --create
EOS
chmod 755 handler
run_ok queue-inspect create Answers
run_ok distributor worker --queue Store --drain -- ./handler
read -r worked state <seen
like "^00-$trace-[0-9a-f]{16}-01$" "$worked" "the handler's environment continues the trace"
check "the handler's span is its own" [ "$worked" != "$sent" ]
same shop=1 "$state"
answered=$(header_of Answers traceparent)
like "^00-$trace-[0-9a-f]{16}-01$" "$answered" "what the handler sends belongs to the trace"
check "with a span of its own" [ "$answered" != "$worked" ]

# Without a trace there is none; one that is none counts as none; a header on the command line wins.
run_ok env -u TRACEPARENT queue-inspect put Plain --create <<<x
run_ok env TRACEPARENT=nonsense queue-inspect put Plain <<<x
same '' "$(header_of Plain traceparent)"
cat >handler <<'EOS'
#!/bin/sh
echo "${TRACEPARENT-none}" >>"$GW_ROOT/../plain"
EOS
run_ok env TRACEPARENT=$parent distributor worker --queue Plain --drain -- ./handler
same $'none\nnone' "$(cat plain)" "the worker's own trace is not the message's"
run_ok env TRACEPARENT=$parent queue-inspect put Given --create --header "traceparent=00-$trace-1111111111111111-00" <<<x
same "00-$trace-1111111111111111-00" "$(header_of Given traceparent)"

# A handler that streams.
cat >stream.py <<'EOS'
import json, sys
for line in sys.stdin:
    got = json.loads(line)
    print(json.dumps({"seq": got["seq"], "result": "ok", "send": [{"queue": "Streamed", "body": got["headers"].get("traceparent", "")}]}), flush=True)
EOS
run_ok queue-inspect create Streamed
run_ok distributor worker --queue Given --drain --stream -- python3 "$T/stream.py"
same "00-$trace-1111111111111111-00" "$(queue-inspect show Streamed --all --body)"
like "^00-$trace-[0-9a-f]{16}-00$" "$(header_of Streamed traceparent)"
unlike 1111111111111111 "$(header_of Streamed traceparent)"
done_testing
