# Helpers for tests over the real programs; source it first:
#     . "$(dirname "$0")/../lib.sh"
#
# What a test finds: PATH begins with the tools of this build; $T is an empty directory of its own, removed when all is well and
# left (and named) when something failed; GW_ROOT=$T/root; stdin is /dev/null; the current directory is $T; $SRC is the source tree,
# $BUILD the build directory. A comment line `# timeout: SECONDS` in a test changes how long it may take, `# asan: yes` also runs it
# with the sanitizers in `make check`.
#
# Each of these is one numbered test (never call them in a subshell or a pipeline: the count would be lost):
#   run_ok CMD...            exit 0. Afterwards $out and $err are what it wrote (also in $T/.out, $T/.err), $status its exit code
#   run_exit CODE CMD...     exactly this exit code; a signal or a time-out ($RUN_TIMEOUT, 60 s) is a failure like any other code
#   same EXPECTED ACTUAL [WHAT]    equal strings, else the difference is shown
#   like REGEX TEXT [WHAT]   TEXT matches the extended regular expression;   unlike REGEX TEXT [WHAT]
#   check WHAT CMD...        CMD (a function, [ ... ]) succeeds;   check_not WHAT CMD...
#   pass WHAT / fail WHAT
#   wait_until SECONDS CMD...    CMD (a command or function, tried every 50 ms) succeeds in time
#   start_daemon NAME CMD...     starts it, waits 20 s for its `ready` line. stdout in $T/NAME.out, stderr in $T/NAME.err;
#                            sets daemon_pid (and ${DAEMON[NAME]}) and ready_line. NAME: letters, digits, _
#   stop_daemon NAME [CODE]  SIGTERM; it ends within 12 s with CODE (0)
#   skip N REASON            counts N tests as skipped
# And these are none:
#   start_background NAME CMD... as start_daemon, without waiting for `ready`
#   kill_daemon NAME [SIGNAL]    kill -9 (or SIGNAL), waits for its end; wait_daemon NAME [SECONDS]: waits for its end, sets status
#   at_exit CMD...           runs it when the test ends, the last one first
#   free_port                prints a TCP port that nobody listened on a moment ago
#   note TEXT...             a comment in the output
#   skip_all REASON          ends the test, nothing ran
#   plan N (first) or done_testing (last): one of them must be there
# shellcheck shell=bash
# shellcheck disable=SC2034 # out, err and others are for the tests

set -u
exec </dev/null
SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$SRC/build/release}
case $BUILD in /*) ;; *) BUILD=$SRC/$BUILD ;; esac
PATH=$BUILD/bin:$BUILD/test-bin:$PATH
T=$(mktemp -d "${TMPDIR:-/tmp}/gatepost-test.XXXXXX") || exit 1
export PATH BUILD SRC T HOME=$T GW_ROOT="$T/root" GW_CONFIG='' LC_ALL=C TZ=UTC0
unset GW_OUTBOX NO_COLOR NOTIFY_SOCKET
cd "$T" || exit 1

RUN_TIMEOUT=${RUN_TIMEOUT:-60}
test_count=0 test_failed=0 test_planned='' test_done=''
out='' err='' status=0 daemon_pid='' ready_line=''
declare -A DAEMON=()
at_exit_commands=()

note() { printf '%s\n' "$*" | sed 's/^/# /'; }
pass() { test_count=$((test_count + 1)); printf 'ok %d - %s\n' "$test_count" "${1//$'\n'/ }"; }
fail() {
  test_count=$((test_count + 1)) test_failed=$((test_failed + 1))
  printf 'not ok %d - %s\n' "$test_count" "${1//$'\n'/ }"
  note "at ${BASH_SOURCE[-1]##*/} line ${BASH_LINENO[-2]:-?}"
  return 1
}
plan() { test_planned=$1; echo "1..$1"; }
done_testing() { test_done=1; [ -n "$test_planned" ] || echo "1..$test_count"; }
skip() {
  local i
  for ((i = 0; i < $1; i++)); do test_count=$((test_count + 1)); echo "ok $test_count # SKIP $2"; done
}
skip_all() { test_planned=0 test_done=1; echo "1..0 # SKIP $1"; exit 0; }
at_exit() { at_exit_commands+=("$(printf '%q ' "$@")"); }

# Commands are shown without the path of the test's directory, so that names of tests stay the same.
_shown() { local text="$*"; text=${text//"$T"/\$T}; printf '%.200s' "$text"; }
_show_output() {
  local name
  for name in out err; do
    [ -s "$T/.$name" ] && { note "std$name:"; head -c 4000 "$T/.$name" | head -n 40 | tr -d '\000' | sed 's/^/#   /'; echo; }
  done
}
_limited() {
  if [ "$(type -t -- "$1")" = file ]; then timeout -k 5 "$RUN_TIMEOUT" "$@"; else "$@"; fi
}

run_exit() {
  local expected=$1 shown
  shift
  shown=$(_shown "$@")
  _limited "$@" >"$T/.out" 2>"$T/.err"
  status=$?
  out=$(tr -d '\000' <"$T/.out") err=$(tr -d '\000' <"$T/.err")
  if [ "$status" = "$expected" ]; then
    pass "exit $expected: $shown"
    return 0
  fi
  fail "exit $expected: $shown"
  case $status in
    124) note "status 124: probably timed out after $RUN_TIMEOUT s" ;;
    12[89] | 13? | 14?) note "died of signal $((status - 128))" ;;
    *) note "status $status" ;;
  esac
  _show_output
  return 1
}
run_ok() { run_exit 0 "$@"; }

