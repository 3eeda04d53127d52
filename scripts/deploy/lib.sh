# What the scripts of this directory share; each of them says which machine does what, and this starts it.
#
#   SCRIPT CONF MACHINE         on every machine, with its name; runs until it is stopped (SIGTERM, Ctrl-C), then all of it ends in order
#   SCRIPT --addresses CONF     prints where the endpoints take their messages
#
# CONF is a text file, the same on all machines (example.conf). GW_ROOT and GW_CONFIG name the root and the configuration file as always;
# the file is written here, from CONF, unless there is one that somebody else has written.
# shellcheck shell=bash
# shellcheck disable=SC2034 # for the scripts

set -euf -o pipefail  # words are split where a line is one command, and never expanded

machines=() endpoints=()   # in the order of CONF
declare -A address_of=()   # machine -> URL of its listener
declare -A handler_of=()   # endpoint -> command
declare -A options_of=()   # program -> options
declare -A entrance_of=()  # endpoint -> machine that its messages go to
allowed=()                 # queues of this machine that others may put messages into
commands=()                # what runs here, one command a line

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit "${2:-64}"
}

read_configuration() {
  only_addresses=
  if [ "${1:-}" = --addresses ]; then
    only_addresses=1
    shift
    set -- "${1:-}" ''
  fi
  if [ $# != 2 ] || [ -z "$1" ]; then fail "usage: ${0##*/} CONF MACHINE, or ${0##*/} --addresses CONF"; fi
  conf=$1 machine=$2
  [ -r "$conf" ] || fail "'$conf' cannot be read" 66
  local word name rest
  while read -r word name rest; do
    case $word in
      '' | '#'*) ;;
      machine) machines+=("$name") address_of[$name]=$rest ;;
      endpoint) endpoints+=("$name") handler_of[$name]=$rest ;;
      options) options_of[$name]=$rest ;;
      *) fail "'$conf': '$word', expected machine, endpoint or options" 78 ;;
    esac
  done <"$conf"
  if [ ${#machines[@]} = 0 ] || [ ${#endpoints[@]} = 0 ]; then fail "'$conf' names no machine or no endpoint" 78; fi
  [ -n "$only_addresses" ] || [ -n "${address_of[$machine]:-}" ] || fail "machine '$machine' is not in '$conf'"
}

needs_machines() { [ ${#machines[@]} -ge "$1" ] || fail "'$conf' has ${#machines[@]} machines, and this needs $1" 78; }

# entrance ENDPOINT MACHINE: its messages go to the queue ENDPOINT of that machine.
entrance() { entrance_of[$1]=$2; }

# A distributor for an endpoint, on this machine.
distributor_of() {
  allowed+=("$1" "$1.distributor.control" error)
  commands+=("distributor run --endpoint $1 ${options_of[distributor]:-}")
}

# worker_of ENDPOINT MACHINE: a worker on this machine, for the distributor on that one, where its failed messages go, too.
worker_of() {
  allowed+=("$1.worker")
  commands+=("distributor worker --master $1@$2 --queue $1.worker --error-queue error@$2 ${options_of[worker]:-} -- ${handler_of[$1]}")
}

# An endpoint without a distributor, on this machine.
endpoint_of() {
  allowed+=("$1" error)
  commands+=("queue-inspect create $1 error" "distributor worker --queue $1 ${options_of[worker]:-} -- ${handler_of[$1]}")
}

write_configuration() {
  local name
  {
    echo '<!-- Written by a script of share/gatepost/deploy: it is written again at each start. -->'
    echo '<gatepost>'
    echo '  <Machines>'
    for name in "${machines[@]}"; do echo "    <Machine Name=\"$name\" Address=\"${address_of[$name]}\"/>"; done
    echo '  </Machines>'
    echo '</gatepost>'
  } >"$1.new"
  mv "$1.new" "$1"
}

# For senders that go by the map of instances (instance-map send).
write_map() {
  local endpoint
  {
    echo '<!-- Written by a script of share/gatepost/deploy: it is written again at each start. -->'
    echo '<endpoints>'
    for endpoint in "${endpoints[@]}"; do
      echo "  <endpoint name=\"$endpoint\"><instance machine=\"${entrance_of[$endpoint]}\"/></endpoint>"
    done
    echo '</endpoints>'
  } >"$1.new"
  mv "$1.new" "$1"
}

ours() { [ ! -e "$1" ] || head -n 1 "$1" | grep -q 'Written by a script of share/gatepost/deploy'; }

pids=() readers=()
stop_all() {
  trap '' TERM INT
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait || true
  rm -rf "$work"
}

# Starts a command, waits for its line `ready`, and passes on what it writes afterwards.
start() {
  local line from
  rm -f "$work/out"
  mkfifo "$work/out"
  # shellcheck disable=SC2086 # words
  $1 >"$work/out" &
  pids+=($!)
  exec {from}<"$work/out"
  while read -r -u "$from" line; do
    [[ $line = ready* ]] || continue
    cat <&"$from" &
    readers+=($!)
    exec {from}<&-
    return 0
  done
  stop_all
  fail "'$1' did not start" 69
}

# A root has this machine's name from its beginning, and it is the listener that is told it.
make_root() {
  if queue-inspect list >"$work/list" 2>&1; then return; fi
  start "gw-listen --machine $machine --channel http://127.0.0.1:0/machine/"
  kill "${pids[0]}"
  wait "${pids[0]}" || true
  pids=()
}

# The last line of each script.
run() {
  local endpoint command from queue
  if [ -n "$only_addresses" ]; then
    for endpoint in "${endpoints[@]}"; do echo "$endpoint@${entrance_of[$endpoint]}"; done
    return
  fi
  export GW_CONFIG=${GW_CONFIG:-${XDG_CONFIG_HOME:-$HOME/.config}/gatepost/config.xml}
  mkdir -p "$(dirname "$GW_CONFIG")"
  if ours "$GW_CONFIG"; then write_configuration "$GW_CONFIG"; fi
  local map
  map=$(dirname "$GW_CONFIG")/instance-mapping.xml
  if ours "$map"; then write_map "$map"; fi

  [ ${#commands[@]} -gt 0 ] || fail "there is nothing to do for machine '$machine'"
  work=$(mktemp -d)
  trap 'stop_all; exit 0' TERM INT
  local url=${address_of[$machine]} listen="gw-listen --machine $machine"
  # The listener listens on all addresses of this machine, at the port and path that the others know.
  listen+=" --channel $(sed -E 's,^(https?)://[^/]*:([0-9]+)(/.*)$,\1://+:\2\3,' <<<"$url") ${options_of[listener]:-}"
  for queue in "${allowed[@]}"; do listen+=" --allow-queue $queue"; done
  make_root
  # First what makes the queues: a message for one that is not there yet would be a failed attempt.
  for command in "${commands[@]}"; do
    # shellcheck disable=SC2086 # words
    case $command in
      queue-inspect*) $command >&2 || fail "'$command' failed" 73 ;;
      *) start "$command" ;;
    esac
  done
  start "$listen"
  start "gw-send forward ${options_of[forward]:-}"
  echo "ready $machine"
  # All of it belongs together: when one ends the others do, and whoever has started this starts it again.
  wait -n "${pids[@]}" || true
  stop_all
  fail "one of the programs has ended" 69
}
