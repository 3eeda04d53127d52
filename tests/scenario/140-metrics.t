#!/usr/bin/env bash
# Numbers for Prometheus: of the queues, and of a listener at an address of its own.
. "$(dirname "$0")/../lib.sh"

promtool_agrees() { # FILE
  if ! command -v promtool >/dev/null; then skip 1 'promtool (package prometheus) is not installed'; else
    check "promtool agrees with $1" bash -c "promtool check metrics <'$1' 2>&1"
  fi
}

# --- a listener ---------------------------------------------------------------------------------------------------------------
admin=127.0.0.1:$(free_port)
start_daemon listener gw-listen --endpoint Store --channel http://127.0.0.1:0/Store/ --admin "$admin"
url=${ready_line#ready }
same 1 "$(grep -c '^ready' listener.out)" "one ready line: the channel's"
post() { # ID BODY
  curl -s -o answer -w '%{http_code}' -H "NServiceBus.Id: $1" -H 'NServiceBus.CallType: SingleCallSubmit' -H 'NServiceBus.CorrelationId: c' \
    -H 'NServiceBus.Gateway: True' -H 'Content-Type: application/x-www-form-urlencoded' --data-binary "$2" "$url"
}
same 200 "$(post a one)"
same 200 "$(post b two)"
same 200 "$(post a one)"
same 422 "$(post a other)"
same 400 "$(curl -s -o answer -w '%{http_code}' --data-binary x "$url")"
run_ok curl -sS -D head -o metrics "http://$admin/metrics"
like '^Content-Type: text/plain; version=0\.0\.4' "$(cat head)"
for line in 'received_total{endpoint="Store",result="delivered"} 2' 'received_total{endpoint="Store",result="duplicate"} 1' \
  'received_total{endpoint="Store",result="refused"} 2' 'dedup_rows{endpoint="Store"} 2'; do
  check "$line" grep -qxF "gatepost_$line" metrics
done
promtool_agrees metrics
same OK "$(curl -s "http://$admin/healthz")" "healthy at the admin address"
same OK "$(curl -s "${url%/Store/}/healthz")" "and at the channel's"
same 200 "$(curl -s -o answer -w '%{http_code}' "http://$admin/trace?id=a")" "the story of a message"
like '"event":"stored".*"id":"a"' "$(cat answer)"
same 404 "$(curl -s -o answer -w '%{http_code}' "http://$admin/trace?id=never%20seen")"
same 405 "$(curl -s -o answer -w '%{http_code}' -X POST "http://$admin/metrics")" "nothing is posted there"
same 404 "$(curl -s -o answer -w '%{http_code}' "http://$admin/Store/")" "no message comes in there"
same 404 "$(curl -s -o answer -w '%{http_code}' "${url%/Store/}/metrics")" "the channel's port has no metrics"
run_exit 73 gw-listen --endpoint Other --channel http://127.0.0.1:0/Other/ --admin "$admin"
like '--admin.*another program listens' "$err"
stop_daemon listener
for bad in nonsense 127.0.0.1 host.example:1 :80 127.0.0.1:70000; do
  run_exit 64 gw-listen --endpoint Store --channel http://127.0.0.1:0/Store/ --admin "$bad"
done
start_daemon any gw-listen --endpoint Store --channel http://127.0.0.1:0/Store/ --admin 127.0.0.1:0
wait_until 5 grep -q 'admin-listening url=http://127.0.0.1:[1-9]' any.err
stop_daemon any

# --- queues -------------------------------------------------------------------------------------------------------------------
run_ok queue-inspect create Jobs
printf 'good\nbad\n' | queue-inspect put Jobs --lines -q
cat >handler <<'EOS'
#!/bin/sh
! grep -q bad
EOS
chmod 755 handler
run_exit 1 distributor worker --queue Jobs --drain --immediate-retries 2 --retries 0 -- ./handler
run_ok queue-inspect hold Jobs --reason later
run_ok queue-inspect metrics
cp .out metrics
for line in 'puts_total{queue="Jobs"} 2' 'acks_total{queue="Jobs"} 2' 'failed_total{queue="Jobs"} 3' 'retries_total{queue="Jobs"} 2' 'queue_messages{queue="error",state="ready"} 1' \
  'queue_held{queue="Jobs",what="takes"} 1' 'queue_held{queue="Jobs",what="puts"} 0'; do
  check "$line" grep -qxF "gatepost_$line" metrics
done
like '^gatepost_queue_oldest_seconds\{queue="error"\} [0-9.]+$' "$out"
unlike '^gatepost_queue_oldest_seconds\{queue="Jobs"\}' "$out" "an empty queue has no oldest message"
like '^gatepost_critical_time_seconds_count\{queue="Jobs"\} 1$' "$out" "one was handled"
like '^gatepost_processing_time_seconds_bucket\{queue="Jobs",le="\+Inf"\} 1$' "$out"
promtool_agrees metrics

# --- rules and the dashboard that come along --------------------------------------------------------------------------------------
check "the dashboard and the rules use metrics that there are" python3 - "$SRC/scripts/monitoring" "$SRC/man/man1" <<'PY'
import json, pathlib, re, sys
folder, pages = map(pathlib.Path, sys.argv[1:])
told = set(re.findall(r"gatepost_[a-z_]+", "".join(page.read_text() for page in pages.glob("*.1"))))
board = json.loads((folder / "gatepost-dashboard.json").read_text())
text = json.dumps([panel["targets"] for panel in board["panels"]]) + (folder / "gatepost.rules.yml").read_text()
used = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"gatepost_[a-z_]+", text)}
assert len(used) > 10 and used <= told, used - told
ids = [panel["id"] for panel in board["panels"]]
assert len(ids) == len(set(ids))
for a in board["panels"]:
    for b in board["panels"]:
        p, q = a["gridPos"], b["gridPos"]
        assert a is b or p["x"] + p["w"] <= q["x"] or q["x"] + q["w"] <= p["x"] or p["y"] + p["h"] <= q["y"] or q["y"] + q["h"] <= p["y"], "panels overlap"
PY
if command -v promtool >/dev/null; then
  run_ok promtool check rules "$SRC/scripts/monitoring/gatepost.rules.yml"
else
  skip 1 'promtool (package prometheus) is not installed'
fi
done_testing
