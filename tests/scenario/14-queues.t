#!/usr/bin/env bash
# Queues themselves: names, creating, removing, holding, limits, waiting for a state, and roots that cannot be used.
# timeout: 120
. "$(dirname "$0")/../lib.sh"

put() { printf '%s' "$2" | queue-inspect put "$1" "${@:3}"; }
long=$(head -c 150 /dev/zero | tr '\0' q)

run_ok queue-inspect create Sales Sales.audit site.Store-1 a_b "$long"
same "" "$out"
run_ok queue-inspect create Sales
for name in ../x -x .x a/b 'a b' "${long}q" '' 'ä' $'a\nb' . ..; do
  run_exit 64 queue-inspect create -- "$name"
  run_exit 64 put "$name" x
  run_exit 64 queue-inspect take -- "$name"
done
run_exit 64 queue-inspect create Good ../bad
run_exit 66 queue-inspect take Good
run_exit 64 queue-inspect create
run_ok queue-inspect list --json
same 5 "$(wc -l <.out | tr -d ' ')" "nothing was created beside what was asked for"
same 700 "$(stat -c %a root)"
check_not "no file for others" [ -n "$(find root ! -type l -perm /077)" ]

# Removing.
run_ok put Sales one
run_exit 75 queue-inspect remove Sales
run_ok queue-inspect remove Sales --force
run_exit 66 queue-inspect take Sales
run_exit 66 queue-inspect remove Sales
run_ok queue-inspect remove a_b
# What was set aside in a queue goes with it; what a killed remove has left of that, too.
queue-inspect create damaged
mkdir "$GW_ROOT/queues/damaged/bad"
echo torn >"$GW_ROOT/queues/damaged/bad/0000000000000001-64.bad"
run_ok queue-inspect remove damaged --force
mkdir -p "$GW_ROOT/queues/.gone-17/bad"
echo torn >"$GW_ROOT/queues/.gone-17/bad/0000000000000001-64.bad"
run_ok queue-inspect check --repair
run_ok queue-inspect check
check_not 'nothing is left of them' compgen -G "$GW_ROOT/queues/.gone-*"
run_ok queue-inspect create Sales
run_exit 1 queue-inspect take Sales
run_ok put Sales first
run_ok queue-inspect take Sales
same first "$out" "a queue made anew is empty and works"
run_ok put New x --create
run_ok queue-inspect take New

# Holding.
run_ok put Sales waits
run_ok queue-inspect hold Sales --reason 'database upgrade'
run_exit 75 queue-inspect take Sales
like 'database upgrade' "$err"
run_exit 75 queue-inspect take Sales --all
like 'database upgrade' "$err"
run_ok put Sales more
run_ok queue-inspect list
like '^Sales .*takes-off \(database upgrade\)' "$out"
run_ok queue-inspect list --json
like '"takes":"off","puts":"on","hold_reason":"database upgrade"' "$out"
start_background taker queue-inspect take Sales --wait --timeout 30 --lines
run_ok queue-inspect hold Sales --puts
run_exit 75 put Sales no
run_ok queue-inspect release Sales
wait_daemon taker 10
same $'0 waits\nmore' "$status $(cat taker.out)" "release wakes who waits"
run_ok queue-inspect hold Sales New --puts --reason closed
run_exit 75 put Sales no
like closed "$err"
run_exit 1 queue-inspect take Sales
run_ok queue-inspect release Sales New
run_ok put Sales yes
run_ok queue-inspect take Sales
run_exit 66 queue-inspect hold Sales Nowhere
run_exit 64 queue-inspect hold
run_ok queue-inspect list --json
unlike '"(takes|puts)":"off"' "$out" "nothing is held when one of the queues is not there"

