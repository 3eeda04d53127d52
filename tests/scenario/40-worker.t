#!/usr/bin/env bash
# distributor worker: what a handler is given, what its end leads to, and who is told.
# timeout: 240
# asan: yes
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# Other workers of this machine leave their files elsewhere.
mkdir "$T/tmp"
export TMPDIR=$T/tmp

field() { # NAME: the values of a member in `queue-inspect list Q --json`
  queue-inspect list Q --json | python3 -c 'import json, sys
for line in sys.stdin: print(json.loads(line).get(sys.argv[1], "-"))' "$1"
}
count() { # STATE: how many messages of Q
  queue-inspect list --json | python3 -c 'import json, sys
for line in sys.stdin:
    o = json.loads(line)
    if o.get("queue") == "Q": print(o[sys.argv[1]])' "$1"
}
has_count() { [ "$(count "$1")" = "$2" ]; }
has_line() { grep -q -- "$1" "$2"; }
put() { queue-inspect put Q -q "$@"; }

# --- usage and what is not there -------------------------------------------------------------------------------------------
run_exit 66 distributor worker --queue Q --once -- true
run_ok queue-inspect create Q
run_exit 66 distributor worker --queue Nope --once -- true
like "no queue 'Nope'" "$err"
run_exit 64 distributor worker --once -- true
like '^distributor: --queue or --master is required' "$err"
run_exit 64 distributor worker --queue Q --once
run_exit 64 distributor worker --queue Q --once --drain -- true
run_exit 64 distributor worker --queue ../x --once -- true
run_exit 64 distributor worker --queue Q --capacity 0 -- true
run_exit 64 distributor worker --queue Q --handler-timeout soon -- true
run_exit 64 distributor worker --queue Q --frobnicate -- true
run_ok distributor worker --queue Q --once -- false
same '' "$out" 'an empty queue: no output'

# --- what a handler gets -----------------------------------------------------------------------------------------------------
printf 'line 1\nline 2\n' >prices.csv
run_ok queue-inspect put Q --id id-17 --type 'Prices.Changed, Prices' --content-type text/csv --header 'Note=50%' prices.csv
cat >show <<'EOF'
#!/bin/sh
cat
[ "$(readlink /proc/self/fd/0 | head -c 1)" = / ] && echo "stdin is a file"
env | grep '^GW_' | sort
cat "$GW_HEADERS_FILE"
cmp "$GW_BODY_FILE" "$HOME/prices.csv" && echo "body file: same"
ls /proc/self/fd | tr '\n' ' '; echo
echo "in $(pwd) with $*"
EOF
chmod +x show
run_ok distributor worker --queue Q --once -- ./show one '' 'two words' '{}' '[a,b]' --flag
key=$(printf 'Q\0id-17' | sha256sum | cut -c 1-64)
for line in 'line 2' 'stdin is a file' GW_MESSAGE_ID=id-17 "GW_MESSAGE_KEY=$key" GW_MESSAGE_TYPE=Prices.Changed 'GW_MESSAGE_TYPES=Prices.Changed, Prices' \
  GW_CONTENT_TYPE=text/csv GW_ATTEMPT=1 GW_QUEUE=Q GW_ENDPOINT=Q GW_FILE_NAME=prices.csv "GW_ROOT=$GW_ROOT" 'NServiceBus.MessageId: id-17' \
  'Note: 50%25' 'body file: same' '0 1 2 3 ' "in $T with one  two words {} [a,b] --flag"; do
  check "the handler sees: $line" grep -qxF -- "$line" <(printf '%s\n' "$out")
done
same '0 0 0' "$(count ready) $(count claimed) $(count deferred)" 'exit 0 acks'
check_not 'no files of handlers are left' compgen -G "$TMPDIR/gatepost-handlers.*/*-*.headers"

head -c 20000000 /dev/urandom >big
put big >/dev/null
run_ok distributor worker --queue Q --drain -- sh -c 'sha256sum; sha256sum <"$GW_BODY_FILE"'
same "$(for _ in 1 2; do echo "$(sha256sum <big | cut -c 1-64)  -"; done)" "$out" 'a body of 20 MB arrives, on stdin and as a file'

# --- order, several at once ----------------------------------------------------------------------------------------------------
seq 1 50 | queue-inspect put Q --lines -q
run_ok distributor worker --queue Q --drain -- cat
same "$(seq 1 50 | tr -d '\n')" "$out" 'one at a time: in order'
seq 1 4 | queue-inspect put Q --lines -q
mkdir meet
run_ok timeout 30 distributor worker --queue Q --capacity 4 --drain -- sh -c 'touch "meet/$GW_MESSAGE_KEY"; until [ "$(ls meet | wc -l)" = 4 ]; do sleep 0.02; done'
seq 1 60 | queue-inspect put Q --lines -q
run_ok distributor worker --queue Q --capacity 8 --drain -- sh -c 'n=$(cat); for i in 1 2 3 4 5; do echo "$n"; echo "$n" >&2; sleep 0.002; done'
same 60 "$(printf '%s\n' "$out" | uniq -c | awk '$1 == 5' | wc -l)" 'stdout is passed on whole per message'
same 60 "$(printf '%s\n' "$err" | grep -v worker- | uniq -c | awk '$1 == 5' | wc -l)" 'stderr is passed on whole per message'
seq 1 400 | queue-inspect put Q --lines -q
distributor worker --queue Q --capacity 3 --drain -q -- sh -c 'cat; echo' >one.out &
one=$!
distributor worker --queue Q --capacity 3 --drain -q -- sh -c 'cat; echo' >two.out
wait "$one"
same "$(seq 1 400)" "$(sort -n one.out two.out)" 'two workers share a queue: each message once'

