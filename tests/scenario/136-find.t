#!/bin/bash
# Finding messages by id in a long queue: as fast as the log can be read, whatever else has the same bytes in it.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

run_ok queue-inspect create q error
seq 20000 | queue-inspect put q --lines --id order -q
run_ok queue-inspect show q order-17 --body
same 17 "$out"
run_ok queue-inspect list q order-1 order-20000 :5 --json
same '1 5 20000' "$(jq -r .seq <<<"$out" | paste -sd' ')"
# the bytes of an id may stand elsewhere, and across the borders of what is read at once
run_ok queue-inspect put q --id holder --header 'x=order-100' <<<'order-100'
run_ok queue-inspect list q order-100 --json
same 100 "$(jq -r .seq <<<"$out")"
run_ok queue-inspect take q order-100
run_exit 66 queue-inspect show q order-100
run_exit 66 queue-inspect show q order-
run_exit 66 queue-inspect show q order-20001
{ seq -f order-%g 200 230; echo nothing; } >ids
queue-inspect list q - --json <ids >found 2>missing
same 1 $? 'one of many ids is missing'
same "$(seq 200 230 | paste -sd' ')" "$(jq -r .seq <found | paste -sd' ')"
like "no message 'nothing'" "$(cat missing)"
run_ok queue-inspect list q order-300 order-301 --where 'seq>300' --json
same 301 "$(jq -r .seq <<<"$out")"
# numbers bound how far is looked
seqs() { queue-inspect list q --json "$@" | jq -r .seq | paste -sd' '; }
same '19999 20000 20001' "$(seqs --where 'seq>19998')"
same '1 2' "$(seqs --where 'seq<3')"
same '7' "$(seqs --where 'seq=7')"
same '8 9' "$(seqs --where 'seq>=8' --where 'seq<=9')"
same '' "$(seqs --where 'seq>8' --where 'seq<9')"
same '8' "$(seqs --where 'seq~^8$')"
same '20000 20001' "$(seqs --where 'seq!=19999' --where 'seq>19998')"
run_ok queue-inspect wait q --for id=order-19998 --timeout 0
run_ok queue-inspect wait q --for gone=rder-1999 --timeout 0
run_exit 75 queue-inspect wait q --for gone=order-19998 --timeout 300ms
# all of them, through three ways of looking
run_ok queue-inspect list q --where 'id=order-19999' --json
same 19999 "$(jq -r .seq <<<"$out")"
run_ok queue-inspect trace order-19999
like "^order-19999: waiting in queue 'q'\$" "$(head -n 1 <<<"$out")"
run_ok queue-inspect move q error order-19999
run_ok queue-inspect trace order-19999
like "^order-19999: waiting in queue 'error'\$" "$(head -n 1 <<<"$out")"

# --- followed: each once, whatever the selection is; what was there before can be left out ---
start_background follow queue-inspect list error --follow --json --where 'type=New'
for i in 1 2 3; do
  run_ok queue-inspect put error --type Old --id "old-$i" <<<'x'
  run_ok queue-inspect put error --type New --id "new-$i" <<<'x'
done
wait_until 10 grep -q new-3 follow.out
stop_daemon follow
same 'new-1 new-2 new-3' "$(jq -r .id <follow.out | paste -sd' ')" 'one line for each'
done_testing
