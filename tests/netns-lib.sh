# Machines for tests: network namespaces with veth links to one bridge, each with a root and a configuration of its own. Nothing of it is
# seen by the machine that the test runs on. Source it after lib.sh.
#   need_machines              ends the test, skipped with a reason, where the kernel or our rights do not allow them
#   make_machines NAME...      names of at most 10 letters, digits and dashes; ${IP[NAME]} is its address, $T/NAME its directory
#   on NAME CMD...             runs CMD on that machine, with GW_ROOT=$T/NAME/root and GW_CONFIG=$T/NAME/config.xml
#   start_on NAME DAEMON CMD...    as start_daemon DAEMON CMD..., on that machine
#   unplug NAME...  plug NAME...   its link is down, up again
#   lose NAME N                N of 100 packets that come in to it are dropped at random (0: none)
#   url NAME                   where its listener for other machines is to be
#   configure_machines ATTRS [NAME ATTRS]...   <Gateway ATTRS/> and all machines in each one's configuration, with attributes of their own
#   start_gateway NAME         its listener and its forwarder, the daemons listen-NAME and forward-NAME
# shellcheck shell=bash
# shellcheck disable=SC2034 # IP is for the tests

declare -A IP=()
machine_port=7000
_lan=gwt-$$

need_machines() {
  [ "$(id -u)" = 0 ] || skip_all "machines are network namespaces, which only root can make"
  local tool why
  for tool in ip nft; do command -v "$tool" >/dev/null || skip_all "there is no program '$tool'"; done
  if ! why=$(ip netns add "$_lan" 2>&1); then skip_all "no network namespaces here: ${why##*$'\n'}"; fi
  at_exit _remove_machines
  if ! why=$(ip -n "$_lan" link add lan0 type bridge 2>&1 && ip -n "$_lan" link set lan0 up 2>&1); then skip_all "no bridges here: $why"; fi
  if ! why=$(ip -n "$_lan" link add probe0 type veth peer name probe1 2>&1 && ip -n "$_lan" link del probe0 2>&1); then skip_all "no veth links here: $why"; fi
  if ! why=$(ip netns exec "$_lan" nft 'add table inet gatepost; add chain inet gatepost drops { type filter hook input priority 0; };
      add rule inet gatepost drops numgen random mod 100 < 1 drop; flush ruleset' 2>&1); then
    skip_all "nft cannot drop packets here: $why"
  fi
}

_remove_machines() {
  local name
  for name in "${!IP[@]}"; do ip netns del "$_lan-$name"; done
  ip netns del "$_lan"
}

make_machines() {
  local name
  for name in "$@"; do
    IP[$name]=10.99.0.$((${#IP[@]} + 1))
    mkdir -p "$T/$name"
    ip netns add "$_lan-$name"
    ip -n "$_lan" link add "v-$name" type veth peer name eth0 netns "$_lan-$name"
    ip -n "$_lan" link set "v-$name" master lan0 up
    ip -n "$_lan-$name" link set lo up
    ip -n "$_lan-$name" address add "${IP[$name]}/24" dev eth0
    ip -n "$_lan-$name" link set eth0 up
  done
}

on() {
  local name=$1
  shift
  GW_ROOT=$T/$name/root GW_CONFIG=$T/$name/config.xml ip netns exec "$_lan-$name" "$@"
}
start_on() {
  local name=$1 daemon=$2
  shift 2
  start_daemon "$daemon" env GW_ROOT="$T/$name/root" GW_CONFIG="$T/$name/config.xml" ip netns exec "$_lan-$name" "$@"
}
url() { echo "http://${IP[$1]}:$machine_port/machine/"; }

configure_machines() {
  local gateway=$1 name machines=
  shift
  local -A own=()
  while [ $# -gt 0 ]; do own[$1]=$2; shift 2; done
  for name in "${!IP[@]}"; do machines+="    <Machine Name=\"$name\" Address=\"$(url "$name")\" ${own[$name]:-}/>"$'\n'; done
  for name in "${!IP[@]}"; do
    printf '<gatepost>\n  <Gateway %s/>\n  <Machines>\n%s  </Machines>\n</gatepost>\n' "$gateway" "$machines" >"$T/$name/config.xml"
  done
}
start_gateway() {
  start_on "$1" "listen-$1" gw-listen --machine "$1" --channel "http://+:$machine_port/machine/"
  start_on "$1" "forward-$1" gw-send forward --probe-interval 100ms
}

unplug() { local name; for name in "$@"; do ip -n "$_lan" link set "v-$name" down; done; }
plug() { local name; for name in "$@"; do ip -n "$_lan" link set "v-$name" up; done; }
lose() {
  ip netns exec "$_lan-$1" nft flush ruleset
  [ "$2" = 0 ] || ip netns exec "$_lan-$1" nft "add table inet gatepost; add chain inet gatepost drops { type filter hook input priority 0; };
    add rule inet gatepost drops iifname eth0 numgen random mod 100 < $2 drop"
}
