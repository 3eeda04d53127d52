# Helpers for scenarios of distributors; source it after lib.sh. They speak of $endpoint (E).
#   value KEY [WORKER]       what status says of the endpoint or of a worker: its queue, with or without its machine
#   is VALUE KEY [WORKER]    is it that?
#   settled N                all N tokens are back, everything is handled
#   count QUEUE              how many messages it has;   count_is N QUEUE
#   lines_are N FILE
#   start_worker NAME CAPACITY SCRIPT [OPTION...]   its worker with the queue NAME
#   send BODY...             messages for it
#   make_keep                ./keep FILE: a handler that appends the body to a file; the file 'log' is there, empty
# Where it is on another machine, at_distributor=(CMD...) runs a command there; a worker is here.
# shellcheck shell=bash

endpoint=E
at_distributor=()

value() {
  "${at_distributor[@]}" distributor status --json 2>/dev/null | python3 -c 'import json, sys
key, worker = sys.argv[1], "".join(sys.argv[2:])
for row in map(json.loads, sys.stdin):
    names = (row["worker"], row["worker"].split("@")[0]) if row["kind"] == "worker" else ("",)
    if worker in names:
        print(row.get(key, "absent"))' "$@"
}
is() { [ "$(value "${@:2}")" = "$1" ]; }
balanced() { "${at_distributor[@]}" distributor status >/dev/null 2>&1; }
settled() { [ "$(value tokens) $(value in_flight) $(value waiting)" = "$1 0 0" ] && balanced && [ "$(count "$endpoint.distributor.storage")" = "$1" ]; }
count() { "${at_distributor[@]}" queue-inspect list "$1" --json 2>/dev/null | wc -l; }
count_is() { [ "$(count "$2")" = "$1" ]; }
lines_are() { [ "$(wc -l <"$2")" = "$1" ]; }
start_worker() { start_daemon "$1" distributor worker --master "$endpoint" --queue "$1" --capacity "$2" "${@:4}" -- sh -c "$3"; }
send() { printf '%s\n' "$@" | "${at_distributor[@]}" queue-inspect put "$endpoint" --lines -q; }
make_keep() {
  touch log
  printf '#!/bin/sh\nprintf "%%s\\n" "$(cat)" >>"$1"\n' >keep
  chmod 755 keep
}