same() {
  local what=${3:-"'$2' is '$1'"}
  if [ "$1" = "$2" ]; then
    pass "$(_shown "$what")"
  else
    fail "$(_shown "$what")"
    diff <(printf '%s\n' "$1") <(printf '%s\n' "$2") | head -n 40 | sed -e 's/^</# expected:/' -e 's/^>/# actual:  /' -e '/^#/!d'
    return 1
  fi
}
like() {
  if printf '%s\n' "$2" | grep -Eq -- "$1"; then pass "$(_shown "${3:-matches $1}")"; else
    fail "$(_shown "${3:-matches $1}")"
    note "expected to match: $1"
    note "text: ${2:0:4000}"
    return 1
  fi
}
unlike() {
  if printf '%s\n' "$2" | grep -Eq -- "$1"; then
    fail "$(_shown "${3:-does not match $1}")"
    note "text: ${2:0:4000}"
    return 1
  fi
  pass "$(_shown "${3:-does not match $1}")"
}
check() { local what=$1; shift; if "$@"; then pass "$(_shown "$what")"; else fail "$(_shown "$what")"; note "failed: $(_shown "$@")"; return 1; fi; }
check_not() { local what=$1; shift; if "$@"; then fail "$(_shown "$what")"; note "succeeded: $(_shown "$@")"; return 1; else pass "$(_shown "$what")"; fi; }

_poll() { # SECONDS CMD...: no test of its own
  local deadline=$((SECONDS + $1 + 1))
  shift
  until "$@" >"$T/.poll" 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.05
  done
}
wait_until() {
  local seconds=$1
  shift
  if _poll "$seconds" "$@"; then pass "within $seconds s: $(_shown "$@")"; else
    fail "within $seconds s: $(_shown "$@")"
    head -n 20 "$T/.poll" | sed 's/^/#   /'
    return 1
  fi
}

_alive() { kill -0 "$1" 2>/dev/null; }
_is_ready_or_dead() { grep -q '^ready' "$T/$1.out" || ! _alive "${DAEMON[$1]}"; }
_ended() { ! _alive "${DAEMON[$1]}"; }
start_background() {
  local name=$1
  shift
  : >"$T/$name.out"  # else the 'ready' of an earlier one would count
  "$@" >"$T/$name.out" 2>>"$T/$name.err" &
  daemon_pid=$!
  DAEMON[$name]=$daemon_pid
}
start_daemon() {
  local name=$1
  start_background "$@"
  shift
  _poll 20 _is_ready_or_dead "$name"
  ready_line=$(grep -m 1 '^ready' "$T/$name.out")
  if [ -n "$ready_line" ]; then pass "ready: $(_shown "$@")"; else
    fail "ready: $(_shown "$@")"
    tail -n 20 "$T/$name.err" | sed 's/^/#   /'
    return 1
  fi
}
wait_daemon() {
  local name=$1 seconds=${2:-12}
  if ! _poll "$seconds" _ended "$name"; then
    kill -9 "${DAEMON[$name]}"
    wait "${DAEMON[$name]}" 2>/dev/null
    unset "DAEMON[$name]"
    status=timed-out
    return 1
  fi
  wait "${DAEMON[$name]}"
  status=$?
  unset "DAEMON[$name]"
}
stop_daemon() {
  local name=$1 expected=${2:-0}
  kill -TERM "${DAEMON[$name]}" 2>/dev/null
  wait_daemon "$name"
  if [ "$status" = "$expected" ]; then pass "$name ends with $expected after SIGTERM"; else
    fail "$name ends with $expected after SIGTERM"
    note "status $status"
    tail -n 20 "$T/$name.err" | sed 's/^/#   /'
    return 1
  fi
}
kill_daemon() {
  kill "-${2:-KILL}" "${DAEMON[$1]}" 2>/dev/null
  wait "${DAEMON[$1]}" 2>/dev/null
  unset "DAEMON[$1]"
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

_finish() {
  local code=$? i name
  trap - EXIT
  for ((i = ${#at_exit_commands[@]} - 1; i >= 0; i--)); do eval "${at_exit_commands[i]}"; done
  for name in "${!DAEMON[@]}"; do
    kill -CONT "${DAEMON[$name]}" 2>/dev/null
    kill -KILL "${DAEMON[$name]}" 2>/dev/null
    wait "${DAEMON[$name]}" 2>/dev/null
  done
  cd / || exit 1
  if [ -z "$test_done$test_planned" ]; then
    echo "# ended early (status $code)"
    [ "$code" != 0 ] || code=1
  elif [ -n "$test_planned" ] && [ "$test_planned" != "$test_count" ]; then
    echo "# planned $test_planned tests, ran $test_count"
    code=1
  fi
  [ "$test_failed" = 0 ] || code=1
  if [ "$code" = 0 ] && [ -z "${KEEP:-}" ]; then rm -rf "$T"; else echo "# data left in $T"; fi
  exit "$code"
}
trap _finish EXIT
trap 'exit 143' TERM INT
