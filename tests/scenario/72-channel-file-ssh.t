#!/bin/bash
# gw-channel-file and gw-channel-ssh: half-copied files, sticks copied twice, kills at any moment; a real sshd on loopback.
# timeout: 120
. "$(dirname "$0")/../lib.sh"

LIBEXEC=$BUILD/libexec/gatepost
count() { queue-inspect --root "$T/recv" list "$1" --json 2>/dev/null | wc -l; }
has() { [ "$(count "$1")" -ge "$2" ]; }
ids() { queue-inspect --root "$T/recv" list "$1" --json | jq -r .id | sort; }
send() { gw-send -q --root "$T/send" "$@" >/dev/null; }
forward() { gw-send --root "$T/send" forward "$@"; }
calls() { find "$1" -maxdepth 1 -name '*.gwcall' | wc -l; }
no_calls() { [ "$(calls "$1")" = 0 ]; }

# --- by hand ----------------------------------------------------------------------------------------------------------------
mkdir out in
run_ok bash -c "printf 'gw-channel 1\nmessage 2\nNServiceBus.Id: a\nDate: x\n\nhimessage 0\nA: b\n\n' | '$LIBEXEC/gw-channel-file' send out"
same $'gw-channel 1\nok\nok' "$out" "two messages, two answers"
same 2 "$(calls out)"
check "nothing else lies there" [ "$(find out -type f | wc -l)" = 2 ]
first=$(find out -name '*.gwcall' | sort | head -n 1)
same "sha256 $(head -c -73 "$first" | sha256sum | cut -d ' ' -f 1)" "$(tail -n 1 "$first")" "its digest"
same 0 "$(grep -c Date "$first")" "without Date"
run_ok bash -c "printf 'gw-channel 1\nok\nretry later\n' | '$LIBEXEC/gw-channel-file' receive out"
same $'gw-channel 1\nmessage 2\nNServiceBus.Id: a\n\nhimessage 0\nA: b' "${out%$'\n'}" "they come out as they went in"
same 1 "$(calls out)" "the second one was told to come later"
run_exit 76 bash -c "echo 'gw-channel 2' | '$LIBEXEC/gw-channel-file' send out"
run_exit 76 bash -c "printf 'gw-channel 1\nmessage 5\nA: b\n\nhi' | '$LIBEXEC/gw-channel-file' send out"
same 1 "$(find out -type f | wc -l)" "a message that was cut off leaves nothing"
run_exit 75 bash -c "echo 'gw-channel 1' | '$LIBEXEC/gw-channel-file' send missing"
run_exit 64 "$LIBEXEC/gw-channel-file" look out
rm -f out/*

# --- a stick ------------------------------------------------------------------------------------------------------------------
head -c 200000 /dev/urandom >big
for i in 1 2 3; do echo "$i" | send --to S --site "S=$T/out,file" --id "s$i"; done
send --to S --site "S=$T/out,file" --id s4 big
run_ok forward --drain --site "S=$T/out,file"
same 4 "$(calls out)"
start_daemon listen gw-listen --root "$T/recv" --endpoint Store --channel "$T/in,file"
large=$(find out -name '*.gwcall' -size +100k) small=$(find out -name '*.gwcall' -size -100k | sort | head -n 1)
head -c 100000 "$large" >"in/${large##*/}"
size=$(stat -c %s "$large")
{ head -c 50000 "$large"; head -c $((size - 50000)) /dev/zero; } >in/ahead.gwcall
cp "$small" "in/.${small##*/}.part"
echo hello >in/readme.txt
find out -name '*.gwcall' -size -100k -exec cp {} in \;
wait_until 10 has Store 3
wait_until 5 eval '[ "$(calls in)" = 2 ]'
cp "$large" in/ahead.gwcall
cp "$large" in
wait_until 20 has Store 4
wait_until 20 no_calls in
find out -name '*.gwcall' -exec cp {} in \;
wait_until 20 no_calls in
same $'s1\ns2\ns3\ns4' "$(ids Store)" "a stick that is copied twice is harmless"
queue-inspect --root "$T/recv" take Store --where id=s4 >got
check "the large body" cmp got big
same "hello" "$(cat in/readme.txt)" "other files are left alone"
check "refused ones are set aside" [ ! -e in/.refused ]
printf 'gw-channel 1\nmessage 2\nNServiceBus.Id: s1\nNServiceBus.CallType: SingleCallSubmit\n\nno' | "$LIBEXEC/gw-channel-file" send in >/dev/null
wait_until 10 eval '[ "$(calls in/.refused)" = 1 ]'
wait_until 5 grep -q 'channel-says channel_type=file .*same id, other body' listen.err
stop_daemon listen

