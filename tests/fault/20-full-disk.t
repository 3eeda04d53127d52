#!/bin/bash
# timeout: 120
# A full disk: puts say 75 and leave nothing half done, what was stored stays, takes go on and make room, then puts work again.
# From any call on every request for space fails: ack, defer and give-back need none.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

# --- the disk is small: 16 MiB in a mount namespace of its own
cat >"$T/small-disk.sh" <<'S'
set -u
mount -t tmpfs -o size=20M tmpfs "$1" || exit 77
cd "$1" || exit 1
# a real file system where that is possible
if truncate -s 16M img 2>/dev/null && command -v mkfs.ext4 >/dev/null && mkfs.ext4 -q -F img 2>/dev/null && mkdir -p m && mount -o loop img m 2>/dev/null; then
  cd m || exit 1
fi
root=$PWD/root events=$2
queue-inspect -q --root "$root" create q a || exit 2
n=0 rc=0
while [ "$rc" = 0 ]; do
  driver "$root" put q $((n * 4 + 1)) 4 9000 >>"$events" 2>"$2.err"
  rc=$?
  n=$((n + 1))
  [ $n -lt 1000 ] || { echo "the disk never became full"; exit 3; }
done
[ $n -gt 20 ] || { echo "only $n puts on an empty disk: $(cat "$2.err")"; exit 3; }
case $rc in 74 | 75) ;; *) echo "put on a full disk ends with $rc: $(cat "$2.err")"; exit 4 ;; esac
head -c 40000 /dev/zero >"$root/../ballast" 2>/dev/null
driver "$root" verify "$events" || exit 5
driver "$root" defer q 3 >>"$events" || { echo "defer on a full disk ends with $?"; exit 6; }
driver "$root" ack q 40 >>"$events" || { echo "ack on a full disk ends with $?"; exit 6; }
driver "$root" verify "$events" || exit 7
queue-inspect -q --root "$root" take q --all >/dev/null || { echo "drain ends with $?"; exit 8; }
: >"$events"
rm -f "$root/../ballast"
driver "$root" put q 5001 4 9000 >>"$events" || { echo "after the drain put ends with $?"; exit 9; }
queue-inspect -q --root "$root" check || exit 10
S
mkdir "$T/disk"
out=$(timeout 60 unshare --mount bash "$T/small-disk.sh" "$T/disk" "$T/events" 2>&1)
status=$?
if [ "$status" = 1 ] || [ "$status" = 77 ]; then
  out=$(timeout 60 unshare --map-root-user --mount bash "$T/small-disk.sh" "$T/disk" "$T/events" 2>&1)
  status=$?
fi
if [ "$status" = 1 ] || [ "$status" = 77 ]; then skip 1 'no mount namespace here'; else
  same '0:' "$status:$out" 'a full disk refuses puts, is drained, and takes puts again'
fi

# --- every call that needs space fails from the n-th on
made='queue-inspect --root "$DIR/root" create q a b c >/dev/null'
filled="$made"' && driver "$DIR/root" put q 1 4 >"$DIR/before"'
no_space() { # NAME SETUP RUN ALLOWED...
  local name=$1 setup=$2 run=$3 allowed=$4
  local check='case $RC in '$allowed') ;; *) echo "exit status $RC: $(tail -n 3 "$LOG")"; exit 1;; esac
    cp "$LOG" "$TMPDIR/events"; [ ! -e "$DIR/before" ] || cat "$DIR/before" "$LOG" >"$TMPDIR/events"
    driver "$DIR/root" verify "$TMPDIR/events"'
  RUN_TIMEOUT=100 quiet_ok "$name" "$SRC/tests/lab/sweep.sh" --setup "$setup" --modes ENOSPC+ ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/$name"} \
    "$run" "$check" write pwrite writev pwritev fallocate ftruncate linkat mkdirat renameat
}
no_space put "$made" 'driver "$DIR/root" put q 1 8 3000' '0|74|75'
no_space move "$filled" 'driver "$DIR/root" move q a,b 3' '0|74|75'
# These do not even ask for space.
no_request() {
  out=$("$SRC/tests/lab/sweep.sh" --setup "$filled" --modes ENOSPC+ "$1" true write pwrite writev pwritev fallocate ftruncate linkat mkdirat renameat 2>&1)
  like 'none of these functions is called' "$out" "${1#* } writes nothing"
}
no_request 'driver "$DIR/root" ack q 4'
no_request 'driver "$DIR/root" defer q 4'
no_request 'driver "$DIR/root" back q 4'
done_testing
