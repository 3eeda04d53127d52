# Helpers for tests against the real NServiceBus.Gateway; source it after lib.sh.
#   start_nservicebus NAME ENDPOINT [OPTION...]    an endpoint of it in $T/NAME (tests/interop/endpoint/Program.cs lists the options)
#   tell NAME JSON             a command for it
#   handled NAME JQ...         what its handlers got: jq over the events, one JSON object each
#   handled_count NAME N [TEXT-REGEX]    have its handlers got N messages (whose text matches)?
#   stop_nservicebus NAME      ends it
#   gateway_url PORT ENDPOINT  its address: it answers to localhost only
# shellcheck shell=bash
# shellcheck disable=SC2154 # DAEMON and others come from lib.sh

declare -A COMMANDS=()
[ -f "${INTEROP_ENDPOINT:-}" ] || skip_all 'the NServiceBus endpoint is not built: see make interop'
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_gcServer=0 DOTNET_TieredPGO=0

_run_endpoint() { exec dotnet "$INTEROP_ENDPOINT" "$2" "$T/$1" "${@:3}" <"$T/$1.commands"; }
start_nservicebus() {
  local name=$1
  shift
  [ -p "$T/$name.commands" ] || mkfifo "$T/$name.commands"
  exec {COMMANDS_FD}<>"$T/$name.commands"
  COMMANDS[$name]=$COMMANDS_FD
  start_daemon "$name" _run_endpoint "$name" "$@"
}
tell() { printf '%s\n' "$2" >&"${COMMANDS[$1]}"; }
handled() { grep '^{"event":"handled"' "$T/$1.out" | jq -c "${@:2}"; }
handled_count() { [ "$(handled "$1" -r '.text' | grep -Ec -- "${3:-}")" -ge "$2" ]; }
stop_nservicebus() {
  tell "$1" '{"do":"stop"}'
  wait_daemon "$1"
  same 0 "$status" "$1 ends"
}
gateway_url() { echo "http://localhost:$1/$2/"; }
