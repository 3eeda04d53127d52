#!/bin/bash
# The superuser becomes the owner of the root directory, after the files of the command line were opened.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root"

# $T is private; the other user needs a way in.
mkdir -m 700 "$T/top" && mkdir "$T/top/root"
chmod 711 "$T" "$T/top"
chown 65534:65534 "$T/top/root"
chmod 700 "$T/top/root"
export GW_ROOT=$T/top/root
echo secret >"$T/only-root" && chmod 600 "$T/only-root"

run_ok queue-inspect create prices
run_ok queue-inspect put prices "$T/only-root"
head -c 200000 /dev/zero >"$T/large" && chmod 600 "$T/large"
run_ok queue-inspect put prices "$T/large"
same '' "$(find "$GW_ROOT" ! -uid 65534)" "everything under the root belongs to its owner"
same '' "$(find "$GW_ROOT" ! -gid 65534)" "and to its owner's group"
# The build may lie where the owner cannot go.
cp "$BUILD/bin/queue-inspect" "$T/inspect"
run_ok setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent "$T/inspect" take prices --max 1
same secret "$out"
# The owner edits, in a directory of his own.
run_ok queue-inspect put prices "$T/only-root"
run_ok env TMPDIR=/tmp queue-inspect edit prices --all --exec cat
run_ok env TMPDIR=/tmp EDITOR='sed -i s/secret/known/' queue-inspect edit prices --where body~secret
same '' "$(find "$GW_ROOT" ! -uid 65534)"
# What the owner may not do the superuser does not do either.
chmod 500 "$GW_ROOT/queues"
run_exit 77 queue-inspect create other
done_testing
