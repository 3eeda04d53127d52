#!/bin/bash
# Real proxies in front of gw-listen: nginx with its defaults breaks the format, the example configurations mend it; HAProxy
# balances two listeners of one root, of which one dies under load.
# timeout: 120
. "$(dirname "$0")/../lib.sh"

examples=$SRC/scripts/scale-out
nginx=$(command -v nginx || command -v /usr/sbin/nginx)
haproxy=$(command -v haproxy || command -v /usr/sbin/haproxy)
[ -n "$nginx$haproxy" ] || skip_all "neither nginx nor haproxy is installed"

cat >config.xml <<'END'
<gatepost>
  <Gateway Endpoint="Store1">
    <Channels>
      <Channel Address="http://127.0.0.1:PORT/Store1/" HeaderNames="Shop.Till"/>
      <Channel Address="http://127.0.0.1:PORT/V/" ChannelType="httpvnext"/>
    </Channels>
  </Gateway>
</gatepost>
END
# listener NAME [PORT]: one more on the same root; sets port.
listener() {
  port=${2:-$(free_port)}
  sed "s/PORT/$port/" config.xml >"$1.xml"
  start_daemon "$1" gw-listen --config "$1.xml"
}
# through_envelope: httpvnext passes the proxy as it is, with all headers in their case.
through_envelope() {
  run_ok gw-send --to V --site "V=http://127.0.0.1:$front/V/,httpvnext" --header 'Other.Name=1' --header 'a_b=2' --type Prices --wait delivered \
    --timeout 20s config.xml
  queue-inspect take Store1 --json >taken.json
  same '["1","2","Prices"]' "$(jq -c '[.headers["Other.Name"], .headers["a_b"], .headers["NServiceBus.EnclosedMessageTypes"]]' taken.json)" \
    "httpvnext keeps all headers"
}
listener listen1
port1=$port
listener listen2
port2=$port
front=$(free_port)
url=http://127.0.0.1:$front/Store1/
answers() { curl -s -o answer -m 2 "http://127.0.0.1:$1/healthz"; }
send() { run_exit "$1" gw-send --to S --site "S=$url" --type Prices --wait delivered --timeout 20s "${@:2}"; }

# --- nginx --------------------------------------------------------------------------------------------------------------
# start_nginx SITE-CONFIGURATION: as /etc/nginx/nginx.conf includes it.
start_nginx() {
  local temp=''
  for name in client_body proxy fastcgi uwsgi scgi; do temp+="${name}_temp_path $T/nginx-$name; "; done
  cat >nginx.conf <<END
$([ "$(id -u)" != 0 ] || echo 'user root;')
pid $T/nginx.pid; worker_processes 1; daemon off;
events { }
http { access_log off; $temp include $1; }
END
  start_background nginx "$nginx" -p "$T" -c "$T/nginx.conf" -e "$T/nginx.log"
  wait_until 10 answers "$front"
}
if [ -z "$nginx" ]; then
  skip 1 "nginx is not installed"
else
  echo "server { listen 127.0.0.1:$front; location / { proxy_pass http://127.0.0.1:$port1; } }" >defaults.conf
  start_nginx "$T/defaults.conf"
  run_exit 1 gw-send probe --to S --site "S=$url"
  like '^NServiceBus.Id +lost$' "$out"
  like "ignore_invalid_headers off" "$err"
  run_exit 69 gw-send probe --to S --site "S=$url" --size 2M
  like 'client_max_body_size' "$err"
  run_exit 75 gw-send --to S --site "S=$url" --wait delivered --timeout 2s config.xml
  like "400 Required header 'NServiceBus.Id' missing" "$out"
  wait_until 5 grep -q 'refused .*hint="no header of a gateway arrived.*Content-MD5.*ignore_invalid_headers off' listen1.err
  run_ok queue-inspect purge site.S --all
  through_envelope
  kill_daemon nginx TERM

  sed -e "s/listen 8080/listen 127.0.0.1:$front/" -e "s/:8081 /:$port1 /" -e "s/:8082 /:$port2 /" "$examples/nginx.conf" >example.conf
  start_nginx "$T/example.conf"
  run_ok gw-send probe --to S --site "S=$url" --size 2M --header "a_b=$(printf 'x%.0s' {1..9000})"
  unlike 'lost|lower-cased|changed' "$out"
  head -c 5000000 /dev/urandom >blob
  send 0 --header 'Shop.Till=7' --header 'a_b=1' blob
  queue-inspect list Store1 --json >taken.json
  queue-inspect take Store1 >taken
  check "the body is the same" cmp blob taken
  same '["7","1"]' "$(jq -c '[.headers["Shop.Till"], .headers["a_b"]]' taken.json)"
  # A listener dies: nginx goes to the other one.
  kill_daemon listen1
  for i in 1 2 3; do send 0 --id "n-$i" config.xml; done
  listener listen1 "$port1"
  run_ok queue-inspect purge Store1 --all
  kill_daemon nginx TERM
