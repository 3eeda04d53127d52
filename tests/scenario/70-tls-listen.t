#!/bin/bash
# https channels: who gets in and who does not, certificates that say who somebody is, tokens, files that change.
# timeout: 120
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/tls-lib.sh"

for ca in ours theirs; do check "a CA, $ca" make_ca "$ca"; done
make_cert server ours DNS:localhost,IP:127.0.0.1
make_cert store17 ours DNS:Store17.example,URI:urn:store:17
make_cert store18 ours IP:10.0.0.18,DNS:other.example
make_cert nobody ours DNS:nobody.example
make_cert alien theirs DNS:store17.example
make_expired old ours DNS:store17.example
tls=(--tls-cert server.pem --tls-key server.key)

# post URL ID [CURL-OPTION...]: sends a message; prints the status and the body, or what curl says.
post() {
  local url=$1 id=$2
  shift 2
  curl -sS -m 20 --cacert ours.pem -w '\n%{http_code}' -H "NServiceBus.Id: $id" -H 'NServiceBus.CallType: SingleCallSubmit' \
    -H 'NServiceBus.Gateway: True' -H 'NServiceBus.Header.NServiceBus.OriginatingEndpoint: '"${ENDPOINT-Shop}" \
    -H 'NServiceBus.Header.Gatepost.Site: forged' --data-binary "body of $id" "$@" "$url" 2>&1
}
as() { printf -- '--cert %s.pem --key %s.key' "$1" "$1"; }
# answered STATUS URL ID [CURL-OPTION...]
answered() {
  local expected=$1
  shift
  out=$(post "$@")
  same "$expected" "$(tail -n 1 <<<"$out")" "$expected for $2" || note "$out"
}
port_of() { local port=${1##*localhost:}; echo "${port%%/*}"; }
refused_event() { wait_until 10 grep -q "tls-refused .*$2" "$1.err"; }

# --- a server certificate and nothing else ---
start_daemon plain gw-listen --endpoint HQ --channel https://localhost:0/HQ/ "${tls[@]}"
like '^ready https://localhost:[1-9][0-9]*/HQ/$' "$ready_line"
url=${ready_line#ready }
answered 200 "$url" first
answered 200 "$url" first -k
same 1 "$(queue-inspect list HQ --json | wc -l)" "once"
same null "$(queue-inspect list HQ --json | jq -r '.headers["Gatepost.Site"]')" "nobody is taken for what he says to be"
like 'self-signed|unable to get local issuer|self signed' "$(curl -sS -m 20 "$url" 2>&1)" "the system's CAs do not know it"
refused_event plain 'unknown ca'
port=$(port_of "$url")
like 'no alternative certificate subject name' "$(curl -sS -m 20 --cacert ours.pem --resolve "elsewhere:$port:127.0.0.1" "https://elsewhere:$port/HQ/" 2>&1)" "another name"
for version in 1.0 1.1; do
  like 'protocol version|unsupported protocol|internal error' "$(curl -sS -m 20 --cacert ours.pem --tlsv1.0 --tls-max "$version" --ciphers DEFAULT@SECLEVEL=0 "$url" 2>&1)" "TLS $version"
done
refused_event plain 'speaks no TLS version that is allowed, expected TLS 1.2'
for version in 1.2 1.3; do
  same 200 "$(curl -sS -m 20 --cacert ours.pem --tls-max "$version" --tlsv"$version" -o /dev/null -w '%{http_code}' "$url" 2>&1)" "TLS $version"
done
like 'Empty reply' "$(curl -sS -m 20 "http${url#https}" 2>&1)" "plain HTTP"
refused_event plain 'plain HTTP came to an https channel'
same 200 "$(curl -sS -m 20 --cacert ours.pem -o /dev/null -w '%{http_code}' "${url%HQ/}healthz")"
if command -v strace >/dev/null; then like "$BUILD/libexec/gatepost/libssl.so" "$(cat "/proc/$daemon_pid/maps")" "with the library that stands in for OpenSSL 1.1"; else skip 1 "no /proc"; fi
stop_daemon plain

# --- client certificates ---
start_daemon mutual gw-listen --endpoint HQ --channel https://localhost:0/HQ/ "${tls[@]}" --tls-client-ca ours.pem
url=${ready_line#ready }
# shellcheck disable=SC2046
answered 200 "$url" mutual-1 $(as store17)
for tls_max in 1.2 1.3; do
  like 'alert certificate required|alert handshake failure' "$(post "$url" none --tls-max $tls_max)" "no certificate, TLS $tls_max"
  # shellcheck disable=SC2046
  like 'unknown ca' "$(post "$url" alien $(as alien) --tls-max $tls_max)" "another CA, TLS $tls_max"
  # shellcheck disable=SC2046
  like 'certificate expired|certificate verification failed' "$(post "$url" expired $(as old) --tls-max $tls_max)" "expired, TLS $tls_max"
done
refused_event mutual 'shown no certificate, and ClientCa demands one'
refused_event mutual 'unable to get local issuer certificate.* subject="CN=alien"' 
refused_event mutual 'certificate has expired.* subject="CN=old"' 
# A CA that the system trusts is not ours.
printf '%s\n' "$(cat theirs.pem)" >bundle.pem
kill_daemon mutual
start_daemon mutual env SSL_CERT_FILE="$T/bundle.pem" gw-listen --endpoint HQ --channel "$url" "${tls[@]}" --tls-client-ca ours.pem
# shellcheck disable=SC2046
like 'unknown ca' "$(post "$url" alien $(as alien))" "a CA of the system's store"

# 400 at once, each with a connection of its own.
four_hundred() {
  local i
  for i in $(seq 40); do
    printf 'next\nurl = "%s"\ncacert = ours.pem\ncert = store17.pem\nkey = store17.key\noutput = /dev/null\nwrite-out = "%%{http_code}\\n"\nsilent\nshow-error\n' "$url"
    printf 'header = "NServiceBus.Id: many-%s"\nheader = "NServiceBus.CallType: SingleCallSubmit"\nheader = "Connection: close"\ndata = "x"\n' "$1-$i"
  done | sed 1d >"many.$1"
  curl -m 60 --parallel --parallel-immediate --parallel-max 40 -K "many.$1"
}
export -f four_hundred; export url
many() { seq 10 | xargs -P 10 -I N bash -c 'four_hundred N' | sort | uniq -c | xargs; }
same "400 200" "$(many)" "400 requests with client certificates"
check "it lives" kill -0 "${DAEMON[mutual]}"
same 400 "$(queue-inspect list HQ --where 'id~^many-' --json | wc -l)" "and all are there"
stop_daemon mutual

# --- who it is ---
cat >config.xml <<END
<gatepost><Gateway Endpoint="HQ"><Channels>
  <Channel Address="https://localhost:0/HQ/" Cert="server.pem" Key="server.key" ClientCa="ours.pem" AllowEndpoints="Nobody">
    <Client Name="Store17" San="store17.EXAMPLE" AllowEndpoints="Shop,Till"/>
    <Client Name="Store18" San="10.0.0.18" Fingerprint="$(fingerprint store18.pem | tr a-f A-F | sed s/ShA256:/sha256:/i)" AllowEndpoints="Other"/>
    <Client Name="Wrong" San="nobody.example" Fingerprint="$(fingerprint store17.pem)"/>
  </Channel>
</Channels></Gateway></gatepost>
END
start_daemon map gw-listen --config config.xml
url=${ready_line#ready }
# shellcheck disable=SC2046
{
  answered 200 "$url" who-17 $(as store17)
  answered 403 "$url" who-18 $(as store18)
  ENDPOINT=Other answered 200 "$url" who-18b $(as store18)
  ENDPOINT=Other answered 403 "$url" who-17b $(as store17)
  ENDPOINT='' answered 403 "$url" who-17c $(as store17)
  answered 403 "$url" who-none $(as nobody)
}
like 'certificate .CN=nobody. sha256:[0-9a-f]* fits no Client' "$out"
site_of() { queue-inspect show HQ "$1" --json | jq -r '.headers["Gatepost.Site"]'; }
same "Store17 Store18" "$(site_of who-17) $(site_of who-18b)"
stop_daemon map

# --- tokens ---
printf '# comment\n\nStore17 s3cret\nplain-token\n' >tokens
chmod 600 tokens
start_daemon token gw-listen --endpoint HQ --channel http://localhost:0/HQ/ --token-file tokens
url=${ready_line#ready }
answered 401 "$url" token-none
answered 401 "$url" token-wrong -H 'Authorization: Bearer s3cre'
answered 401 "$url" token-name -H 'Authorization: Bearer Store17'
answered 401 "$url" token-basic -u Store17:s3cret
answered 200 "$url" token-17 -H 'Authorization: Bearer s3cret'
answered 200 "$url" token-plain -H 'authorization: bearer plain-token'
same "Store17 null" "$(site_of token-17) $(site_of token-plain)"
like 'WWW-Authenticate: Bearer' "$(curl -sS -m 20 -D - "$url" 2>&1)" "the status page needs one too"
same 200 "$(curl -sS -m 20 -o /dev/null -w '%{http_code}' "${url%HQ/}healthz")" "health does not"
# Before the body: the length says 1 GB, and no byte of it comes.
like '^HTTP/1.1 401 ' "$(printf 'POST /HQ/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\nNServiceBus.Id: big\r\n\r\n' |
  timeout 10 python3 -c 'import socket, sys; s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5); s.sendall(sys.stdin.buffer.read()); print(s.recv(4096).decode())' \
    "$(port_of "$url")")" "401 before the body"

# New tokens count without a restart; a file that is no good does not, and is named.
printf 'Store19 new-token\n' >tokens.new
chmod 600 tokens.new
mv tokens.new tokens
new_token() { [ "$(post "$url" "new-$RANDOM" -H 'Authorization: Bearer new-token' | tail -n 1)" = 200 ]; }
wait_until 10 new_token
answered 401 "$url" token-old -H 'Authorization: Bearer s3cret'
chmod 644 tokens
wait_until 10 grep -q "certificates-rejected .*'$T/tokens' is not private: its mode is 0644\|certificates-rejected .*'tokens' is not private: its mode is 0644" token.err
check "the old ones stay" new_token
stop_daemon token

# --- new certificates without a restart ---
for name in cert key; do cp "server.${name/cert/pem}" "live.$name"; done
start_daemon live gw-listen --endpoint HQ --channel https://localhost:0/HQ/ --tls-cert live.cert --tls-key live.key
url=${ready_line#ready }
serial() { openssl s_client -connect "localhost:$(port_of "$url")" -CAfile ours.pem </dev/null 2>/dev/null | openssl x509 -noout -serial; }
old_serial=$(serial)
like '^serial=[0-9A-F]+$' "$old_serial"
echo rubbish >live.cert
wait_until 10 grep -q "certificates-rejected .*'live.cert' has no certificate" live.err
same "$old_serial" "$(serial)" "the old certificate stays"
make_cert fresh ours DNS:localhost
cp fresh.pem live.cert
cp fresh.key live.key
new_serial() { [ "$(serial)" = "$(openssl x509 -in fresh.pem -noout -serial)" ]; }
wait_until 10 new_serial
answered 200 "$url" live
stop_daemon live

# --- refused at the start ---
make_cert other ours DNS:localhost
run_exit 78 gw-listen --endpoint E --channel https://localhost:0/ --tls-cert server.pem --tls-key other.key
like "the key 'other.key' does not fit the certificate 'server.pem'" "$err"
run_exit 78 gw-listen --endpoint E --channel https://localhost:0/
like 'https without a certificate' "$err"
run_exit 78 gw-listen --endpoint E --channel https://localhost:0/ "${tls[@]}" --tls-client-ca absent.pem
like "'absent.pem'" "$err"
run_exit 78 gw-listen --endpoint E --channel https://localhost:0/ "${tls[@]}" --tls-client-ca server.key
like "'server.key' has no certificate" "$err"
for list in NONSENSE ECDHE+AESGCM:NONSENSE '' ':'; do
  [ -n "$list" ] || continue
  run_exit 78 gw-listen --endpoint E --channel https://localhost:0/ "${tls[@]}" --tls-ciphers "$list"
done
openssl pkey -in server.key -aes128 -passout pass:x -out locked.key
chmod 400 locked.key
run_exit 78 gw-listen --endpoint E --channel https://localhost:0/ --tls-cert server.pem --tls-key locked.key
like 'has a passphrase' "$err"
for mode in 644 640 660 604; do
  cp server.key open.key
  chmod $mode open.key
  run_exit 77 gw-listen --endpoint E --channel https://localhost:0/ --tls-cert server.pem --tls-key open.key
  like "'open.key' is not private" "$err"
done
run_exit 77 gw-listen --endpoint E --channel http://localhost:0/ --token-file open.key
: >empty
chmod 400 empty
run_exit 78 gw-listen --endpoint E --channel http://localhost:0/ --token-file empty
run_exit 64 gw-listen --endpoint E --channel https://localhost:0/ --tls-cert server.pem
run_exit 64 gw-listen --endpoint E --channel http://localhost:0/ "${tls[@]}"
run_exit 64 gw-listen --endpoint E --channel http://localhost:0/ --tls-client-ca ours.pem
if [ "$(id -u)" = 0 ]; then
  cp server.key foreign.key
  chmod 600 foreign.key
  chown 65534 foreign.key
  run_exit 77 gw-listen --endpoint E --channel https://localhost:0/ --tls-cert server.pem --tls-key foreign.key
  like "'foreign.key' is not private: it belongs to user 65534" "$err"
else
  skip 2 "only the superuser can give files away"
fi

# channel_file ATTRIBUTES [CONTENT]: the same from a file, line 2.
channel_file() {
  printf '<gatepost><Gateway Endpoint="E"><Channels>\n<Channel %s>%s</Channel></Channels></Gateway></gatepost>' "$1" "${2-}" >config.xml
}
https='Address="https://localhost:0/E/"' pair='Cert="server.pem" Key="server.key"' known='Name="A" San="a"'
bad() {
  local text=$1
  shift
  channel_file "$@"
  run_exit 78 gw-listen --config config.xml
  like "config.xml:2: .*$text" "$err"
  run_exit 78 gw-send --config config.xml --check-config
  like "^$T/config.xml:2: .*$text|^config.xml:2: .*$text" "$err"
}
bad 'https without a certificate' "$https"
bad "does not fit the certificate" "$https Cert=\"server.pem\" Key=\"other.key\""
bad "unknown ciphers 'NONSENSE'" "$https $pair Ciphers=\"NONSENSE\""
bad 'Client elements without ClientCa' "$https $pair" "<Client $known/>"
bad 'expected San or Fingerprint' "$https $pair ClientCa=\"ours.pem\"" '<Client Name="A"/>'
bad 'ClientCa with the address' 'Address="http://localhost:0/E/" ClientCa="ours.pem"'
bad 'has no certificate' "$https $pair ClientCa=\"tokens\""
chmod 600 tokens
channel_file "$https $pair ClientCa=\"ours.pem\" Ciphers=\"ECDHE+AESGCM:!aNULL:TLS_AES_128_GCM_SHA256\" TokenFile=\"tokens\"" "<Client $known/>"
run_ok gw-listen --config config.xml --check-config
same '' "$out$err"
done_testing
