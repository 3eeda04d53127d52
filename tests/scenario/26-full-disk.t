#!/bin/bash
# A full disk: nothing more is accepted, what was accepted is forwarded, and that makes room again.
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

mkdir "$T/small"
mount -t tmpfs -o size=12m none "$T/small" 2>/dev/null || skip_all "no file system can be mounted here"
at_exit umount -l "$T/small"
export GW_ROOT=$T/small/root

start_site store
write_config 'Endpoint="HQ" RetryIncrement="100ms"' "Key=\"Store1\" Address=\"${URL[store]}\" ChannelType=\"http\""
head -c 60000 /dev/urandom >body.bin
echo small >body.txt
run_ok gw-send forward --drain
stored=()
for i in $(seq 300); do
  id=$(gw-send --to Store1 --id "m$i" -q body.bin 2>"$T/full.err")
  status=$?
  [ $status = 0 ] || break
  stored+=("$id")
done
same 75 "$status" "full: not now"
note "$(cat "$T/full.err")"
check "some were stored" [ ${#stored[@]} -gt 20 ]
# Nothing is left at all: not a reserve, not a page.
head -c 100000000 /dev/zero >"$T/small/filler" 2>/dev/null
same 0 "$(df --output=avail "$T/small" | tail -n 1 | tr -d ' ')" "no room at all"
run_exit 75 gw-send --to Store1 -q body.bin
run_ok gw-send forward --drain
same ${#stored[@]} "$(requests store)" "all that was stored was sent"
like '^([^ ]* warn (outcomes-late|journal-incomplete) .*|)$' "$(head -n 1 <<<"$err")"
run_ok gw-send wait --timeout 0 "${stored[@]}"

# What has failed for good, and the queue for it cannot be made: it stays, is told, and --once ends.
rm "$T/small/filler"
run_ok gw-send --to Store1 --id refused -q body.txt
run_ok queue-inspect remove error
head -c 100000000 /dev/zero >"$T/small/filler" 2>/dev/null
plan_site store '400 Nope'
run_exit 75 gw-send forward --once --retries 0
like ' error error-queue-missing queue=error reason=' "$err"
run_exit 75 gw-send wait --timeout 0 refused
rm "$T/small/filler"
run_exit 1 gw-send forward --once --retries 0
run_ok queue-inspect show error refused --headers
plan_site store '200 OK'
run_ok gw-send --to Store1 -q --wait delivered --timeout 20s body.bin
run_ok queue-inspect check
done_testing
