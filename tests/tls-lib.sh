# Certificates for tests, made when they are needed; source it after lib.sh. Skips the test if openssl is missing.
#   make_ca NAME                    NAME.pem, NAME.key
#   make_cert NAME CA SAN [OPT...]  NAME.pem, NAME.key (mode 0600), signed by CA; SAN as openssl writes it (DNS:a,IP:1.2.3.4);
#                                   OPT for `openssl x509 -req`, like -days 2
#   make_expired NAME CA SAN        the same, of yesterday
#   fingerprint FILE                sha256:... of a certificate
# Keys are on the curve P-256: made in milliseconds.
# shellcheck shell=bash

command -v openssl >/dev/null || skip_all "openssl is not installed"

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

make_ca() {
  openssl req -x509 "${new_key[@]}" -keyout "$1.key" -out "$1.pem" -days 30 -subj "/CN=$1" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>"$1.log" || { cat "$1.log"; return 1; }
}
make_cert() {
  local name=$1 ca=$2 san=$3
  shift 3
  { openssl req "${new_key[@]}" -keyout "$name.key" -out "$name.csr" -subj "/CN=$name" &&
    openssl x509 -req -in "$name.csr" -CA "$ca.pem" -CAkey "$ca.key" -CAcreateserial -out "$name.pem.new" \
      -extfile <(echo "subjectAltName=$san") ${1+"$@"}; } 2>"$name.log" || { cat "$name.log"; return 1; }
  chmod 600 "$name.key"
  mv "$name.pem.new" "$name.pem"
}
make_expired() {
  make_cert "$@" || return
  printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s.db\nserial=%s.ser\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nx509_extensions=x\n[p]\nCN=supplied\n[x]\nsubjectAltName=%s\n' \
    "$1" "$1" "$3" >"$1.cnf"
  : >"$1.db"
  echo 01 >"$1.ser"
  openssl ca -batch -config "$1.cnf" -in "$1.csr" -cert "$2.pem" -keyfile "$2.key" -out "$1.pem" -notext \
    -startdate 20200101000000Z -enddate 20200201000000Z 2>"$1.log" || { cat "$1.log"; return 1; }
}
fingerprint() { printf 'sha256:%s\n' "$(openssl x509 -in "$1" -outform DER | sha256sum | cut -d' ' -f1)"; }
