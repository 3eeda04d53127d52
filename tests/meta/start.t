#!/bin/bash
# Common options, where the root and the configuration are looked for, and what a short command loads.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

for tool in gw-send queue-inspect; do
  [ -x "$BUILD/bin/$tool" ] || continue
  unlike 'curl|ssl|crypto|stdc\+\+' "$(ldd "$BUILD/bin/$tool")" "$tool is not linked to libcurl, OpenSSL or libstdc++"
done

run_ok queue-inspect create prices
printf 'x\n' >body
run_ok queue-inspect put prices body
if command -v strace >/dev/null; then
  strace -f -o "$T/trace" -e trace=openat,open queue-inspect put prices body >/dev/null 2>&1
  unlike '/lib(curl|ssl|crypto|stdc\+\+|sqlite3|pugixml)[.-][^"]*"[^=]*= [0-9]' "$(cat "$T/trace")" "a put loads neither libcurl nor OpenSSL"
fi

# Options before and after the command, the last one wins, -- ends options.
run_ok queue-inspect --json list
json=$out
run_ok queue-inspect list --json
same "${json//[0-9]/}" "${out//[0-9]/}" "--json before or after the command"
run_exit 66 queue-inspect --root="$T/none" --root "$T/none2" list
like "none2" "$err" "the last --root counts"
run_ok queue-inspect --root "$T/none" --root "$T/root" list
run_exit 64 queue-inspect list -- --json
run_exit 66 env GW_ROOT="$T/none" queue-inspect list
run_ok env GW_ROOT="$T/none" queue-inspect list --root "$T/root"
run_ok env -u GW_ROOT queue-inspect list --root root
run_exit 64 queue-inspect list prices --root

# Configuration: checked on demand only for its syntax, by every tool, without a command.
printf '<gatepost>\n  <Nonsense/>\n</gatepost>\n' >bad.xml
printf '<gatepost/>\n' >good.xml
for program in "$BUILD"/bin/*; do
  tool=${program##*/}
  run_ok "$tool" --check-config --config "$T/good.xml"
  same '' "$out$err" "$tool --check-config is silent"
  run_exit 78 "$tool" --check-config --config "$T/bad.xml"
  like "^$T/bad.xml:2: .*Nonsense.*expected" "$err"
  run_exit 78 env GW_CONFIG="$T/bad.xml" "$tool" --check-config
done

# A file that was named must be there, the default one need not.
run_ok queue-inspect --check-config
run_exit 66 queue-inspect --check-config --config "$T/none.xml"
run_exit 66 env GW_CONFIG="$T/none.xml" queue-inspect --check-config

# Events: text and JSON.
run_exit 66 queue-inspect --log-format json list no-such-queue
like '^\{"at":"[0-9T:.-]*Z","level":"error","event":"error","tool":"queue-inspect","reason":".*no-such-queue.*"\}$' "$err"

# Colour only on demand, a dumb terminal or NO_COLOR turns it off.
run_ok env NO_COLOR=1 TERM=xterm queue-inspect list
unlike $'\033' "$out" "no colour without a terminal"
done_testing
