#!/usr/bin/env bash
# The demo keeps its own promises, and without a terminal it writes plain lines.
# timeout: 200
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
[ -r /usr/share/dict/words ] || skip_all 'no /usr/share/dict/words'
for tool in sqlite3 curl; do command -v "$tool" >/dev/null || skip_all "no $tool"; done

RUN_TIMEOUT=180
run_ok env DEMO_LIMIT=150 TMPDIR="$T" "$SRC/scripts/demo"
for line in 'half a file is no message' 'imported nothing twice' 'Store1 answers 200 OK twice' 'Store1: [0-9]+ rows, checksum' 'Store2: [0-9]+ rows, checksum' \
  'Each store has every price once'; do
  like "$line" "$out"
done
same 3 "$(printf '%s\n' "$out" | grep -c 'kill -9 .*\(listener\|worker\))')" 'two listeners and a worker were killed'
unlike "$(printf '\033')|NOT AS PROMISED" "$out" 'plain lines'
check_not 'its directory is gone' compgen -G "$T/gatepost-demo.*"
done_testing
