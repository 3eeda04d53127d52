#!/bin/bash
# A result that cannot be written is an error (74), and a closed descriptor does not end in a file.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

into_full() { "$@" >/dev/full; }
without_stdout() { "$@" >&-; }
without_stderr() { "$@" 2>&-; }
without_any() { "$@" <&- >&- 2>&-; }
into_closed_pipe() { "$@" | true; return "${PIPESTATUS[0]}"; }

for program in "$BUILD"/bin/*; do
  tool=${program##*/}
  for option in --help --version; do
    run_exit 74 into_full "$tool" $option
    run_exit 74 without_stdout "$tool" $option
    run_exit 0 without_stderr "$tool" $option
    run_exit 74 without_any "$tool" $option
  done
done

if [ -x "$BUILD/bin/queue-inspect" ]; then
  run_ok queue-inspect create prices
  printf 'body\n' >body
  run_ok queue-inspect put prices body
  run_exit 74 into_full queue-inspect list
  run_exit 74 into_full queue-inspect list --json
  run_exit 74 into_full queue-inspect list prices
  # What could not be written was not taken.
  run_exit 74 into_full queue-inspect take prices
  run_exit 74 without_stdout queue-inspect take prices
  run_ok queue-inspect list prices --json
  like '"state":"ready"' "$out"
  # With all descriptors closed the files of the queue get other numbers than 0 to 2: nothing is written into them.
  without_any queue-inspect put prices "$T/body"
  without_stderr queue-inspect put prices "$T/no-such-file"
  run_ok queue-inspect check
  run_ok queue-inspect take prices
  like '^body$' "$out"
  run_exit 74 queue-inspect put prices - <&-
fi
done_testing
