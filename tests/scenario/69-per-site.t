#!/bin/bash
# What gw-send forward keeps for each site: a circuit that outlives a restart, holds, windows, rates, concurrency, the case of header names.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

port=$(free_port)
one_site() { write_config 'Endpoint="HQ" Outages="wait"' "Key=\"Store1\" Address=\"http://127.0.0.1:$port/site/\" ChannelType=\"http\" ${1:-}"; }
one_site ""
send() { run_ok bash -c "echo x | gw-send --to Store1 --id ${1:-}"; }
attempts() { grep -c ' attempt-failed ' <<<"$err"; }
status_of() { gw-send status --json | jq -r "select(.site == \"Store1\") | .$1"; }
seconds_to() { echo $(($(date -d "$1" +%s) - $(date +%s))); }

# --- a dead site is left alone by the next process too, until its time, or until somebody asks ---
send a1
run_exit 75 gw-send forward --once --probe-interval 1m
same 1 "$(attempts)"
send a2
run_exit 75 gw-send forward --once --probe-interval 1m
same 0 "$(attempts)" "nothing is tried before its time"
start_site store "$port"
run_exit 75 gw-send forward --once --probe-interval 1m
same 0 "$(requests store)"
run_exit 75 gw-send flush
run_ok gw-send forward --once
same 2 "$(requests store)" "flush: now, and then all of them"
same up "$(status_of state)"
run_ok gw-send wait --timeout 0 a1 a2

# --- the pause goes on doubling ---
stop_daemon store 143
send b1
run_exit 75 gw-send forward --once --probe-interval 400ms
sleep 0.5
run_exit 75 gw-send forward --once --probe-interval 400ms
same 1 "$(attempts)"
line=$(grep ' attempt-failed ' <<<"$err")
pause=$(($(date -d "${line##*next_try_at=}" +%s%3N) - $(date -d "${line%% *}" +%s%3N)))
check "twice as long: $pause ms" [ "$pause" -ge 700 ] && check "but not more" [ "$pause" -le 1000 ]
# Who asks for a clock that was set back waits no longer than a pause can be.
start_site store "$port"
run_ok gw-send forward --drain --probe-interval 400ms
same 0 "$(status_of waiting)"

# --- a poisonous message uses up its attempts although every process is a new one ---
printf 'poison\tclose\n' >by-id.txt
plan_site store "by-id $T/by-id.txt"
send poison
for i in 1 2 3 4 5 6 7 8; do
  send "good-$i"
  gw-send flush -q
  gw-send forward --once --retries 1 --retry-increment 10ms --probe-interval 10ms 2>>poison.err
  [ "$(gw-send wait --timeout 0 --json poison | jq -r .state)" = failed ] && break
done
run_exit 69 gw-send wait --timeout 0 --json poison
same "failed 2" "$(jq -r '"\(.state) \(.attempts)"' <<<"$out")" "two attempts that counted"
run_ok queue-inspect show error poison --json
like '^HQ\.gateway@.* no answer: .*' "$(jq -r '.headers | .["NServiceBus.FailedQ"] + " " + .["NServiceBus.ExceptionInfo.Message"]' <<<"$out")"
gw-send flush -q
run_ok gw-send forward --drain --probe-interval 10ms
plan_site store '200 OK'

# --- what lies in the error queue does not expire there ---
plan_site store '500 Broken'
run_ok bash -c "echo x | gw-send --to Store1 --id mortal --ttl 1s"
run_exit 1 gw-send forward --drain --retries 0
sleep 1.1
run_ok queue-inspect take error mortal
plan_site store '200 OK'

# --- hold and release ---
run_ok queue-inspect hold site.Store1 --reason 'new till'
send c1
before=$(requests store)
run_exit 75 gw-send forward --once
same "$before held" "$(requests store) $(status_of state)"
run_ok queue-inspect release site.Store1
run_ok gw-send forward --drain
same delivered "$(gw-send wait --timeout 0 --json c1 | jq -r .state)"

# --- a window, in local time; over midnight ---
hour() { TZ=$1 date -d "$2" +%H:00; }
export TZ=CET-1CEST,M3.5.0,M10.5.0/3
one_site "Window=\"$(hour $TZ '3 hours')-$(hour $TZ '4 hours')\""
send d1
before=$(requests store)
run_exit 75 gw-send forward --once
same "$before not-ready" "$(requests store) $(status_of state)"
left=$(seconds_to "$(status_of next_try_at)")
check "opens in $left s" [ "$left" -gt 7100 ] && check "not later" [ "$left" -le 10800 ]
run_ok queue-inspect hold site.Store1
same held "$(status_of state)" "held wins"
run_ok queue-inspect release site.Store1
start_daemon forwarder gw-send forward
one_site "Window=\"$(hour $TZ '-1 hours')-$(hour $TZ '-2 hours')\""
run_ok gw-send wait --timeout 10s d1
stop_daemon forwarder
export TZ=UTC0

# --- names in lower case, the library's own too ---
one_site 'HeaderCase="lower"'
run_ok bash -c 'echo x | gw-send --to Store1 --header Own-Name=Value'
run_ok gw-send forward --drain
request=$T/store/$(requests store).request
same "" "$(sed '1d; /^\r$/,$d' "$request" | grep '^[^:]*[A-Z][^:]*:')"
same "127.0.0.1:$port 2 Value" "$(header "$request" host) $(header "$request" content-length) $(header "$request" nservicebus.header.own-name)"
like 'GMT$' "$(header "$request" date)"
same 1 "$(grep -ci '^content-length:' "$request")"

# --- a rate, a concurrency ---
gap() { awk -v n="$1" '/ arrived/ {t[++i] = $1} END {printf "%d", (t[i] - t[i - n]) * 1000}' "$T/store/log"; }
one_site 'Rate="100K/s"'
head -c 60K /dev/zero >big
for i in 1 2 3; do run_ok gw-send --to Store1 --id "big-$i" big; done
run_ok gw-send forward --drain
check "60K at 100K/s, twice: $(gap 2) ms" [ "$(gap 2)" -ge 1100 ]
one_site 'Concurrency="1"'
plan_site store 'slow 0.3'
for i in 1 2 3; do send "slow-$i"; done
run_ok gw-send forward --drain
check "one after the other: $(gap 2) ms" [ "$(gap 2)" -ge 590 ]
run_ok queue-inspect check
done_testing
