#!/bin/bash
# timeout: 900
# A worker whose handlers send: the message is acknowledged and everything is sent, or nothing of it, whichever call of the worker is
# the last one or fails.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

filled='queue-inspect --root "$DIR/root" create q a b error >/dev/null && { driver "$DIR/root" put q 1 2 && driver "$DIR/root" put q 3 1 70000; } >"$DIR/before"'
# Every one of the many calls takes minutes: a sample of them, LONG=1: all.
[ -z "${LONG:-}" ] || MAX=1000
MODES='kill'
EVENTS='for i in 1 2 3; do echo "moving:q:a,b:$i"; [ "$RC" != 0 ] || echo "moved:q:a,b:$i"; done'
worker='distributor worker --root "$DIR/root" --queue q --drain -q'
MAX=${MAX:-40} sweep 'a process for each message' "$filled" "$worker"' -- sh -c '\''queue-inspect -q put a <"$GW_BODY_FILE" && queue-inspect -q put b <"$GW_BODY_FILE"'\' --prog distributor
cat >"$T/stream.py" <<'EOF2'
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    body = message["body"] if "body" in message else open(message["body_file"]).read()
    print(json.dumps({"seq": message["seq"], "result": "ok", "send": [{"queue": "a", "body": body}, {"queue": "b", "body": body}]}), flush=True)
EOF2
MAX=${MAX:-30} sweep 'a process for many' "$filled" "$worker"' --stream --capacity 3 -- python3 '"$T/stream.py" --prog distributor
EVENTS='for i in 1 2 3; do echo "moving:q:error:$i"; [ "$RC" != 0 ] || echo "moved:q:error:$i"; done'
MAX=${MAX:-20} sweep 'the error queue' "$filled" "$worker"' -- sh -c '\''queue-inspect -q put a <"$GW_BODY_FILE"; exit 65'\''; rc=$?; [ $rc != 1 ] || exit 0; exit $rc' --prog distributor
EVENTS='for i in 1 2 3; do echo "moving:q:b:$i"; [ "$RC" != 0 ] || echo "moved:q:b:$i"; done'
MAX=${MAX:-20} sweep 'audit' "$filled" "$worker"' --audit b -- true' --prog distributor
# What fails is in doubt, or tried again.
MODES=EIO,ENOSPC ERRORS_MAX=${ERRORS_MAX:-3} sweep 'failing calls' "$filled" "$worker"' --audit b -- true' --prog distributor
done_testing
