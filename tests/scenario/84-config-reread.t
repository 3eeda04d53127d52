#!/bin/bash
# Commands that run for long read the configuration again: on SIGHUP and when the file is another one; a bad one changes nothing.
# timeout: 90
. "$(dirname "$0")/../lib.sh"

start_daemon store gw-listen --root "$T/store" --endpoint Store1 --channel http://127.0.0.1:0/Store1/
url=${ready_line#ready }
reads() { [ "$(grep -c config-read "$1.err")" -ge "$2" ]; }
bad() { [ "$(grep -c " error config-bad .*config.xml:$2" "$1.err")" -ge "$3" ]; }

# --- gw-send forward ----------------------------------------------------------------------------------------------------
sites() { # sites KEY=URL...
  echo '<gatepost><Gateway Endpoint="HQ" Retries="0"><Sites>'
  local site
  for site; do echo "<Site Key=\"${site%%=*}\" Address=\"${site#*=}\"/>"; done
  echo '</Sites></Gateway></gatepost>'
}
mkdir v1 v2 v3
sites "A=$url" >v1/config.xml
sites "A=$url" "B=$url" >v2/config.xml
sites "A=$url" "B=$url" "C=$url" >v3/config.xml
# As orchestrators deliver configurations: a link to a link to a directory, which is replaced.
ln -s v1 current
ln -s current/config.xml config.xml
export GW_CONFIG=$T/config.xml
start_daemon forward gw-send forward
run_ok gw-send --to A --wait delivered --timeout 10s config.xml
ln -s v2 next && mv -T next current
wait_until 5 reads forward 1
run_ok gw-send --to B --wait delivered --timeout 10s config.xml
# Replaced by a rename.
rm config.xml && cp v3/config.xml config.xml.new && mv config.xml.new config.xml
wait_until 5 reads forward 2
run_ok gw-send --to C --wait delivered --timeout 10s config.xml
# Bad: everything goes on as it was.
printf '<gatepost>\n<Gateway Endpoint="HQ">\n<Sits/></Gateway></gatepost>\n' >config.xml
wait_until 5 bad forward 3 1
like "did you mean '<Sites>'" "$(grep config-bad forward.err)"
cp v3/config.xml good.xml
run_ok gw-send --config good.xml --to A,B,C --wait delivered --timeout 10s v3/config.xml
kill -HUP "${DAEMON[forward]}"
wait_until 5 bad forward 3 2
# Missing: the same, though it need not exist at the start.
rm config.xml
kill -HUP "${DAEMON[forward]}"
wait_until 5 grep -q 'config-bad .*open .*config.xml' forward.err
run_ok gw-send --config good.xml --to A,B,C --wait delivered --timeout 10s v2/config.xml
# Written in place. A site that is gone keeps its messages.
sites "A=$url" >config.xml
wait_until 5 reads forward 3
run_ok gw-send --config good.xml --to B config.xml
run_ok gw-send --to A --wait delivered --timeout 10s v1/config.xml
same 1 "$(queue-inspect list site.B --json | wc -l)"
sites "B=$url" >config.xml
empty() { ! queue-inspect list site.B --json | grep -q .; }
wait_until 10 empty
stop_daemon forward
same "" "$(grep -E ' (warn|error) ' forward.err | grep -v config-bad)" "nothing else to complain about"

# --- gw-listen ----------------------------------------------------------------------------------------------------------
port1=$(free_port) port2=$(free_port)
channels() { # channels ADDRESS-AND-ATTRIBUTES...
  echo '<gatepost><Gateway Endpoint="Shop"><Channels>'
  local channel
  for channel; do echo "<Channel Address=\"$channel/>"; done
  echo '</Channels></Gateway></gatepost>'
}
# post PORT PATH [CURL-OPTION...]: the status of a submit with a body of 100 bytes.
post() {
  curl -s -o answer -m 5 -w '%{http_code}' -H "NServiceBus.Id: $(cat /proc/sys/kernel/random/uuid)" -H 'NServiceBus.CallType: SingleCallSubmit' --data-binary "$(printf '%0100d' 1)" \
    "http://127.0.0.1:$1/$2/" "${@:3}"
}
channels "http://127.0.0.1:$port1/Shop/\"" >config.xml
start_daemon listen gw-listen --config config.xml
same 200 "$(post "$port1" Shop)"
channels "http://127.0.0.1:$port1/Shop/\" MaxBody=\"50\"" >config.xml
wait_until 5 reads listen 1
same 413 "$(post "$port1" Shop)" "a limit has changed"

# Another path on the same port, and a channel on another port.
channels "http://127.0.0.1:$port1/Shop/\"" "http://127.0.0.1:$port1/More/\"" "http://127.0.0.1:$port2/Two/\"" >config.xml
wait_until 5 reads listen 2
same "200 200 200" "$(post "$port1" Shop) $(post "$port1" More) $(post "$port2" Two)" "channels were added"
check "and are told" grep -q "listening url=http://127.0.0.1:$port2/Two/ endpoint=Shop" listen.err
same "http://127.0.0.1:$port1/Shop/ http://127.0.0.1:$port1/More/ http://127.0.0.1:$port2/Two/" "$(sed -n 's/^ready //p' listen.out | xargs)" "one ready line each"

# Removed again, while a request to the one that goes is under way.
curl -s -o slow -m 20 -w '%{http_code}' -H 'NServiceBus.Id: slow' -H 'NServiceBus.CallType: SingleCallSubmit' -H 'Expect:' \
  -T <(head -c 60 /dev/zero; sleep 3; head -c 40 /dev/zero) -X POST "http://127.0.0.1:$port2/Two/" >slow.status &
slow=$!
under_way() { awk -v port=":$(printf %04X "$port2")" '$4 == "01" && index($2, port)' /proc/net/tcp | grep -q .; }
wait_until 5 under_way
channels "http://127.0.0.1:$port1/More/\"" >config.xml
wait_until 5 reads listen 3
same "404 200" "$(post "$port1" Shop) $(post "$port1" More)" "a path was removed"
refused() { [ "$(post "$port2" Two)" = 000 ]; }
wait_until 10 refused
wait "$slow"
same 200 "$(cat slow.status)" "what was under way is answered"
check "an event tells it" grep -q "not-listening url=http://127.0.0.1:$port2/Two/" listen.err

# What another program has is refused as a whole.
python3 -m http.server --bind 127.0.0.1 "$port2" >/dev/null 2>&1 &
other=$!
at_exit kill "$other"
taken() { curl -s -o answer -m 1 "http://127.0.0.1:$port2/"; }
wait_until 5 taken
channels "http://127.0.0.1:$port1/Shop/\"" "http://127.0.0.1:$port2/Two/\"" >config.xml
wait_until 5 grep -q "config-bad .*another program listens there" listen.err
same "404 200" "$(post "$port1" Shop) $(post "$port1" More)" "nothing has changed"

# What needs a restart says so; the rest is done.
channels "http://127.0.0.1:$port1/Shop/\"" | sed 's/Endpoint="Shop"/Endpoint="Other"/' >config.xml
wait_until 5 grep -q 'warn config-needs-restart .*Endpoint is .Other. now' listen.err
same "200 404" "$(post "$port1" Shop) $(post "$port1" More)" "channels have changed"
printf '<gatepost>\n<Gateway Endpoint="Shop">\n<Chanels/></Gateway></gatepost>\n' >config.xml
kill -HUP "${DAEMON[listen]}"
wait_until 5 bad listen 3 1
same 200 "$(post "$port1" Shop)"
# Without any channel there would be nothing to do.
channels >config.xml
wait_until 5 grep -q 'config-bad .*no channel' listen.err
same 200 "$(post "$port1" Shop)"
same 10 "$(queue-inspect list Shop --json | wc -l)" "all that was answered with 200 is there"
stop_daemon listen

# Ports that were opened together are closed one by one, and opened again.
port1=$(free_port) port2=$(free_port) port3=$(free_port)
one="http://127.0.0.1:$port1/One/\"" two="http://127.0.0.1:$port2/Two/\"" three="http://127.0.0.1:$port3/Three/\""
channels "$one" "$two" "$three" >config.xml
start_daemon ports gw-listen --config config.xml
same "200 200 200" "$(post "$port1" One) $(post "$port2" Two) $(post "$port3" Three)"
channels "$one" "$three" >config.xml
wait_until 5 refused
same "200 200" "$(post "$port1" One) $(post "$port3" Three)" "the others go on"
channels "$one" "$two" "$three" >config.xml
wait_until 5 reads ports 2
same "200 200 200" "$(post "$port1" One) $(post "$port2" Two) $(post "$port3" Three)" "and it is back"
stop_daemon ports
unlike ' error |requests-cut' "$(cat ports.err)"
stop_daemon store

# --- gw-send --follow: from the next file on --------------------------------------------------------------------------------
mkdir box
sites "N1=$url" >config.xml
start_daemon follow gw-send --to 'N*' --from-dir box --follow
echo 1 >box/one
holds() { [ "$(queue-inspect list "site.$1" --json | wc -l)" = "$2" ]; }
wait_until 5 holds N1 1
sites "N1=$url" "N2=$url" >config.xml
wait_until 5 reads follow 1
echo 2 >box/two
wait_until 5 holds N2 1
printf '<gatepost>\n<Gatway/></gatepost>\n' >config.xml
echo 3 >box/three
wait_until 5 holds N2 2
check "the bad file is told" bad follow 2 1
kill -HUP "${DAEMON[follow]}"
wait_until 5 bad follow 2 2
same "3 2" "$(queue-inspect list site.N1 --json | wc -l) $(queue-inspect list site.N2 --json | wc -l)"
# What cannot be stored now waits for its time.
sites "N1=$url" >config.xml
run_ok queue-inspect hold site.N1 --puts
echo 4 >box/four
wait_until 5 grep -q 'warn files-wait path=box reason=' follow.err
check "it stays where it is" [ -f box/four ]
run_ok queue-inspect release site.N1
sent() { [ ! -e box/four ] && [ -f box/.sent/four ]; }
wait_until 10 sent
same 1 "$(grep -c files-wait follow.err)" "told once"
stop_daemon follow

# --- distributor worker: its handlers use the configuration -----------------------------------------------------------------
sites "A=$url" >config.xml
run_ok queue-inspect create Work
start_daemon work distributor worker --queue Work -- cat
printf '<gatepost>\n<Gatway/></gatepost>\n' >config.xml
wait_until 15 bad work 2 1
sites "A=$url" >config.xml
kill -HUP "${DAEMON[work]}"
wait_until 5 reads work 1
ticks() { awk '{ print $14 + $15 }' "/proc/${DAEMON[work]}/stat"; }
before=$(ticks)
sleep 1
check "it rests after a SIGHUP" [ $(($(ticks) - before)) -lt 30 ]
stop_daemon work
printf '<gatepost>\n<Gatway/></gatepost>\n' >config.xml
run_exit 78 distributor worker --queue Work --drain -- cat
done_testing
