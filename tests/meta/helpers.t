#!/bin/bash
# The helpers of lib.sh: what must fail does, and what a test reads is what a command wrote.
# shellcheck disable=SC2016 # the texts are scripts
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

# tried TEXT: runs it as a test of its own; sets said to its lines of TAP without the names
tried() { said=$(TMPDIR=$T bash -c '. "$SRC/tests/lib.sh"; '"$1"'; done_testing' "$SRC/tests/x/x.t" 2>&1 | sed -nE 's/^((not )?ok) .*/\1/p' | tr '\n' ' '); }

# --- what is read -----------------------------------------------------------------------------------------------------------------------
run_ok printf 'a\0b\n\nc\n\n\n'
same $'ab\n\nc' "$out" "without NULs and the last line feeds"
run_exit 3 sh -c 'echo to stderr >&2; exit 3'
same '|to stderr' "$out|$err" "stdout and stderr"
head -c 200000 /dev/zero | tr '\0' x >long
printf '\n\n' >>long
run_ok cat long
same 200000 "${#out}" "a long one"
run_ok true
same '' "$out" "none"

# --- what matches -----------------------------------------------------------------------------------------------------------------------
like '^b+$' $'a\nbb\nc'
like '^$' ''
like '{"a":1}' 'x {"a":1} y' "what only grep takes for a pattern"
like $'x\nc' $'a\nb\nc' "one of two patterns"
like '^end$' "$(seq 1 5000; echo end)" "the last of many lines"
unlike '^a.*c$' $'a\nb\nc' "a pattern does not go over lines"
unlike '^b$' "$(seq 1 5000)"

# --- what fails -------------------------------------------------------------------------------------------------------------------------
tried 'run_ok true; run_ok false; run_exit 1 false; run_exit 1 true; run_ok no-such-command; run_exit 127 no-such-command'
same 'ok not ok ok not ok not ok ok ' "$said" "exit codes"
tried 'RUN_TIMEOUT=1; run_ok sleep 20; run_exit 137 sh -c "kill -9 \$\$"'
same 'not ok ok ' "$said" "time limits and signals"
tried 'same a a; same a b; like x y; unlike x x; like "{\"b" "{\"a"; check w true; check w false; check_not w true; check_not w false'
same 'ok not ok not ok not ok not ok ok not ok not ok ok ' "$said" "comparisons"
tried 'wait_until 0 false; wait_until 1 true; n=0; third() { n=$((n + 1)); [ "$n" = 3 ]; }; wait_until 5 third; same 3 $n'
same 'not ok ok ok ok ' "$said" "waiting"
tried 'start_daemon a sh -c "echo ready x; exec sleep 60"; same "ready x" "$ready_line"; stop_daemon a 143; start_daemon b sh -c "echo already; exit 1"'
same 'ok ok ok not ok ' "$said" "daemons"
tried 'plan 2; pass one'
same 'ok ' "$said" "a plan that is not kept"
for _ in 1 2 3; do free_port; done >ports
same 3 "$(sort -u ports | awk '$1 > 1023 && $1 < 65536' | wc -l)" "ports"
done_testing
