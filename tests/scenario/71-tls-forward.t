#!/bin/bash
# https sites: verification, client certificates, tokens, proxies, and files that change.
# timeout: 120
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"
. "$SRC/tests/tls-lib.sh"

for ca in ours theirs; do make_ca "$ca"; done
make_cert server ours DNS:localhost
make_cert hq ours DNS:hq.example
make_cert alien theirs DNS:hq.example
make_cert elsewhere ours DNS:elsewhere.example
make_expired old ours DNS:localhost
printf 'hq s3cret\nother\n' >tokens
chmod 600 tokens
far=$T/far
cat >far.xml <<'END'
<gatepost><Gateway Endpoint="Store1"><Channels>
  <Channel Address="https://localhost:0/Store1/" Cert="server.pem" Key="server.key" ClientCa="ours.pem" TokenFile="tokens">
    <Client Name="HQ" San="hq.example"/>
  </Channel>
</Channels></Gateway></gatepost>
END
start_daemon store gw-listen --root "$far" --config far.xml
url=${ready_line#ready }
whole='CaFile="ours.pem" ClientCert="hq.pem" ClientKey="hq.key" TokenFile="token"'
printf 'hq s3cret\n' >token
chmod 400 token
echo hello >body
got() { queue-inspect list Store1 --root "$far" --json | wc -l; }

# --- everything fits ---
write_config 'Endpoint="HQ" Retries="0"' "Key=\"Store1\" Address=\"$url\" $whole"
run_ok gw-send --check-config
run_ok gw-send --to Store1 --id first --header Gatepost.Site=Nowhere --wait delivered --timeout 20s body
same HQ "$(queue-inspect show Store1 first --root "$far" --json | jq -r '.headers["Gatepost.Site"]')" "the receiver says who it was"
run_ok bash -c 'seq 300 | gw-send --to Store1 --lines -q'
run_ok gw-send forward --drain
same 301 "$(got)"
run_ok gw-send probe --to Store1
run_ok gw-send --to Store1 --id huge <(head -c 3000000 /dev/urandom)
run_ok gw-send forward --once

# --- from the command line, for sites without their own ---
n=0
# once EXIT OPTION...: one message, one try; the reason is in $reason.
once() {
  local code=$1 id
  shift
  n=$((n + 1))
  id=n$n
  gw-send --to Store1 --id $id body >/dev/null 2>&1 || fail "store $id"
  run_exit "$code" gw-send forward --once "$@"
  reason=$(sed -n "s/.* id=$id .*reason=//p" <<<"$err")
}
write_config 'Endpoint="HQ" Retries="0"' "Key=\"Store1\" Address=\"$url\" TokenFile=\"token\""
once 0 --cacert ours.pem --cert hq.pem --key hq.key
run_ok gw-send --to Store1 --id waited --wait delivered --timeout 20s --cacert ours.pem --cert hq.pem --key hq.key body
run_exit 64 gw-send --to Store1 --cacert ours.pem body
like '^gw-send: --cacert goes with --wait' "$err"
once 1
like 'SSL certificate problem: (unable to get local issuer|self.signed)' "$reason" "the system's CAs do not know it"
once 1 --cacert theirs.pem --cert hq.pem --key hq.key
like 'SSL certificate problem' "$reason"
same null "$(gw-send status --json | jq -r 'select(.kind == "site") | .last_error | if startswith("SSL certificate problem") then null else . end')" "last_error is the library's text"
once 1 --cacert ours.pem
like 'alert certificate required' "$reason" "an alert after the handshake"
unlike 'status=' "$err" "no answer"
once 1 --cacert ours.pem --cert alien.pem --key alien.key
like 'unknown ca' "$reason"
run_exit 64 gw-send forward --once --cert hq.pem
run_exit 78 gw-send forward --once --cert hq.pem --key alien.key
like "'alien.key' does not fit the certificate 'hq.pem'" "$err"
run_exit 78 gw-send forward --once --cacert absent.pem
chmod 644 alien.key
run_exit 77 gw-send forward --once --cert alien.pem --key alien.key
like "'alien.key' is not private" "$err"
run_exit 69 gw-send wait --timeout 0 n1 n2
like 'Store1 failed .*reason="SSL certificate problem' "$out"

# The system's directory of CAs counts only without a CaFile.
mkdir certs
cp theirs.pem certs/theirs.pem
openssl rehash certs >/dev/null
make_cert impostor theirs DNS:localhost
# serve NAME [OPTION...]: a TLS server that answers nothing, its traffic in NAME.seen
serve() {
  local name=$1
  shift
  port=$(free_port)
  start_background "$name" bash -c 'exec openssl s_server -quiet -accept "$1" -cert "$2.pem" -key "$2.key" "${@:3}" </dev/null >"$2.seen"' - "$port" "$name" "$@"
  wait_until 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
}
for case in 'impostor:self.signed|unable to get local issuer' 'elsewhere:no alternative certificate subject name' 'old:certificate has expired'; do
  name=${case%%:*}
  serve "$name"
  write_config 'Endpoint="HQ" Retries="0"' "Key=\"Store1\" Address=\"https://localhost:$port/\" CaFile=\"ours.pem\" TokenFile=\"token\""
  SSL_CERT_DIR=$T/certs once 1
  like "${case#*:}" "$reason" "$name"
  kill_daemon "$name"
  same '' "$(cat "$name.seen")" "not one byte was sent to $name"
done

# --- wrong from the file ---
bad() {
  local code=$1 text=$2
  write_config 'Endpoint="HQ"' "Key=\"Store1\" Address=\"$url\" $3"
  run_exit "$code" gw-send forward --once
  like "config.xml:2: .*$text" "$err"
  run_exit "$code" gw-send --check-config
  like "config.xml:2: .*$text" "$err"
}
bad 78 'does not fit the certificate' 'ClientCert="hq.pem" ClientKey="server.key"'
bad 78 'has no certificate' 'CaFile="tokens"'
bad 78 'ProxyUserFile without Proxy' 'ProxyUserFile="token"'
cp token open
chmod 644 open
bad 77 'open' 'TokenFile="open"'
: >empty
chmod 600 empty
bad 78 'has no token' 'TokenFile="empty"'

write_config 'Endpoint="HQ"' 'Key="Plain" Address="http://127.0.0.1:1/"'
run_exit 78 gw-send forward --once --cacert absent
like "'absent'" "$err" "a wrong file is found without an https site too"
run_exit 78 gw-send forward --once --cert hq.pem --key server.key
run_exit 78 gw-send probe --to Plain --cacert absent

# --- proxies: plain, tunnel, with a user ---
mkdir -p px
printf 'joe:pa:ss word\n' >proxyuser
chmod 600 proxyuser
start_daemon proxy python3 "$SRC/tests/proxy.py" px 'joe:pa:ss word'
proxy=${ready_line#ready }
start_site plain
write_config 'Endpoint="HQ" Retries="0"' "Key=\"Store1\" Address=\"$url\" $whole Proxy=\"$proxy\" ProxyUserFile=\"proxyuser\"" \
  "Key=\"Plain\" Address=\"${URL[plain]}\" Proxy=\"$proxy\" ProxyUserFile=\"proxyuser\"" \
  "Key=\"Denied\" Address=\"$url\" $whole Proxy=\"$proxy\""
once 0
like '^CONNECT localhost:[0-9]* ' "$(tail -n 1 px/log)"
unlike 's3cret|NServiceBus' "$(grep ^CONNECT px/log)" "the proxy sees neither token nor message"
run_ok env http_proxy=http://127.0.0.1:1 no_proxy='*' gw-send --to Plain --id plain-1 --wait delivered --timeout 20s body
like "^POST http://127.0.0.1:[0-9]*/" "$(tail -n 1 px/log)"
unlike 'Proxy-Authorization' "$(cat plain/*.request)"
gw-send --to Denied --id denied body >/dev/null 2>&1
run_exit 1 gw-send forward --once
like 'id=denied.*407' "$err"
stop_daemon proxy 143

# --- new files without a restart ---
cp hq.pem live.pem
cp hq.key live.key
cp token live.token
chmod 600 live.token
write_config 'Endpoint="HQ" Retries="1000" RetryIncrement="100ms"' "Key=\"Store1\" Address=\"$url\" CaFile=\"ours.pem\" ClientCert=\"live.pem\" ClientKey=\"live.key\" TokenFile=\"live.token\""
start_daemon sender gw-send forward
run_ok gw-send --to Store1 --id live-1 --wait delivered --timeout 20s body
echo rubbish >live.pem
wait_until 10 grep -q "certificates-rejected .*live.pem' has no certificate" sender.err
run_ok gw-send --to Store1 --id live-2 --wait delivered --timeout 20s body
make_cert live ours DNS:hq.example
wait_until 10 grep -q 'certificates-read site=Store1' sender.err
echo wrong >live.token
token_refused() { gw-send --to Store1 body >/dev/null 2>&1; grep -q 'attempt-failed.*status=401' sender.err; }
wait_until 10 token_refused
echo s3cret >live.token
run_ok gw-send --to Store1 --id live-3 --wait delivered --timeout 20s body
stop_daemon sender
stop_daemon store
unlike 's3cret|pa:ss' "$(cat ./*.err)" "no secret in any event"
done_testing
