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
#   wait_until SECONDS CMD...    CMD (a command or function, tried every 20 to 300 ms) succeeds in time
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

# These run thousands of times: whatever bash can do without another process, it does.

# Sets _shown: commands without the path of the test's directory, so that names of tests stay the same.
_show() { _shown=$*; _shown=${_shown//"$T"/\$T}; _shown=${_shown:0:200}; }
# Sets VARIABLE to what is in FILE, without NULs and the last line feeds.
_read() { # VARIABLE FILE
  local -n _into=$1
  IFS='' read -r -N 65536 _into <"$2"
  if [ "${#_into}" = 65536 ]; then
    _into=$(tr -d '\000' <"$2")
  else
    while [ "${_into: -1}" = $'\n' ]; do _into=${_into:0:-1}; done
  fi
}
# Does a line of TEXT match, as for grep -E?
_matches() { # REGEX TEXT
  local rest=$2$'\n' line
  # A line feed separates patterns, for grep.
  if [ "${#rest}" -lt 8000 ] && [ "${1/$'\n'/}" = "$1" ]; then
    while [ -n "$rest" ]; do
      line=${rest%%$'\n'*} rest=${rest#*$'\n'}
      [[ $line =~ $1 ]]
      case $? in
        0) return 0 ;;
        1) ;;
        *) rest='more' && break ;; # something that only grep understands
      esac
    done
    [ -n "$rest" ] || return 1
  fi
  printf '%s\n' "$2" | grep -Eq -- "$1"
}
_show_output() {
  local name
  for name in out err; do
    [ -s "$T/.$name" ] && { note "std$name:"; head -c 4000 "$T/.$name" | head -n 40 | tr -d '\000' | sed 's/^/#   /'; echo; }
  done
}
declare -A _kind=()
_limited() {
  if [ -n "$1" ] && [ -z "${_kind[$1]:-}" ]; then _kind[$1]=$(type -t -- "$1"); fi
  if [ "${_kind[${1:- }]:-}" = file ] && ! declare -F -- "$1" >/dev/null; then timeout -k 5 "$RUN_TIMEOUT" "$@"; else "$@"; fi
}

run_exit() {
  local expected=$1
  shift
  _limited "$@" >"$T/.out" 2>"$T/.err"
  status=$?
  _read out "$T/.out"
  _read err "$T/.err"
  _show "$@"
  if [ "$status" = "$expected" ]; then
    pass "exit $expected: $_shown"
    return 0
  fi
  fail "exit $expected: $_shown"
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
  _show "${3:-"'$2' is '$1'"}"
  if [ "$1" = "$2" ]; then
    pass "$_shown"
  else
    fail "$_shown"
    diff <(printf '%s\n' "$1") <(printf '%s\n' "$2") | head -n 40 | sed -e 's/^</# expected:/' -e 's/^>/# actual:  /' -e '/^#/!d'
    return 1
  fi
}
like() {
  _show "${3:-matches $1}"
  if _matches "$1" "$2"; then pass "$_shown"; else
    fail "$_shown"
    note "expected to match: $1"
    note "text: ${2:0:4000}"
    return 1
  fi
}
unlike() {
  _show "${3:-does not match $1}"
  if _matches "$1" "$2"; then
    fail "$_shown"
    note "text: ${2:0:4000}"
    return 1
  fi
  pass "$_shown"
}
check() {
  local what=$1
  shift
  if "$@"; then
    _show "$what"
    pass "$_shown"
  else
    _show "$what"
    fail "$_shown"
    _show "$@"
    note "failed: $_shown"
    return 1
  fi
}
check_not() {
  local what=$1
  shift
  if "$@"; then
    _show "$what"
    fail "$_shown"
    _show "$@"
    note "succeeded: $_shown"
    return 1
  else
    _show "$what"
    pass "$_shown"
  fi
}

# The pause is five times what CMD took (0.02 to 0.3 s): waiting for something must not slow it down.
_poll() { # SECONDS CMD...: no test of its own
  local deadline=$((SECONDS + $1 + 1)) _begin _pause
  shift
  while :; do
    _begin=${EPOCHREALTIME/./}
    "$@" >"$T/.poll" 2>&1 && return 0
    [ "$SECONDS" -lt "$deadline" ] || return 1
    _pause=$((5 * (${EPOCHREALTIME/./} - _begin)))
    printf -v _pause '0.%06d' $((_pause < 20000 ? 20000 : _pause > 300000 ? 300000 : _pause))
    [ -p "$T/.never" ] || mkfifo "$T/.never"
    read -r -t "$_pause" <>"$T/.never"
  done
}
wait_until() {
  local seconds=$1 met=0
  shift
  _poll "$seconds" "$@" || met=$?
  _show "$@"
  if [ "$met" = 0 ]; then pass "within $seconds s: $_shown"; else
    fail "within $seconds s: $_shown"
    head -n 20 "$T/.poll" | sed 's/^/#   /'
    return 1
  fi
}

_alive() { kill -0 "$1" 2>/dev/null; }
# Sets ready_line when there is one.
_is_ready() { # NAME
  local said
  _read said "$T/$1.out"
  said=$'\n'$said
  ready_line=${said#*$'\n'ready}
  [ "$ready_line" != "$said" ] || { ready_line='' && return 1; }
  ready_line=ready${ready_line%%$'\n'*}
}
_is_ready_or_dead() { _is_ready "$1" || ! _alive "${DAEMON[$1]}"; }
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
  _show "$@"
  if _is_ready "$name"; then pass "ready: $_shown"; else
    fail "ready: $_shown"
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
# Below the ports that the kernel gives away, so that nobody gets it by chance meanwhile.
free_port() {
  local first=10000 below port used
  read -r below _ </proc/sys/net/ipv4/ip_local_port_range
  [ "$below" -gt 20000 ] || below=60000
  used=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  while :; do
    port=$((first + SRANDOM % (below - first)))
    case $used in *:"$(printf %04X "$port") "*) ;; *) break ;; esac
  done
  echo "$port"
}

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
