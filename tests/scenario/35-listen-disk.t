#!/usr/bin/env bash
# No space: 507 and nothing half stored, what is there can be taken, and then it goes on. A failing sync: no answer, exit 74.
# timeout: 120
. "$(dirname "$0")/../lib.sh"

request=$SRC/tests/data/wire/answers/01-plain.request
http() { timeout 60 python3 "$SRC/tests/rawhttp.py" "$@"; }
port_of() { sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$1"; }
body_request() { # ID BYTES
  printf '%s\r\n' "POST /Store1/ HTTP/1.1" "Host: x" "NServiceBus.Id: $1" "NServiceBus.CallType: SingleCallSubmit" "NServiceBus.Gateway: True" "Content-Length: $2" ''
  head -c "$2" /dev/zero | tr '\0' z
}

# Below --min-free.
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/ --min-free 1000T
port=$(port_of "$ready_line")
run_ok http "$port" --field retry-after "$request"
like '^01-plain	507	.*	closed	retry-after=[0-9]+' "$out" 'small'
body_request big 100000 >big.request
run_ok http "$port" --field retry-after big.request
like '^big	507	.*	closed	retry-after=[0-9]+' "$out" 'large: refused before the body'
run_ok gw-dedup status --endpoint Store1 --json
like '"rows":0' "$out"
stop_daemon listen

# Held: not now.
run_ok queue-inspect hold Store1 --puts
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
port=$(port_of "$ready_line")
run_ok http "$port" --field retry-after "$request"
like '^01-plain	503	.*	closed	retry-after=[0-9]+' "$out" 'a queue that is held'
run_ok queue-inspect release Store1
run_ok http "$port" "$request"
like '^01-plain	200' "$out" 'and released'
stop_daemon listen

# A real full disk.
if mkdir small && mount -t tmpfs -o size=24m none small 2>/dev/null; then
  at_exit umount -l "$T/small"
  export GW_ROOT=$T/small/root
  start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/ --min-free 0
  port=$(port_of "$ready_line")
  accepted=()
  for i in $(seq 1 60); do
    body_request "full-$i" 1000000 >full.request
    run_ok http "$port" full.request
    case $out in
      *$'\t200\t'*) accepted+=("full-$i") ;;
      *$'\t507\t'*) break ;;
      *) fail "neither 200 nor 507: $out"; break ;;
    esac
  done
  check "some fit (${#accepted[@]})" [ "${#accepted[@]}" -ge 5 ]
  like '	507	' "$out" 'then 507'
  for i in $(seq 1 3); do run_ok http "$port" full.request; done
  like '	507	' "$out" 'and 507 again'
  same "$(printf '%s\n' "${accepted[@]}")" "$(queue-inspect list Store1 --json | sed 's/.*"id":"\([^"]*\)".*/\1/')" 'exactly what was answered 200 is there'
  mkdir taken
  run_ok queue-inspect take Store1 --max 4 --to-dir "$T/taken"
  run_ok http "$port" full.request
  like '	200	' "$out" 'after some were taken it goes on'
  run_ok queue-inspect check
  run_ok gw-dedup check --endpoint Store1
  stop_daemon listen
  export GW_ROOT=$T/root
else
  skip 1 'no permission to mount a tmpfs'
fi

# A sync that fails. The answer stays away, the process ends with 74, the message is there whole or not at all, the id can be sent again.
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
  for nth in 1 2; do
    start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
    port=$(port_of "$ready_line")
    # A first message opens what has to be open: of the next one the first sync is that of its record, the second that of its id.
    sed "s/id-1\r/warm-$nth\r/" "$request" >warm.request
    run_ok http "$port" warm.request
    sed "s/id-1\r/eio-$nth\r/" "$request" >eio.request
    strace -f -qq -o strace.out -e trace=fdatasync -e "inject=fdatasync:error=EIO:when=$nth" -p "$daemon_pid" 2>strace.err &
    tracer=$!
    traced() { ! grep -q '^TracerPid:	0$' "/proc/$daemon_pid/status"; }
    wait_until 20 traced
    all_traced() { ! grep -qs '^TracerPid:	0$' /proc/"$daemon_pid"/task/*/status; }
    wait_until 20 all_traced
    run_ok http "$port" --timeout 20 eio.request
    like '^eio	000	' "$out" "sync $nth fails: no answer"
    wait_daemon listen
    same 74 "$status" "sync $nth fails: exit code"
    wait "$tracer"
    like 'commit-in-doubt' "$(cat listen.err)"
    start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
    run_ok http "$(port_of "$ready_line")" eio.request
    like '^eio	200' "$out" 'sent again it is accepted'
    same 1 "$(queue-inspect list Store1 --json | grep -c "\"id\":\"eio-$nth\"")" 'and there once'
    stop_daemon listen
  done
else
  skip 1 'no strace here, or not allowed'
fi
done_testing
