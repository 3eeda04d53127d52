#!/bin/bash
# timeout: 900
# The same for the commands that people use: queue-inspect put, take and move, gw-send to three sites.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

# Each step is swept in full by 10-sweep-steps.t: here it is about what is around them.
export MAX=${MAX:-30} ERRORS_MAX=${ERRORS_MAX:-4}
qi='queue-inspect -q --root "$DIR/root"'
made='queue-inspect --root "$DIR/root" create q a >/dev/null'
filled="$made"' && driver "$DIR/root" put q 1 4 >"$DIR/before"'
numbers="$made"' && { seq 1 4 | queue-inspect -q --root "$DIR/root" put q --lines; } && seq -f "put:q:%.0f" 1 4 | sed "h;s/^/putting-/;s/putting-put/putting/p;g" >"$DIR/before"'

# The ids come out after their commit: m-1, m-2, ...
EVENTS='for i in 1 2 3; do echo "putting:q:$i"; ! grep -qx "m-$i" "$LOG" || echo "put:q:$i"; done'
sweep 'put --lines' "$made" "seq 1 3 | $qi put q --lines --ids --batch 1 --id m"
EVENTS='echo putting:q:1; [ "$RC" != 0 ] || echo put:q:1'
sweep 'put --id' "$made" "printf 1 | $qi put q --id m-1"
# What was written is acked; a kill in between leaves it: both may be true unless the command ended well.
EVENTS='for i in $(grep -x "[1-4]" "$LOG"); do echo "acking:q:$i"; [ "$RC" != 0 ] || echo "acked:q:$i"; done'
sweep 'take --lines' "$numbers" "$qi take q --max 3 --lines"
EVENTS='for i in 1 2 3 4; do echo "moving:q:a:$i"; [ "$RC" != 0 ] || echo "moved:q:a:$i"; done'
sweep 'move' "$filled" "$qi move q a --all"
EVENTS='for i in 1 2 3 4; do echo "acking:q:$i"; [ "$RC" != 0 ] || echo "acked:q:$i"; done'
sweep 'purge' "$filled" "$qi purge q --all"
sites='--site A=http://127.0.0.1:9/A/ --site B=http://127.0.0.1:9/B/ --site C=http://127.0.0.1:9/C/'
GARBAGE=garbage
EVENTS='{ echo "fanning:site.A,site.B,site.C:1"; ! grep -qx m-1 "$LOG" || echo "fanned:site.A,site.B,site.C:1"; }'
sweep 'gw-send --to A,B,C' ':' "printf 1 | gw-send -q --root \"\$DIR/root\" --to A,B,C $sites --id m-1"
done_testing
