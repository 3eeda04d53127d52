#!/usr/bin/env bash
# SQLite before 3.51.3 can damage a WAL database when a checkpoint meets a writer of another connection. So every write and every
# checkpoint of the store happens under the lock of its lock file, and closing checkpoints nothing.
# timeout: 120
. "$(dirname "$0")/../lib.sh"

strace -o /dev/null true 2>/dev/null || skip_all 'no strace here, or not allowed'
run_ok gw-dedup mark --endpoint Store1 first

# One process under strace that writes enough for several checkpoints, another at the same time.
lines() { for ((i = 0; i < $2; i++)); do echo "$1-$i-$RANDOM$RANDOM"; done; }
lines other 3000 >other.lines
lines traced 40000 >traced.lines
gw-dedup filter --endpoint Store1 <other.lines >other.out &
other=$!
run_ok bash -c 'strace -f -y -o trace -e trace=flock,pwrite64,fdatasync,fsync,ftruncate gw-dedup filter --endpoint Store1 <traced.lines >traced.out'
wait "$other"
same 40000 "$(wc -l <traced.out)"
run_ok python3 - trace <<'PY'
import re, sys
locked, writes, checkpoints, outside = {}, 0, 0, []
for line in open(sys.argv[1], errors="replace"):
    match = re.match(r"(\d+)\s+(\w+)\((\d+)<([^>]*)>(.*)", line)
    if not match:
        continue
    pid, call, fd, path, rest = match.groups()
    if path.endswith("/dedup/Store1.lock") and call == "flock":
        if "LOCK_EX" in rest and "= 0" in rest:
            locked[pid] = True
        if "LOCK_UN" in rest:
            locked[pid] = False
    if "/dedup/Store1.db" in path and call != "flock" and not path.endswith("-shm"):
        writes += 1
        if call == "pwrite64" and path.endswith("Store1.db"):
            checkpoints += 1
        if not locked.get(pid):
            outside.append(line.strip())
print(f"{writes} writes and syncs, {checkpoints} pages checkpointed")
assert writes > 100 and checkpoints > 50, (writes, checkpoints)
assert not outside, outside[:5]
PY
note "$out"
run_ok gw-dedup check --endpoint Store1
run_ok gw-dedup status --endpoint Store1 --json
like '"rows":43001' "$out"

# Four at once, with kills: whole in the end.
for round in 1 2 3; do
  for p in 1 2 3 4; do
    lines "round-$round-$p" 1500 >"lines-$p"
    gw-dedup filter --endpoint Store1 <"lines-$p" >/dev/null 2>&1 &
    pids[p]=$!
  done
  sleep "0.$((RANDOM % 5 + 1))"
  kill -9 "${pids[1]}" "${pids[3]}" 2>/dev/null
  wait "${pids[@]}" 2>/dev/null
done
run_ok gw-dedup check --endpoint Store1
run_ok gw-dedup seen --endpoint Store1 first
done_testing