fi

# --- HAProxy ------------------------------------------------------------------------------------------------------------
if [ -z "$haproxy" ]; then
  skip 1 "haproxy is not installed"
else
  sed -e "s/bind :8080/bind 127.0.0.1:$front/" -e "s/:8081/:$port1/" -e "s/:8082/:$port2/" "$examples/haproxy.cfg" >haproxy.cfg
  sed -e 's/#\(.*h1-case\)/\1/' -e "s,/etc/haproxy/haproxy-case.map,$examples/haproxy-case.map," haproxy.cfg >haproxy-case.cfg

  # For the original: the names as they were. Those of the probe that are no known ones stay in lower case.
  start_background haproxy "$haproxy" -db -f haproxy-case.cfg
  wait_until 10 answers "$front"
  run_ok gw-send probe --to S --site "S=$url" --json
  same "" "$(jq -r '.lowercased[]' <<<"$out" | grep NServiceBus.Header.NServiceBus)" "names of NServiceBus keep their case"
  kill_daemon haproxy

  start_background haproxy "$haproxy" -db -f haproxy.cfg
  wait_until 10 answers "$front"
  run_ok gw-send probe --to S --site "S=$url"
  like '^NServiceBus.Id +lower-cased$' "$out"
  like 'beside them: x-forwarded-for' "$out"
  send 0 --header 'Shop.Till=7' --header 'Other.Name=8' config.xml
  queue-inspect take Store1 --json >taken.json
  same '["7",null,"8","Prices"]' \
    "$(jq -c '[.headers["Shop.Till"], .headers["Other.Name"], .headers["other.name"], .headers["NServiceBus.EnclosedMessageTypes"]]' taken.json)" \
    "HeaderNames and the names of NServiceBus get their case back"

  through_envelope

  # Under load one listener is killed, started again, then the other one; one is told to end.
  seq 2000 | sed 's/$/ line of a message/' | gw-send --to S --site "S=$url" --lines --ids -q >ids 2>send.err
  same 2000 "$(wc -l <ids)" "stored"
  start_background forward gw-send forward --drain --site "S=$url" --retry-increment 1s --retries 20 --max-transfers 16
  some() { [ "$(queue-inspect list Store1 --json | wc -l)" -ge "$1" ]; }
  wait_until 20 some 300
  kill_daemon listen1
  listener listen1 "$port1"
  wait_until 20 some 900
  kill_daemon listen2
  listener listen2 "$port2"
  wait_until 20 some 1300
  stop_daemon listen1
  listener listen1 "$port1"
  wait_daemon forward 60
  same 0 "$status" "the forwarder has sent all"
  queue-inspect list Store1 --json | jq -r .id | sort >arrived
  same "$(sort ids)" "$(cat arrived)" "2000 messages, each once"
  note "failed attempts: $(grep -c attempt-failed forward.err)"
  run_exit 1 queue-inspect take error
  kill_daemon haproxy
fi
stop_daemon listen1
stop_daemon listen2
done_testing
