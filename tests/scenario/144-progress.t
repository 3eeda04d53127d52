#!/usr/bin/env bash
# Long work says on a terminal how far it has come, and says nothing elsewhere.
. "$(dirname "$0")/../lib.sh"

on_terminal() { timeout 60 python3 "$SRC/tests/terminal.py" "$@"; }
cat >slowly <<'EOS'
#!/bin/sh
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do seq 1 20; sleep 0.1; done
EOS
chmod 755 slowly
run_ok queue-inspect create Sales
run_ok on_terminal 10x120 'until=stored ,until=/s,screen=far,until=stream-ended,screen=end' -- bash -c './slowly | queue-inspect put Sales --lines'
like '^exit 0' "$out"
like '^stored [0-9]+, [0-9]+/s *$' "$(cat far)"
unlike '^stored' "$(cat end)" "it is gone when the work is done"
run_ok on_terminal 10x120 '' -- bash -c './slowly | queue-inspect put Sales --lines -q; echo after'
like '^exit 0' "$out"
run_ok bash -c './slowly | queue-inspect put Sales --lines'
unlike $'\r|/s' "$err" "nothing of it in a file"
run_ok queue-inspect wait Sales --for count=900
done_testing
