#!/usr/bin/env bash
# Roots that must not be used: on a network file system, of a newer format, in use under another identity. And what a new
# identity (a reboot, a copy, another machine) does to a root that nobody else uses: it is recovered, nothing is lost.
. "$(dirname "$0")/../lib.sh"

cat >fs.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/statfs.h>
int fstatfs64(int fd, struct statfs64 *s) {
  int (*real)(int, struct statfs64 *) = (int (*)(int, struct statfs64 *))dlsym(RTLD_NEXT, "fstatfs64");
  int r = real(fd, s);
  if (r == 0 && getenv("FS_TYPE")) s->f_type = strtol(getenv("FS_TYPE"), 0, 16);
  return r;
}
int fstatfs(int fd, struct statfs *s) { return fstatfs64(fd, (struct statfs64 *)s); }
C
check "the shim builds" gcc -shared -fPIC -o fs.so fs.c

queue_of() { env LD_PRELOAD="$T/fs.so" FS_TYPE="$1" queue-inspect --root "$T/$2" create Q; }
for type in 6969:NFS ff534d42:CIFS fe534d42:CIFS 01021997:9p 65735546:FUSE; do
  run_exit 71 queue_of "${type%:*}" "fs-${type%:*}"
  like "is on ${type#*:}: a root needs a local file system" "$err"
  check "nothing was made there" [ -z "$(ls -A "$T/fs-${type%:*}")" ]
done
run_ok queue_of 794c7630 fs-overlay
like "warn root-on-overlay" "$err"

run_ok queue-inspect create Q
echo kept >m
run_ok queue-inspect put Q m
cp -r root newer
printf '\002' | dd of=newer/format bs=1 seek=16 conv=notrunc status=none
printf '\002' | dd of=newer/format bs=1 seek=4112 conv=notrunc status=none
run_exit 71 queue-inspect --root newer list
like "newer" "$err" "a format with a wrong sum or a newer version is named"

# A holder under this identity; another one (another machine id) must wait for it and then give up.
if unshare -m true 2>/dev/null && [ -e /etc/machine-id ]; then
  echo 0123456789abcdef0123456789abcdef >id
  elsewhere() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare -m bash -c 'mount --bind "$1" /etc/machine-id && shift && exec "$@"' - "$T/id" "$@"
  }
  run_ok queue-inspect take Q
  start_background holder queue-inspect take Q --wait --timeout 600
  wait_until 10 bash -c "ls -l /proc/$daemon_pid/fd | grep -q queues/Q"
  run_exit 71 elsewhere queue-inspect list
  like "in use by another kernel or under another identity" "$err"
  kill_daemon holder
  echo again >m
  run_ok queue-inspect put Q m
  run_ok elsewhere queue-inspect take Q
  same again "$out" "once it is free the other one recovers the root and goes on"
  run_ok queue-inspect check
  like "Q: put 2 = ready 0 \+ claimed 0 \+ deferred 0 \+ done 2" "$out" "and back again"
else
  skip 1 "no mount namespaces, or no /etc/machine-id"
fi

# A copy has another identity: claims are void, messages are there.
run_ok queue-inspect put Q m
cp -r root copy
run_ok queue-inspect --root copy take Q
same again "$out"
run_ok queue-inspect take Q
done_testing