# A limit in bytes.
run_ok queue-inspect create Small --max-bytes 10K
fill() { for _ in $(seq 100); do head -c 1000 /dev/zero | queue-inspect put Small >/dev/null || return; done; }
run_exit 75 fill
count=$(queue-inspect list Small --json | wc -l)
check "about ten messages fit ($count)" [ "$count" -ge 5 -a "$count" -le 10 ]
run_ok bash -c 'queue-inspect take Small >/dev/null'
run_exit 75 fill
run_ok queue-inspect create Small --max-bytes 1M
run_ok bash -c 'head -c 100000 /dev/zero | queue-inspect put Small'
cat >config.xml <<'XML'
<gatepost><Queue Name="Configured" MaxBytes="2K"/></gatepost>
XML
run_ok queue-inspect create Configured --config config.xml
run_exit 75 bash -c 'head -c 5000 /dev/zero | queue-inspect put Configured'
run_exit 64 queue-inspect create X --max-bytes lots

# Waiting for a state.
run_ok queue-inspect wait Sales --for empty
run_ok queue-inspect wait Sales --for count=0
run_ok queue-inspect wait Sales --for gone=nobody
run_exit 75 queue-inspect wait Sales --for count=2 --timeout 200ms
like 'timed out' "$err"
start_background two queue-inspect wait Sales --for count=2 --timeout 30
start_background id queue-inspect wait Sales --for id=w2 --timeout 30
run_ok put Sales a --id w1
run_ok put Sales b --id w2
wait_daemon two 10
same 0 "$status"
wait_daemon id 10
same 0 "$status"
run_exit 75 queue-inspect wait Sales --for empty --timeout 0
run_exit 75 queue-inspect wait Sales --for gone=w1 --timeout 100ms
start_background empty queue-inspect wait Sales --for empty --timeout 30
start_background gone queue-inspect wait Sales --for gone=w1 --timeout 30
run_ok queue-inspect take Sales w1
wait_daemon gone 10
same 0 "$status"
run_ok queue-inspect take Sales
wait_daemon empty 10
same 0 "$status"
begin=$(date +%s%N)
run_ok put Sales c
run_ok queue-inspect wait Sales --for quiet=1s --timeout 30
elapsed=$((($(date +%s%N) - begin) / 1000000))
check "quiet for 1 s ($elapsed ms)" [ "$elapsed" -ge 950 ]
run_exit 64 queue-inspect wait Sales --for rain
run_exit 64 queue-inspect wait Sales
run_exit 64 queue-inspect wait Sales --for count=x
run_exit 66 queue-inspect wait Nowhere --for empty

# A take wakes at once, also when another process puts.
start_background timed queue-inspect take Small --wait --timeout 30
run_ok bash -c 'queue-inspect take Small >/dev/null; true'
kill_daemon timed

# Foreign files are reported and not touched.
echo mine >root/queues/Sales/notes.txt
run_exit 1 queue-inspect check
like 'Sales: .*notes.txt' "$out"
run_ok queue-inspect take Sales
same mine "$(cat root/queues/Sales/notes.txt)"
rm root/queues/Sales/notes.txt
run_ok queue-inspect check
mkdir root/queues/.hidden
echo x >root/queues/file
queue-inspect list --json >listed
check_not "what is no queue is not listed" grep -q -e hidden -e '"file"' listed
rm -r root/queues/.hidden root/queues/file

# Another format version, a foreign directory.
cp -a root broken
format_file=broken/format
check "there is a format file" [ -f "$format_file" ]
raise_version() {
  python3 - "$1" <<'PY'
import struct, sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8): crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
data = bytearray(open(sys.argv[1], "rb").read())
for at in (0, 4096):  # two copies: magic, sum of the rest, generation, version
    size = 176
    if data[at + 16] == 0: continue
    assert struct.unpack_from("<I", data, at + 4)[0] == crc32c(data[at + 8:at + size])
    data[at + 16] += 1
    struct.pack_into("<I", data, at + 4, crc32c(data[at + 8:at + size]))
open(sys.argv[1], "wb").write(data)
PY
}
check "its version is raised" raise_version "$format_file"
run_exit 71 queue-inspect --root broken list
like 'version 2' "$err"
run_exit 71 queue-inspect --root broken take Sales
printf garbage >"$format_file"
run_exit 71 queue-inspect --root broken list
mkdir foreign
echo x >foreign/file
run_exit 66 queue-inspect --root foreign list
echo x >plain
run_exit 71 queue-inspect --root plain list
same x "$(cat foreign/file)"
done_testing
