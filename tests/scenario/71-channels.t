#!/bin/bash
# Channels of other types than http: programs that carry messages (gw-channel(7)), the drop directory, httpvnext.
# timeout: 90
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

count() { queue-inspect --root "$T/$1" list "$2" --json 2>/dev/null | wc -l; }
has() { [ "$(count "$1" "$2")" -ge "$3" ]; }
ids() { queue-inspect --root "$T/$1" list "$2" --json 2>/dev/null | jq -r .id | sort; }
send() { gw-send -q --root "$T/send" "$@"; }
forward() { gw-send --root "$T/send" forward "$@"; }
empty_dir() { [ -z "$(ls -A "$1")" ]; }

# --- a program that a newcomer wrote in sh, as the manual shows it ----------------------------------------------------
mkdir bin shelf
sed -n '/^#!\/bin\/sh/,/^\.Ed/p' "$SRC/man/man7/gw-channel.7" | sed -e '/^\.Ed/d' -e 's/^\\&//' -e 's/\\e/\\/g' >bin/gw-channel-shelf
chmod +x bin/gw-channel-shelf
PATH=$T/bin:$PATH
check "the manual has an example" test -s bin/gw-channel-shelf

head -c 300000 /dev/urandom >big
printf 'one' | send --to S --site "S=$T/shelf,shelf" --type T --id m1 --header $'X=line\n%2' >/dev/null
send --to S --site "S=$T/shelf,shelf" --id m2 big >/dev/null
: | send --to S --site "S=$T/shelf,shelf" --id m3 >/dev/null
run_ok forward --drain --site "S=$T/shelf,shelf"
same 3 "$(find shelf -name '*.msg' | wc -l)" "the program has put away three messages"
start_daemon listen gw-listen --root "$T/recv" --endpoint Store --channel "$T/shelf,shelf"
same "ready shelf,$T/shelf" "$ready_line"
wait_until 20 has recv Store 3
wait_until 10 empty_dir shelf
same "$(printf 'm1\nm2\nm3')" "$(ids recv Store)" "all arrived, each once"
queue-inspect --root "$T/recv" take Store --where id=m2 >got
check "a large body is the same" cmp got big
same $'line\n%2' "$(queue-inspect --root "$T/recv" list Store --json | jq -r 'select(.id == "m1") | .headers.X')" "a header with a line feed"
same Store.gateway "$(queue-inspect --root "$T/recv" list Store --json | jq -r 'select(.id == "m1") | .headers["NServiceBus.ReplyToAddress"]')" "reply address"
stop_daemon listen

# --- answers ------------------------------------------------------------------------------------------------------------
cat >bin/gw-channel-says <<'END'
#!/bin/sh
# answers every message with the words in the file ADDRESS; `die` ends it
echo 'gw-channel 1'
echo "$$" >>"$2.pids"
read -r hello
while read -r word length; do
  [ "$word" = message ] || exit 3
  while read -r line && [ -n "$line" ]; do :; done
  head -c "$length" >/dev/null
  answer=$(cat "$2")
  [ "$answer" != die ] || { echo 'out of paper' >&2; exit 9; }
  echo "$answer"
done
END
chmod +x bin/gw-channel-says
echo ok >words
for i in 1 2 3 4 5; do echo "$i" | send --to W --site "W=$T/words,says" --id "w$i" >/dev/null; done
write_config '' "Key=\"W\" Address=\"$T/words\" ChannelType=\"says\" Concurrency=\"1\""
run_ok forward --drain
same 1 "$(wc -l <words.pids)" "one program for five messages"
echo 'retry no room' >words
echo 6 | send --to W --id w6 >/dev/null
run_exit 75 forward --once
like 'attempt-failed id=w6 site=W attempt=1 reason="no room" next_try_at=' "$err"
echo 'refuse not for us' >words
echo 7 | send --to W --id w7 >/dev/null
run_exit 1 forward --once
like 'attempt-failed id=w7 site=W attempt=1 reason="refused: not for us"$' "$err"
same w7 "$(ids send error)" "refused: in the error queue at once"
run_exit 69 gw-send --root "$T/send" wait --timeout 0 w7
echo die >words
echo 8 | send --to W --id w8 >/dev/null
run_exit 75 forward --once --outages wait
like 'channel-says channel_type=says .*text="out of paper"' "$err" "its stderr becomes events"
like 'attempt-failed id=w8 site=W attempt=1 reason="no answer: gw-channel-says ended with exit 9: out of paper"' "$err" "a dead program is no answer"
same 0 "$(queue-inspect --root "$T/send" list site.W --json | jq -r 'select(.id == "w8") | .attempts')" "which uses up no attempt with --outages wait"
echo 'hello there' >words
echo 9 | send --to Y --site "Y=$T/words,says" --id w9 >/dev/null
run_exit 75 forward --once --site "Y=$T/words,says" --to Y
like "the answer is 'hello there', expected" "$err" "an answer that is none"

