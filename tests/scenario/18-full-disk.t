#!/usr/bin/env bash
# A full disk: puts are refused with a clear error, what was stored stays, takes go on, and afterwards all works again.
# timeout: 180
. "$(dirname "$0")/../lib.sh"

mkdir small
mount -t tmpfs -o size=24m,mode=0700 none small 2>/dev/null || skip_all "needs root and mount"
at_exit umount -l "$T/small"
export GW_ROOT=$T/small/root

run_ok queue-inspect create Sales Other
run_ok bash -c 'echo first | queue-inspect put Sales'

# Until nothing more goes in. The codes of all puts that failed are looked at.
fill() {
  local n=0 code
  : >codes
  : >stored
  while [ $((n += 1)) -le 4000 ]; do
    head -c "$1" /dev/urandom | queue-inspect put Sales >>stored 2>put.err
    code=$?
    [ "$code" = 0 ] || { echo "$code" >>codes; [ "$(wc -l <codes)" -lt 3 ] || return 0; }
  done
}
fill 300000
same "75" "$(sort -u codes)" "a full disk is 'not now'"
like 'full|space|free' "$(cat put.err)" "and said so"
run_ok queue-inspect list
run_ok queue-inspect list Sales --json
same "$(($(wc -l <stored) + 1))" "$(wc -l <.out | tr -d ' ')" "what was acknowledged is there, what was refused is not"
run_exit 75 bash -c 'seq 100000 | queue-inspect put Other --lines -q --batch 1000'
run_ok queue-inspect check

# The very last byte.
head -c 40000000 /dev/zero >small/ballast 2>/dev/null
run_exit 75 bash -c 'echo x | queue-inspect put Other'
run_ok queue-inspect take Sales --max 1
same first "$out" "takes go on"
run_ok bash -c 'queue-inspect take Sales --max 5 >/dev/null'
run_ok queue-inspect hold Sales
run_ok queue-inspect release Sales
run_ok queue-inspect check

# Drained: it works again.
rm small/ballast
run_ok bash -c 'queue-inspect take Sales >/dev/null'
run_ok bash -c 'queue-inspect purge Other --all'
works() { echo again | queue-inspect put Sales; }
wait_until 10 works
run_ok queue-inspect take Sales --max 1
same again "$out"
run_ok queue-inspect check
like 'Sales: put [0-9]+ = ready [0-9]+ \+ claimed 0' "$out"

# Small messages until it is full, by several at once, then drained by a move to another queue... which needs space.
several() { local p; for p in 1 2 3 4; do while head -c 3000 /dev/zero | queue-inspect put Sales --header "p=$p" >>"ids$p" 2>/dev/null; do :; done & done; wait; }
head -c 18000000 /dev/zero >small/ballast
run_ok several
rm small/ballast
run_ok queue-inspect list Sales --json
same "$(cat ids? | sort)" "$(python3 -c 'import json; [print(json.loads(l)["id"]) for l in open(".out")]' | sort)" "exactly what was acknowledged is there"
run_ok queue-inspect move Sales Other --all -q
run_ok queue-inspect check
run_ok bash -c 'queue-inspect take Other >/dev/null'

# Reading an archive onto a full disk.
run_ok bash -c 'head -c 3000000 /dev/urandom | queue-inspect put Sales --id big'
run_ok bash -c 'queue-inspect export Sales >big.tar'
run_ok queue-inspect create Copy
head -c 40000000 /dev/zero >small/ballast 2>/dev/null
run_exit 75 bash -c 'queue-inspect import Copy <big.tar'
like 'big|Sales/' "$err"
rm small/ballast
run_ok bash -c 'queue-inspect import Copy <big.tar'
run_ok queue-inspect check
like '^Copy: put 1 = ready 1' "$out"
done_testing