# --- failures ------------------------------------------------------------------------------------------------------------------
put --id bad - <<<'x' >/dev/null
put --id good - <<<'y' >/dev/null
run_exit 75 distributor worker --queue Q --once -- sh -c 'grep -q y || { echo "cannot do this" >&2; exit 3; }'
like 'attempt-failed .*id=bad .*attempt=1 reason="exit 3: cannot do this" next_try_at=' "$err"
like '^cannot do this$' "$err" 'stderr is passed on'
same 'ready 1' "$(field state) $(field attempts)" 'a failed message is ready for its next attempt, which is counted; the others went on'
run_ok distributor worker --queue Q --drain -- sh -c 'echo "attempt $GW_ATTEMPT"'
same 'attempt 2' "$out"
put - <<<'x' >/dev/null
run_exit 75 distributor worker --queue Q --once -- sh -c 'kill -9 $$'
like 'reason="signal 9 \(SIGKILL\)"' "$err"
run_exit 75 timeout 30 distributor worker --queue Q --drain --handler-timeout 200ms -- sh -c 'if [ "$GW_ATTEMPT" = 3 ]; then kill "$PPID"; fi; sleep 100'
like 'attempt=2 reason="timed out after 200ms"' "$err"
run_ok distributor worker --queue Q --drain -- true

# --- a command that cannot be executed uses up nothing -----------------------------------------------------------------------------
seq 1 3 | queue-inspect put Q --lines -q
run_exit 78 distributor worker --queue Q --once -- ./no-such-command
printf 'echo hello\n' >no-interpreter
chmod +x no-interpreter
run_exit 78 distributor worker --queue Q --drain --capacity 2 -- ./no-interpreter
like '^distributor: execute .*#!' "$err"
printf '#!/bin/sh\nrm -f ./once\n' >once
chmod +x once
run_exit 78 distributor worker --queue Q --drain -- ./once
same 'ready ready 0 0' "$(field state | tr '\n' ' ')$(field attempts | tr '\n' ' ' | sed 's/ $//')" 'given back, no attempt used'
run_ok distributor worker --queue Q --drain -- true

# --- output that cannot be written --------------------------------------------------------------------------------------------------
put - <<<'precious' >/dev/null
run_exit 74 bash -c 'distributor worker --queue Q --once -- cat >/dev/full'
same 'ready 0' "$(field state) $(field attempts)" 'what could not be written stays in the queue'
run_ok distributor worker --queue Q --once -- cat
same precious "$out"

# --- a worker that goes on -------------------------------------------------------------------------------------------------------------
start_daemon w distributor worker --queue Q --capacity 2 -- sh -c 'read line; case $line in slow) touch started; sleep 1.5; touch finished ;; stubborn) trap "" TERM; touch stubborn; sleep 100 ;; esac; echo "$line"'
same ready "$ready_line"
begin=$(date +%s%N)
put - <<<'hello' >/dev/null
wait_until 10 has_line hello w.out
check 'it wakes at once' [ $((($(date +%s%N) - begin) / 1000000)) -lt 900 ]
put - <<<'slow' >/dev/null
wait_until 10 [ -e started ]
stop_daemon w
check 'SIGTERM: the handler finished' [ -e finished ]
same 0 "$(count ready)" 'SIGTERM: what finished is acked'
start_daemon w distributor worker --queue Q -- sh -c 'trap "" TERM; touch stubborn; sleep 100'
put - <<<'x' >/dev/null
wait_until 10 [ -e stubborn ]
begin=$SECONDS
stop_daemon w
check 'within 10 s' [ $((SECONDS - begin)) -le 10 ]
like handler-killed "$(cat w.err)"
same 'ready 0' "$(field state) $(field attempts)" 'what was killed is given back without an attempt'
run_ok distributor worker --queue Q --drain -- true

# --- kill -9 ----------------------------------------------------------------------------------------------------------------------------
put - <<<'x' >/dev/null
start_daemon victim distributor worker --queue Q -- sh -c 'echo $$ >handler.pid; exec sleep 100'
wait_until 10 [ -s handler.pid ]
start_daemon other distributor worker --queue Q -- sh -c 'echo "again $GW_ATTEMPT"'
kill_daemon victim
handler_gone() { ! kill -0 "$(cat handler.pid)" 2>/dev/null || grep -q '^State:.Z' "/proc/$(cat handler.pid)/status"; }
wait_until 5 handler_gone
wait_until 5 has_line 'again 1' other.out
stop_daemon other
run_ok distributor worker --queue Q --once -- true
check_not 'the files of the killed worker are swept' compgen -G "$TMPDIR/gatepost-handlers.*/*-1.headers"

# --- a queue on hold -----------------------------------------------------------------------------------------------------------------------
run_ok queue-inspect hold Q --reason maintenance
put - <<<'x' >/dev/null
run_exit 75 distributor worker --queue Q --drain -- true
start_daemon w distributor worker --queue Q -- sh -c 'echo handled'
wait_until 5 has_line queue-held w.err
run_ok queue-inspect release Q
wait_until 5 has_line handled w.out
wait_until 5 has_count ready 0
stop_daemon w
done_testing