# --- versions, types that nobody has ------------------------------------------------------------------------------------
printf '#!/bin/sh\necho gw-channel 2\nread -r x\n' >bin/gw-channel-newer
chmod +x bin/gw-channel-newer
run_exit 76 gw-listen --root "$T/recv" --endpoint Store --channel x,newer
like "gw-channel-newer: no common version" "$err"
run_exit 64 gw-listen --root "$T/recv" --endpoint Store --channel x,nosuch
like "no program 'gw-channel-nosuch' in '.*libexec/gatepost' or PATH" "$err" "what was looked for"
run_exit 64 gw-send --root "$T/send" forward --site Q=x,nosuch
like "no program 'gw-channel-nosuch'" "$err"
write_config '' 'Key="Q" Address="x" ChannelType="nosuch"'
run_exit 78 forward --once
like "config.xml:2: site 'Q': channel type 'nosuch'.*gw-channel-nosuch" "$err"
GW_CONFIG=''

# --- several channels of different types in one process ----------------------------------------------------------------
mkdir box
cat >listen.xml <<END
<gatepost><Gateway Endpoint="Many"><Channels>
  <Channel Address="$T/box" ChannelType="file" MaxConcurrency="2"/>
  <Channel Address="http://127.0.0.1:0/plain/" MaxConcurrency="3"/>
  <Channel Address="http://127.0.0.1:0/vnext/" ChannelType="httpVNext" Default="true"/>
</Channels></Gateway></gatepost>
END
start_daemon many gw-listen --root "$T/recv" --config listen.xml
wait_until 10 eval '[ "$(grep -c ^ready many.out)" = 3 ]'
same "ready file,$T/box" "$(sed -n 1p many.out)"
plain=$(sed -n '2s/^ready //p' many.out) vnext=$(sed -n '3s/^ready //p' many.out)
same 2 "$(pgrep -P "$daemon_pid" -fc gw-channel-file)" "MaxConcurrency programs"
sites=(--site "F=$T/box,file" --site "P=$plain" --site "V=$vnext,httpvnext")
for to in F P V; do
  echo "to $to" | send --to $to "${sites[@]}" --id "many-$to" --header "X=q\"\\ü" >/dev/null
  send --to $to "${sites[@]}" --id "big-$to" big >/dev/null
done
run_ok forward --drain "${sites[@]}"
wait_until 20 has recv Many 6
wait_until 10 empty_dir box
for to in F P V; do
  same "q\"\\ü" "$(queue-inspect --root "$T/recv" list Many --json | jq -r "select(.id == \"many-$to\") | .headers.X")" "$to: a header"
  queue-inspect --root "$T/recv" take Many --where "id=big-$to" >got
  check "$to: the large body" cmp got big
done

