#!/bin/bash
# gw-send forward: a program that decides about retries, Retry-After in both forms, what lies in the error queue.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

start_site store
write_config 'Endpoint="HQ" Retries="1" RetryIncrement="1h"' "Key=\"Store1\" Address=\"${URL[store]}\" ChannelType=\"http\""
# shellcheck disable=SC2016 # the script's own variables
policy() { printf '#!/bin/bash\n%s\n' "$1" >"$T/policy.new" && chmod 755 "$T/policy.new" && mv "$T/policy.new" "$T/policy"; }
next_try_s() { # seconds from the event to next_try_at
  local line
  line=$(grep ' attempt-failed ' <<<"$err" | sed -n "${1}p")
  echo $(($(date -d "$(sed 's/.*next_try_at=//; s/ .*//' <<<"$line")" +%s) - $(date -d "${line%% *}" +%s)))
}

# --- arguments, environment, stdin; the command's number of retries is its own; stop ends it ---
# shellcheck disable=SC2016
policy '{ printf "%s|" "$@"; printf "%s|%s|%s|%s|%s|%s|" "$GW_SITE" "$GW_MESSAGE_ID" "$GW_ATTEMPT" "$GW_QUEUE" "$GW_ENDPOINT" "$GW_MESSAGE_TYPE"
  grep -c "^NServiceBus.MessageId: my-id$" "$GW_HEADERS_FILE"; cat; cat "$GW_BODY_FILE"; } >>"$GW_ROOT/../asked"
[ "$1" -lt 4 ] && echo 20ms || echo stop'
plan_site store '500 Broken | try your luck'
run_ok bash -c "printf 'body\n' | gw-send --to Store1 --id my-id --type Prices.Changed"
run_exit 1 gw-send forward --drain --retry-policy ./policy
same 4 "$(requests store)" "until it says stop"
same "1|500 Broken: try your luck|Store1|my-id|1|site.Store1|HQ|Prices.Changed|1
body
body" "$(head -n 3 asked)"
same "1 2 3 4" "$(grep -o '^[0-9]|' asked | tr -d '|' | paste -sd' ')" "1 is the first failure"
same 4 "$(grep -c ' attempt-failed ' <<<"$err")" "an event per failed attempt"
unlike 'next_try_at' "$(grep ' attempt-failed ' <<<"$err" | tail -n 1)"
run_ok queue-inspect show error my-id --json
same "500 Broken: try your luck" "$(jq -r '.headers["NServiceBus.ExceptionInfo.Message"]' <<<"$out")"

# --- what is of no use: the schedule, and an event ---
n=0
# shellcheck disable=SC2016
for bad in 'echo soon' 'echo nonsense >&2; exit 3' 'kill -KILL $$' 'true'; do
  n=$((n + 1))
  case $n in 1) why="it printed 'soon'" ;; 2) why='exit 3: nonsense' ;; 3) why='signal 9 .SIGKILL.' ;; *) why='it printed nothing' ;; esac
  policy "$bad"
  run_ok bash -c "echo x | gw-send --to Store1 --id bad-$n"
  run_exit 75 gw-send forward --once --retry-policy "$T/policy"
  like "retry-policy-failed id=bad-$n site=Store1 attempt=1 reason=\"$why" "$err"
  same 3600 "$(next_try_s 1)" "the schedule's time"
  run_ok queue-inspect purge site.Store1 --all
done

# --- slower than 10 s: killed, with what it started ---
# shellcheck disable=SC2016
policy 'sleep 600 & echo $! >"$GW_ROOT/../sleeper"; wait'
run_ok bash -c "echo x | gw-send --to Store1 --id slow"
run_exit 75 gw-send forward --once --retry-policy ./policy
like 'retry-policy-failed id=slow .*longer than 10s' "$err"
same 3600 "$(next_try_s 1)"
# nothing of it is left
gone() { ! grep -q '^State:[[:space:]]*[^ZX]' "/proc/$(cat sleeper)/status" 2>/dev/null; }
wait_until 10 gone
run_ok queue-inspect purge site.Store1 --all

# --- a stop does not wait for it, and the attempt counts ---
run_ok bash -c "echo x | gw-send --to Store1 --id stopped"
rm -f sleeper
start_daemon forwarder gw-send forward --retry-policy ./policy
asked() { [ -s sleeper ]; }
wait_until 10 asked
start=$SECONDS
stop_daemon forwarder
check "at once" [ $((SECONDS - start)) -le 5 ]
same "deferred 1" "$(queue-inspect list site.Store1 --json | jq -r '"\(.state) \(.attempts)"')"
run_ok queue-inspect purge site.Store1 --all

# --- a command that is not there: configuration; from the file ---
run_exit 78 gw-send forward --once --retry-policy ./nothing
like "execute './nothing'" "$err"
policy 'echo 10m'
write_config 'Endpoint="HQ" RetryPolicy="./policy"' "Key=\"Store1\" Address=\"${URL[store]}\" ChannelType=\"http\""
run_ok bash -c "echo x | gw-send --to Store1"
run_exit 75 gw-send forward --once
same 600 "$(next_try_s 1)"

# --- Retry-After: the later of it and what else says when ---
plan_site store '503 Busy | | Retry-After: 900' '503 Busy | | Retry-After: 5' \
  '503 Busy | | Retry-After: Sat, 21 Nov 2026 12:20:00 GMT | Date: Sat, 21 Nov 2026 12:00:00 GMT' '503 Busy | | Retry-After: rubbish'
run_ok gw-send flush --to Store1 -n
for expected in 900 600 1200 600; do
  gw-send flush -q
  run_exit 75 gw-send forward --once
  same "$expected" "$(next_try_s 1)"
done
run_ok queue-inspect check
done_testing
