#!/usr/bin/env bash
# check finds what is wrong and repairs it; metrics are text that Prometheus reads.
# asan: yes
. "$(dirname "$0")/../lib.sh"

run_ok queue-inspect create Sales Other
seq 1 1000 | queue-inspect put Sales --lines -q
run_ok bash -c 'queue-inspect take Sales --max 300 >/dev/null'
run_ok bash -c 'echo later | queue-inspect put Sales --delay 1h'
run_ok queue-inspect check
same $'Other: put 0 = ready 0 + claimed 0 + deferred 0 + done 0\nSales: put 1001 = ready 700 + claimed 0 + deferred 1 + done 300' "$out"
run_ok queue-inspect check --json
check "JSON" python3 -c '
import json
rows = [json.loads(l) for l in open(".out")]
s = [r for r in rows if r.get("queue") == "Sales"][0]
assert s["kind"] == "queue" and s["puts_total"] == 1001 and s["ready"] == 700 and s["deferred"] == 1 and s["acks_total"] == 300 and s["balanced"] is True'

# Balanced at every moment of a queue in use.
start_background producer bash -c 'for n in $(seq 20); do seq 1 500 | queue-inspect put Sales --lines -q; done'
start_background consumer bash -c 'exec queue-inspect take Sales --follow >/dev/null'
check_often() { local n=0; while [ $((n += 1)) -le 15 ]; do queue-inspect check >checked || return; done; }
check "balanced 15 times while messages come and go" check_often
wait_daemon producer 60
run_ok queue-inspect wait Sales --for count=1 --timeout 60
stop_daemon consumer
run_ok queue-inspect check

# A body file that is gone, a file that nobody owns, a flipped bit.
head -c 100000 /dev/urandom >big
run_ok queue-inspect put Other big --id lost
run_ok queue-inspect put Other big --id whole
body=$(queue-inspect show Other lost --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["body_file"])')
rm "$body"
run_exit 1 queue-inspect check
like '^Other: ' "$out"
printf 'good\ntarget\nlast\n' | queue-inspect put Other --lines -q
log=$(ls root/queues/Other/*.log)
check "a bit flips in the record of 'target'" python3 - "$log" <<'PY'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[data.rindex(b"target") + 2] ^= 1
open(sys.argv[1], "r+b").write(data)
PY
run_exit 1 queue-inspect check
like ':4|seq 4' "$out" "the record is named"
run_exit 65 queue-inspect list Other
like 'message :1 .*damaged' "$err"
like 'whole' "$out" "one damaged message does not hide the others"
run_ok bash -c 'queue-inspect take Other whole >taken'
check "the whole one is taken" cmp taken big
run_ok queue-inspect check --repair
like 'repaired' "$out"
run_ok queue-inspect check
like '^Other: put 5 = ready 2 \+ claimed 0 \+ deferred 0 \+ done 1 \+ corrupt 2$' "$out"
run_ok queue-inspect take Other --lines
same $'good\nlast' "$out" "what is whole is delivered, what is not is not"
run_ok queue-inspect list
like '^Other .*corrupt=2' "$out"

# Prometheus.
run_ok queue-inspect metrics
like '^gatepost_queue_messages\{queue="Sales",state="deferred"\} 1$' "$out"
like '^gatepost_puts_total\{queue="Sales"\} 11001$' "$out"
like '^gatepost_acks_total\{queue="Sales"\} 11000$' "$out"
like '^gatepost_failed_total\{queue="Sales"\} 0$' "$out"
like '^gatepost_queue_disk_bytes\{queue="Sales"\} [1-9]' "$out"
like '^gatepost_disk_free_bytes [1-9]' "$out"
check "every sample has a HELP and a TYPE before it" python3 - <<'PY'
import re
kinds = {}
for line in open(".out"):
    if m := re.fullmatch(r"# TYPE (\w+) (gauge|counter)\n", line): kinds[m[1]] = m[2]
    elif line.startswith("# HELP"): pass
    else:
        m = re.fullmatch(r'(\w+)(\{\w+="[\w.-]*"(,\w+="\w+")*\})? [0-9.]+\n', line)
        assert m and m[1] in kinds, line
        assert kinds[m[1]] == ("counter" if m[1].endswith("_total") else "gauge"), line
PY
if command -v promtool >/dev/null; then
  run_ok bash -c 'queue-inspect metrics | promtool check metrics'
else
  skip 1 "no promtool"
fi
done_testing