# --- httpvnext, byte by byte ----------------------------------------------------------------------------------------------
printf '{"Headers":{"NServiceBus.Id":"raw-1","NServiceBus.CallType":"SingleCallSubmit","NServiceBus.Gateway":"True","NServiceBus.Header.A":"b+c%%20"},"Message":[104,105]}' >raw
run_ok curl -s -i -X POST -H 'Content-Type: application/json' --data-binary @raw "$vnext"
same "$(md5sum <raw | cut -d ' ' -f 1)" "$(printf '%s' "$out" | tail -n 1)" "the answer is the MD5 of the request body"
like '^Content-Type: text/plain; charset=utf-8' "$(tr -d '\r' <"$T/.out")"
same 'hi' "$(queue-inspect --root "$T/recv" take Many --where id=raw-1)"
run_ok curl -s -o answer -w '%{http_code}' -X POST --data-binary @raw -H 'Transfer-Encoding: chunked' "$vnext"
same 200 "$out" "a duplicate"
check_not "is not delivered" has recv Many 4
post() { curl -s -o answer -w '%{http_code}' -X POST --data-binary "$1" "$vnext"; }
same 400 "$(post '{"Headers":{"NServiceBus.CallType":"SingleCallSubmit"},"Message":[]}')" "no id"
same "Required header 'NServiceBus.Id' missing." "$(cat answer)"
same 412 "$(post '{"Headers":{"NServiceBus.Id":"r2","NServiceBus.CallType":"SingleCallSubmit","Content-MD5":"1B2M2Y8AsgTpgAmY7PhCfg=="},"Message":[1]}')" "another MD5"
same 422 "$(post "$(sed 's/104/105/' raw)")" "same id, other body"
same 400 "$(post '{"Headers":{"NServiceBus.Id":"r3","NServiceBus.CallType":"SingleCallSubmit"},"Message":[1,256]}')" "256 is no byte"
same 400 "$(post '{"Headers":{"NServiceBus.Id":"r3","NServiceBus.CallType":"SingleCallSubmit"},"Message":[1')" "half an envelope"
same 400 "$(post '{"Headers":{"NServiceBus.Id":"r3","nservicebus.id":"r4","NServiceBus.CallType":"SingleCallSubmit"},"Message":[1]}')" "a header twice"
check_not "nothing of that was stored" has recv Many 4

start_site far
printf '%s' "caf\"é" | send --to X --site "X=${URL[far]},httpvnext" --id v1 --header $'T=a\tb' >/dev/null
plan_site far '200 OK'
run_exit 75 forward --once --site "X=${URL[far]},httpvnext"
like 'expected the MD5 of the request' "$err" "OK is no answer of httpvnext"
request=$(sed '1,/^\r$/d' far/1.request)
like '^Content-Type: application/json' "$(tr -d '\r' <far/1.request)"
like '^[{]"Headers":[{]"NServiceBus.Id":"v1",.*"NServiceBus.Header.T":"a\\tb",.*"Content-MD5":"[A-Za-z0-9+/]{22}=="[}],"Message":\[99,97,102,34,195,169\][}]$' "$request"
same "$(header far/1.request Content-Length)" "$(printf '%s' "$request" | wc -c)" "length"
same null "$(printf '%s' "$request" | jq '.Headers.Date')" "no header that is not the message's"
stop_daemon many

# --- a limit of its own for each channel --------------------------------------------------------------------------------------
port=$(free_port)
slots() { # how many at once on the first channel
  cat >slots.xml.new <<END
<gatepost><Gateway Endpoint="Slots"><Channels><Channel Address="http://127.0.0.1:$port/a/" MaxConcurrency="$1"/>
<Channel Address="http://127.0.0.1:$port/b/" MaxConcurrency="1"/></Channels></Gateway></gatepost>
END
  mv slots.xml.new slots.xml
}
put() { # PATH ID
  curl -s -m 20 -X POST -H "NServiceBus.Id: $2" -H 'NServiceBus.CallType: SingleCallSubmit' --data-binary hello "http://127.0.0.1:$port$1"
}
slots 1
start_daemon slots gw-listen --root "$T/recv" --config slots.xml
exec 4<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /a/ HTTP/1.1\r\nHost: x\r\nNServiceBus.Id: slow\r\nNServiceBus.CallType: SingleCallSubmit\r\nContent-Length: 5\r\n\r\nhel' >&4
put /a/ waits >waited &
waiting=$!
same OK "$(put /b/ other)" "another channel has its own places"
check "the one place is taken" [ ! -s waited ]
slots 2
kill -HUP "${DAEMON[slots]}"
wait "$waiting"
same OK "$(cat waited)" "a second place, after the configuration has changed"
printf 'lo' >&4
read -r -t 10 line <&4
like '^HTTP/1.1 200 ' "$line"
exec 4>&-
wait_until 10 has recv Slots 3
stop_daemon slots

done_testing