# --- kills ------------------------------------------------------------------------------------------------------------------
mkdir box
number=60
seq -f 'body %.0f' $number | send --to K --site "K=$T/box,file" --lines --id k
kill_all() { kill -9 "$@" 2>/dev/null; }
kill_some() { # children of the daemons, and now and then the daemons themselves
  local round
  for round in 1 2 3 4 5 6; do
    sleep 0.2
    # shellcheck disable=SC2046 # pids
    kill_all $(pgrep -P "${DAEMON[listener]}") $(pgrep -P "${DAEMON[forwarder]}")
    [ $((round % 3)) = 0 ] || continue
    kill_daemon listener
    kill_daemon forwarder
    start_both
  done
}
start_both() {
  start_background listener gw-listen --root "$T/recv" --endpoint Kill --channel "$T/box,file"
  start_background forwarder gw-send --root "$T/send" forward --site "K=$T/box,file" --retries 100 --retry-increment 100ms
}
start_both
kill_some
wait_until 40 has Kill $number
wait_until 20 eval '[ "$(queue-inspect --root "$T/send" list site.K --json | wc -l)" = 0 ]'
wait_until 70 no_calls box
same $number "$(count Kill)" "nothing twice"
same "$(seq -f 'body %.0f' $number | sort)" "$(queue-inspect --root "$T/recv" take Kill --lines | sort)" "nothing lost"
stop_daemon listener
stop_daemon forwarder

# --- ssh ----------------------------------------------------------------------------------------------------------------------
mkdir fake
cat >fake/ssh <<'END'
#!/bin/sh
printf '%s\n' "$@" >"$T/ssh.args"
END
chmod +x fake/ssh
arguments() { rm -f ssh.args; GW_SSH="$T/fake/ssh -x" "$LIBEXEC/gw-channel-ssh" "$@" && tr '\n' ' ' <ssh.args; }
same "-x -p 2222 me@host gw-channel-file send /a/b " "$(arguments send ssh://me@host:2222/a/b)"
same "-x host gw-channel-file receive /a " "$(arguments receive ssh://host/a)"
same "-x host gw-channel-file send box " "$(arguments send 'ssh://host/~/box')"
same "-x host gw-channel-file send '/it'\\''s; rm' " "$(arguments send "ssh://host/it's; rm")"
same "-x -p 22 ::1 gw-channel-file send /a " "$(arguments send 'ssh://[::1]:22/a')"
for address in host/a ssh://host ssh://host/ ssh://-oProxyCommand=x/a ssh://a@-x/b ssh://host:x/a 'ssh://h;ost/a'; do
  run_exit 64 "$LIBEXEC/gw-channel-ssh" send "$address"
done

sshd=$(PATH=$PATH:/usr/sbin:/sbin command -v sshd)
if [ -z "$sshd" ] || ! command -v ssh-keygen >/dev/null; then
  skip 1 "sshd is not installed (package openssh-server)"
  done_testing
  exit
fi
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f host_key
ssh-keygen -q -t ed25519 -N '' -f user_key
cp user_key.pub authorized
chmod 600 authorized
port=$(free_port)
cat >sshd_config <<END
Port $port
ListenAddress 127.0.0.1
HostKey $T/host_key
PidFile none
AuthorizedKeysFile $T/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
SetEnv PATH=$LIBEXEC:/usr/local/bin:/usr/bin:/bin
END
start_sshd() {
  start_background sshd "$sshd" -D -e -f "$T/sshd_config"
  wait_until 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
}
start_sshd
export GW_SSH="ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=$T/known -o IdentitiesOnly=yes -i $T/user_key"
user=$(id -un)
mkdir there back
away="ssh://$user@127.0.0.1:$port$T"
echo one | send --to R --site "R=$away/there,ssh" --id r1
send --to R --site "R=$away/there,ssh" --id r2 big
run_ok forward --drain --site "R=$away/there,ssh"
same 2 "$(calls there)" "both lie in the directory over there"
start_daemon fetch gw-listen --root "$T/recv" --endpoint Ssh --channel "$away/there,ssh"
same "ready ssh,$away/there" "$ready_line"
wait_until 20 has Ssh 2
wait_until 10 no_calls there
queue-inspect --root "$T/recv" take Ssh --where id=r2 >got
check "the large body came over ssh twice" cmp got big
kill_daemon sshd
# shellcheck disable=SC2046 # pids
pkill -9 -P "${DAEMON[fetch]}" 2>/dev/null
echo three | send --to R --site "R=$away/there,ssh" --id r3
run_exit 75 forward --once --outages wait --site "R=$away/there,ssh"
like 'attempt-failed id=r3 site=R attempt=1 reason="no answer: gw-channel-ssh ended with exit 255: ' "$err" "no sshd: no answer"
start_sshd
run_ok forward --drain --outages wait --probe-interval 100ms --site "R=$away/there,ssh"
wait_until 70 has Ssh 2
same $'r1\nr3' "$(ids Ssh)"
stop_daemon fetch
kill_daemon sshd

done_testing
