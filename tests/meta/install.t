#!/bin/bash
# An installed tree runs from anywhere, and uninstall removes exactly what was installed.
# timeout: 300
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/tls-lib.sh"

make_here() { make -C "$SRC" --no-print-directory BUILD="$BUILD" "$@"; }
# It must be built already: a test builds nothing.
run_ok make_here -q all
[ "$status" = 0 ] || { done_testing; exit; }

mkdir -p "$T/there/bin"
echo mine >"$T/there/bin/mine"
run_ok make_here install PREFIX="$T/there"
for program in "$BUILD"/bin/*; do
  tool=${program##*/}
  run_ok "$T/there/bin/$tool" --version
  check "page of $tool" [ -f "$T/there/share/man/man1/$tool.1" ]
done
check "overview page" [ -f "$T/there/share/man/man7/gatepost.7" ]
same '' "$(find "$T/there" -perm /022 ! -type l)" "nothing is writable for others"

# Moved as a whole it still runs, the helper programs included.
mv "$T/there" "$T/elsewhere"
run_ok "$T/elsewhere/bin/queue-inspect" create q
if [ -x "$T/elsewhere/bin/gw-send" ]; then
  run_ok "$T/elsewhere/bin/gw-send" forward --once
fi
# TLS needs two libraries beside it.
make_ca ours && make_cert server ours DNS:localhost
start_daemon listen "$T/elsewhere/bin/gw-listen" --endpoint E --channel https://localhost:0/ --tls-cert server.pem --tls-key server.key
run_ok curl -sS -m 20 --cacert ours.pem -o /dev/null "${ready_line#ready }"
like "$T/elsewhere/libexec/gatepost/libssl.so" "$(cat "/proc/$daemon_pid/maps")"
stop_daemon listen
mv "$T/elsewhere" "$T/there"
run_ok make_here uninstall PREFIX="$T/there"
same "$T/there/bin/mine" "$(find "$T/there" ! -type d)" "what was there before is left, and nothing else"

run_ok make_here install DESTDIR="$T/stage" PREFIX=/usr
check "DESTDIR goes before PREFIX" [ -x "$T/stage/usr/bin/queue-inspect" ]
run_ok make_here uninstall DESTDIR="$T/stage" PREFIX=/usr
same '' "$(find "$T/stage" 2>/dev/null)" "nothing is left"
done_testing
