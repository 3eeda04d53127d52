#!/bin/bash
# A large body, out and in: nobody holds more than a little of it in memory. LARGE_MIB (96) says how large.
# timeout: 600
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

mib=${LARGE_MIB:-96}
limit_kib=$((32 * 1024))
far=$T/far
peak() { awk '/VmHWM/ { print $2 }' "/proc/$1/status"; }
# What a command needed at its most, in KiB: $peak_kib.
measured() {
  peak_kib=$(python3 -c 'import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=open("measured.out", "wb"))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)' "$@")
}
grew() { [ -n "$1" ] && [ $(($2 - $1)) -lt "$limit_kib" ]; }

head -c $((mib * 1024 * 1024)) /dev/urandom >large.bin
sum=$(sha256sum <large.bin)
echo small >small.txt
start_daemon listen gw-listen --root "$far" --endpoint Store1 --channel http://127.0.0.1:0/Store1/
write_config 'Endpoint="HQ"' "Key=\"Store1\" Address=\"${ready_line#ready }\" ChannelType=\"http\""
start_daemon forward gw-send forward
run_ok gw-send --to Store1 --id small --wait delivered --timeout 20s small.txt
listen=${DAEMON[listen]} forward=${DAEMON[forward]}
listen_before=$(peak "$listen") forward_before=$(peak "$forward")

measured gw-send --to Store1 --id small-2 small.txt
small_kib=$peak_kib
began=$SECONDS
measured gw-send --to Store1 --id large large.bin
note "$mib MiB: stored in $((SECONDS - began)) s"
check "gw-send: $small_kib KiB for a small one, $peak_kib for a large one" grew "$small_kib" "$peak_kib"
began=$SECONDS
RUN_TIMEOUT=300 run_ok gw-send wait --timeout 290s large
note "delivered in $((SECONDS - began)) s"
check "gw-send forward: $forward_before KiB before, $(peak "$forward") after" grew "$forward_before" "$(peak "$forward")"
check "gw-listen: $listen_before KiB before, $(peak "$listen") after" grew "$listen_before" "$(peak "$listen")"

run_ok queue-inspect take Store1 small --root "$far"
measured queue-inspect take Store1 small-2 --root "$far"
small_kib=$peak_kib
measured queue-inspect take Store1 large --root "$far"
same "$sum" "$(sha256sum <measured.out)" 'it is what was sent'
check "queue-inspect take: $small_kib KiB for a small one, $peak_kib for a large one" grew "$small_kib" "$peak_kib"

# From somebody else, in chunks.
RUN_TIMEOUT=300 run_ok curl -sS --noproxy '*' -H 'Expect:' -H 'Transfer-Encoding: chunked' -H 'NServiceBus.Id: chunks' -H 'NServiceBus.CallType: SingleCallSubmit' \
  -H 'NServiceBus.Gateway: True' -X POST -T large.bin "$(sed -n 's/.*Address="\([^"]*\)".*/\1/p' config.xml)"
same OK "$out"
check "gw-listen, chunks: $(peak "$listen") KiB after" grew "$listen_before" "$(peak "$listen")"
RUN_TIMEOUT=300 run_ok bash -c "queue-inspect take Store1 chunks --root '$far' | cmp - large.bin"
stop_daemon forward
stop_daemon listen
same '' "$(find "$far/bodies" "$GW_ROOT/bodies" -type f)" 'no body is left'
done_testing
