#!/usr/bin/env bash
# export and import: a tar archive that others can read, all of it or nothing, once.
# asan: yes
. "$(dirname "$0")/../lib.sh"

put() { printf '%s' "$2" | queue-inspect put "$1" "${@:3}" >/dev/null; }
summary() {
  queue-inspect --root "$1" show "$2" --all --json | python3 -c '
import hashlib, json, sys, base64
for line in sys.stdin:
    o = json.loads(line)
    body = o["body"].encode() if "body" in o else base64.b64decode(o["body_base64"]) if "body_base64" in o else open(o["body_file"], "rb").read()
    print(o["id"], o["state"], o.get("due_at"), o.get("expires_at"), hashlib.sha256(body).hexdigest()[:16], sorted(o["headers"].items()))'
}
export_all() { queue-inspect export --all >all.tar; }
import() { queue-inspect --root "$1" import "${@:3}" <"$2"; }

run_ok queue-inspect create Sales Other Empty "$(head -c 150 /dev/zero | tr '\0' q)"
put Sales one --id a1 --type T --header 'Note=100% "quoted"'
put Sales two --ttl 1h
put Sales "" --id empty
put Sales later --id d1 --at 2099-01-01T00:00:00Z
head -c 300000 /dev/urandom >big
run_ok queue-inspect put Sales big --id big
python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)))' | queue-inspect put Other >/dev/null
put "$(head -c 150 /dev/zero | tr '\0' q)" x
run_ok export_all
before=$(summary root Sales)

# GNU tar reads it.
mkdir unpacked
run_ok bash -c 'tar -C unpacked -xf all.tar 2>tar.err'
same one "$(cat unpacked/Sales/1.body)"
check "a large body" cmp unpacked/Sales/5.body big
like '^NServiceBus.MessageId: a1$' "$(cat unpacked/Sales/1.headers)"
like '^Note: 100%25 "quoted"$' "$(cat unpacked/Sales/1.headers)"

# Into a new root.
run_exit 66 import copy all.tar
run_ok import copy all.tar --create -v
like 'stored=7' "$err"
same "$before" "$(summary copy Sales)" "the same messages in the same order"
same "$(summary root Other)" "$(summary copy Other)"
run_ok queue-inspect --root copy list --json
same 4 "$(wc -l <.out | tr -d ' ')" "empty queues come along"

# Again: nothing comes twice, not even what was handled meanwhile.
run_ok queue-inspect --root copy take Sales a1
run_ok import copy all.tar
like 'stored=0 already_there=7' "$err"
same 4 "$(queue-inspect --root copy list --json Sales | wc -l | tr -d ' ')"
run_ok bash -c 'cat all.tar | queue-inspect --root copy import'
like 'stored=0 already_there=7' "$err"

# Back into the queues it came from: what is there still is passed over, what was purged comes back.
run_ok queue-inspect purge Sales a1 big
run_ok import root all.tar
like 'stored=2 already_there=5' "$err"
same "$(sort <<<"$before")" "$(summary root Sales | sort)"

# One queue, a selection, another name.
run_ok bash -c 'queue-inspect export Sales --where type=T >some.tar'
same 1 "$(tar -tf some.tar 2>/dev/null | grep -c body)"
run_ok queue-inspect create Restored
run_ok import root some.tar Restored
run_ok queue-inspect take Restored
same one "$out"
run_exit 66 import root some.tar Nowhere
run_exit 66 queue-inspect export Nowhere
run_exit 64 queue-inspect export --where type=T

# Killed in the middle, and repeated.
case $BUILD in *asan*) many=1000 ;; *) many=3000 ;; esac
seq 1 $many | queue-inspect put Other --lines -q
run_ok bash -c 'queue-inspect export Other >other.tar'
for _ in $(seq 15); do
  { timeout -s KILL "0.$((RANDOM % 3))$((RANDOM % 10))" queue-inspect --root third import --create <other.tar; } 2>/dev/null
done
run_ok import third other.tar --create
same "$(queue-inspect show Other --all --json | wc -l) $many" "$(queue-inspect --root third show Other --all --json | wc -l) $(queue-inspect --root third take Other --lines 2>/dev/null | grep -c -E '^[0-9]+$')" "each once"

# Damaged archives: an error that names the member, and nothing is stored.
nothing_in() { ! queue-inspect --root "$1" list --json 2>/dev/null | grep -q -v '"ready":0,"claimed":0,"deferred":0'; }
for cut in 1 600 5000 100000; do
  head -c "$cut" all.tar >cut.tar
  run_exit 65 import fresh cut.tar --create
done
like 'Sales/' "$err" "the member is named"
check "nothing of it is stored" nothing_in fresh
run_exit 65 import fresh big --create
run_exit 65 import fresh /dev/null --create
python3 - <<'PY'
data = bytearray(open("all.tar", "rb").read())
at = data.index(open("big", "rb").read()[:100])
data[at + 5000] ^= 1
open("flipped.tar", "wb").write(data)
PY
run_exit 65 import fresh flipped.tar --create
like 'Sales/5.body' "$err"
check "nothing of it is stored" nothing_in fresh
mkdir -p plain
echo x >plain/file
tar -cf plain.tar plain
run_exit 65 import fresh plain.tar --create
like 'plain' "$err"
run_exit 64 import fresh all.tar ../bad
run_exit 74 bash -c 'queue-inspect export --all >/dev/full'
done_testing
