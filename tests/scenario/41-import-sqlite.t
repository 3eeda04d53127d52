#!/usr/bin/env bash
# The recipe of an import that happens exactly once: scripts/import-sqlite under a worker that is killed at the worst moment.
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
command -v sqlite3 >/dev/null || skip_all 'no sqlite3'

import=$SRC/scripts/import-sqlite
rows() { sqlite3 db "SELECT count(*) FROM $1" 2>/dev/null || echo none; }
# The worker is the parent of the handler; $1: what the handler does.
killed_in() { distributor worker --queue Q -q -- sh -c "$1" sh "$import" >killed.out 2>&1; } 2>&-
run_ok queue-inspect create Q

printf 'sku,name,price\n1,apple,0.5\n2,"pear, green",0.75\n' | queue-inspect put Q -q --id a >id
killed_in '"$1" db prices && kill -9 $PPID && sleep 100'
same 2 "$(rows prices)" 'imported, and the worker killed before the acknowledgement'
run_ok distributor worker --queue Q --drain -- "$import" db prices
same 2 "$(rows prices)" 'the second run imports nothing'
same '2|pear, green|0.75' "$(sqlite3 db 'SELECT * FROM prices WHERE sku = 2')"

printf 'sku,name,price\n3,plum,1\n' | queue-inspect put Q -q --id b >id
killed_in 'kill -9 $PPID; sleep 100'
same 2 "$(rows prices)" 'killed before the import: nothing'
run_ok distributor worker --queue Q --drain -- "$import" db prices
same 3 "$(rows prices)" 'the second run imports'

# Two handlers for one message at once: a worker that was cut off from its queue and one that took over.
seq 1 20000 | sed '1s/^/n\n/' >many
key=$(printf '%064d' 7)
for _ in 1 2 3 4; do GW_MESSAGE_KEY=$key GW_BODY_FILE=many "$import" db many & done
wait
same 20000 "$(rows many)" 'four at once: imported once'

# What is not CSV leaves nothing behind, and says why.
for body in '' 'a,b\n1\n' 'a,b\n1,2,3\n'; do
  # shellcheck disable=SC2059 # the format is the body
  printf "$body" >bad
  run_exit 65 env GW_MESSAGE_KEY="$(printf '%064d' 8)" GW_BODY_FILE=bad "$import" db bad
done
same none "$(rows bad)"
same 0 "$(sqlite3 db "SELECT count(*) FROM gatepost_imports WHERE key LIKE '%8'")" 'no key without rows'
printf 'sku,name\n1,2\n' >bad
run_exit 65 env GW_MESSAGE_KEY="$(printf '%064d' 8)" GW_BODY_FILE=bad "$import" db prices
same 3 "$(rows prices)" 'other columns than the table has: nothing'

# One's own statements.
echo 'CREATE TABLE IF NOT EXISTS latest (sku PRIMARY KEY, price); INSERT OR REPLACE INTO latest SELECT sku, price FROM body;' >latest.sql
printf 'sku,name,price\n1,apple,0.6\n' | queue-inspect put Q -q >id
run_ok distributor worker --queue Q --drain -- "$import" db --sql latest.sql
same '1|0.6' "$(sqlite3 db 'SELECT * FROM latest')"

run_exit 64 "$import" db prices
run_exit 64 env GW_MESSAGE_KEY=ab GW_BODY_FILE=many "$import" db 'a"b'
run_exit 64 "$import" db
# A database that somebody holds: later.
GW_MESSAGE_KEY=$(printf '%064d' 9) GW_BODY_FILE=many
export GW_MESSAGE_KEY GW_BODY_FILE
mkfifo hold
sqlite3 db <hold >holder.out &
exec 7>hold
printf 'BEGIN EXCLUSIVE;\nSELECT 1;\n' >&7
wait_until 10 [ -s holder.out ]
run_exit 75 "$import" db many
exec 7>&-
wait
done_testing
