# Helpers for scenarios of the sending side; source it after lib.sh.
#   start_site NAME [PORT]     a scripted far end (tests/scripted_site.py) in $T/NAME; sets ${URL[NAME]}
#   plan_site NAME LINE...     what it answers, request by request; the last line for all further ones
#   requests NAME              how many requests it has got
#   arrivals NAME N            has it got N requests?
#   header FILE NAME           the value of a header in a recorded request
#   write_config ATTRS SITE... a configuration with <Gateway ATTRS> and <Site SITE/> elements in $T/config.xml, used from then on
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # URL is for the tests, ready_line comes from lib.sh

declare -A URL=()

start_site() {
  mkdir -p "$T/$1"
  start_daemon "$1" python3 "$SRC/tests/scripted_site.py" "$T/$1" "${2:-0}"
  URL[$1]=${ready_line#ready }
}
plan_site() {
  local name=$1
  shift
  printf '%s\n' "$@" >"$T/$name/plan.new"
  mv "$T/$name/plan.new" "$T/$name/plan"
}
requests() { find "$T/$1" -name '*.request' | wc -l; }
arrivals() { [ "$(requests "$1")" -ge "$2" ]; }
header() { sed -n "s/^$2: //p" "$1" | tr -d '\r' | head -n 1; }
write_config() {
  local attributes=$1 site
  shift
  {
    echo "<gatepost><Gateway $attributes><Sites>"
    for site in "$@"; do echo "<Site $site/>"; done
    echo "</Sites></Gateway></gatepost>"
  } >"$T/config.xml.new"
  mv "$T/config.xml.new" "$T/config.xml"
  export GW_CONFIG=$T/config.xml
}
