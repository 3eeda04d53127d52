#!/bin/bash
# The systemd units: confined, correct, and their commands do what they say.
# timeout: 120
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

run_ok make -C "$SRC" --no-print-directory BUILD="$BUILD" install PREFIX="$T/usr"
units=$T/usr/lib/systemd/system
for file in lib/systemd/system/gatepost-{forward,listen,purge,distributor@,worker@}.service lib/systemd/system/gatepost-purge.timer \
  lib/sysusers.d/gatepost.conf lib/tmpfiles.d/gatepost.conf; do
  check "installed: $file" [ -f "$T/usr/$file" ]
done
same '' "$(grep -ho '@[a-z]*@' -r "$T/usr/lib")" "nothing is left to be filled in"
like "^ExecStart=$T/usr/bin/gw-send forward --outages wait" "$(cat "$units/gatepost-forward.service")"
same '' "$(grep -l '^ProcSubset=' "$units"/*.service)" "none hides the boot id"
same '' "$(grep -l '^MemoryDenyWriteExecute=' "$units/gatepost-worker@.service")" "handlers may compile at run time"

if command -v systemd-analyze >/dev/null; then
  for unit in "$units"/*.service; do
    name=${unit##*/}
    run_ok systemd-analyze security --no-pager --offline=true --threshold=15 "$unit"
    check "$name is Type=notify, or ends by itself" grep -qE '^Type=(notify|oneshot)$' "$unit"
    # The instance of a template. What it says of pages that are not installed here does not count.
    cp "$unit" "$T/${name/@/@x}"
    said=$(systemd-analyze verify --man=no "$T/${name/@/@x}" 2>&1)
    same '' "$(grep "^$T/.*gatepost\|^gatepost" <<<"$said")" "systemd-analyze verify $name"
  done
  cp "$units/gatepost-purge.timer" "$units/gatepost-purge.service" .
  run_ok systemd-analyze verify --man=no ./gatepost-purge.timer
else
  skip 16 "systemd-analyze is not installed"
fi

# What systemd makes of a unit, as far as these need it: ExecStart with the variables of Environment= and EnvironmentFile=.
words_of() { # UNIT INSTANCE [ENVIRONMENT-FILE]
  python3 - "$@" <<'EOF'
import re, shlex, sys
unit, instance = sys.argv[1:3]
text = open(unit).read()
values = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.M))
if len(sys.argv) > 3:
    values.update(re.findall(r"^(\w+)=(.*)$", open(sys.argv[3]).read(), re.M))
words = []
for word in shlex.split(re.search(r"^ExecStart=(.*)$", text, re.M).group(1)):
    name = re.fullmatch(r"\$(\w+)", word)
    if name:
        words += shlex.split(values.get(name.group(1), ""))
    else:
        words.append(re.sub(r"\$\{(\w+)\}", lambda m: values.get(m.group(1), ""), word))
print("\0".join(words).replace("%i", instance), end="\0")
EOF
}
run_unit() { # NAME UNIT INSTANCE [ENVIRONMENT-FILE]: as systemd would, with its socket
  local name=$1
  shift
  mapfile -d '' -t command < <(words_of "$@")
  rm -f "$T/notify.$name" "$T/$name.told"
  python3 - "$T/notify.$name" "$T/$name.told" <<'EOF' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.settimeout(30)
open(sys.argv[2], "wb").write(s.recv(4096))
EOF
  _poll 10 [ -S "$T/notify.$name" ]
  start_daemon "$name" env NOTIFY_SOCKET="$T/notify.$name" "${command[@]}"
  wait_until 5 grep -q READY=1 "$T/$name.told"
}
cat >config.xml <<'EOF'
<gatepost><Gateway Endpoint="Store1"><Sites><Site Key="Here" Address="http://127.0.0.1:1/"/></Sites>
  <Channels><Channel Address="http://127.0.0.1:0/Store1/" ChannelType="http"/></Channels></Gateway></gatepost>
EOF
export GW_CONFIG=$T/config.xml
run_unit listen "$units/gatepost-listen.service" ''
address=${ready_line#ready }
sed -i "s|http://127.0.0.1:1/|$address|" config.xml
run_unit forward "$units/gatepost-forward.service" ''
cat >handle <<'EOF'
#!/bin/sh
cat >>"$1"
EOF
chmod 755 handle
printf '%s\n' 'WORKER_QUEUE=Store1' 'WORKER_OPTIONS=--capacity 2 --handler-timeout "1m"' "WORKER_COMMAND='$T/handle' '$T/handled by it'" >worker.env
run_unit worker "$units/gatepost-worker@.service" prices worker.env
run_ok bash -c 'echo "apple 0.99" | gw-send --to Here'
wait_until 20 grep -q 'apple 0.99' "$T/handled by it"

# Reloading: the last good configuration stays when a bad one comes.
echo '<gatepost><Gateway' >config.xml
kill -HUP "${DAEMON[forward]}" "${DAEMON[listen]}"
wait_until 10 grep -q config-bad forward.err
wait_until 10 grep -q config-bad listen.err
stop_daemon worker
stop_daemon forward
stop_daemon listen
if queue-inspect --help >/dev/null && distributor run --help >/dev/null 2>&1; then
  GW_CONFIG='' run_unit distributor "$units/gatepost-distributor@.service" Sales
  stop_daemon distributor
else
  skip 3 "there is no 'distributor run'"
fi

# The nightly purge: ids of every store, and what is named of queues.
export GW_CONFIG=
seq 3 | queue-inspect put audit --lines --create -q
echo x | queue-inspect put audit --id kept >/dev/null
run_ok gw-dedup mark --endpoint Store1 17
run_ok env PURGE_IDS_AFTER=0s PURGE_LOCAL_IDS_AFTER=7d PURGE_QUEUES='audit:0s' "$T/usr/libexec/gatepost/gatepost-purge"
run_exit 1 gw-dedup seen --endpoint Store1 17
run_ok gw-dedup list --endpoint +local
like kept "$out"
run_exit 1 queue-inspect take audit
run_ok env PURGE_QUEUES='audit:1d' "$T/usr/libexec/gatepost/gatepost-purge"
run_exit 66 env PURGE_QUEUES='no-such-queue:1d audit:1d' "$T/usr/libexec/gatepost/gatepost-purge"
run_ok env GW_ROOT="$T/nothing-here" "$T/usr/libexec/gatepost/gatepost-purge"
done_testing
