#!/bin/bash
# What the README tells a newcomer, on a fresh Debian with nothing but git and make: clone, build, first use, installation.
# timeout: 3000
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/chroot-lib.sh
. "$SRC/tests/chroot-lib.sh"
RUN_TIMEOUT=2700

need_debian git make
git -C "$SRC" rev-parse --git-dir >/dev/null 2>&1 || skip_all "this tree is no clone"
run_ok git clone -q "$SRC" "$CHROOT/root/gatepost"
run_exit 2 inside make -C /root/gatepost
like "packages are missing, 'make deps' installs them: g\\+\\+ libcli11-dev " "$err" "a build without the packages says what to do"
run_ok inside make -C /root/gatepost demo
like 'nothing|lost|doubled' "$out$err" "the demo says what it has shown"
# The lines of the README's first use, word for word, in a shell that has only what it says.
awk '/^<!-- first use -->$/ { here = 1 } here && /^```$/ && ++fences == 2 { exit } here && sub(/^\$ /, "")' "$SRC/README.md" >"$CHROOT/root/first-use"
check "there is a first use" test -s "$CHROOT/root/first-use"
run_ok inside sh -c 'cd /root && PATH=/root/gatepost/build/release/bin:$PATH sh -e first-use'
like '^apple 0.99$' "$out"
files() { (cd "$CHROOT" && find etc usr var/spool -not -path 'var/spool/*/*' ! -type d | sort); }
files >before
run_ok inside make -C /root/gatepost install
check "something was installed" [ "$(files | comm -13 before - | wc -l)" -gt 50 ]
run_ok inside sh -c 'queue-inspect --version && gw-send --help | head -n 1'
run_ok inside make -C /root/gatepost uninstall
same '' "$(files | comm -3 before -)" "and nothing of it is left"
same '' "$(git -C "$CHROOT/root/gatepost" status --porcelain)" "git ignores all that was made"
done_testing
