#!/bin/bash
# timeout: 300
# The same for the commands that people use: queue-inspect put, take and move, gw-send to three sites.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

qi='queue-inspect -q --root "$DIR/root"'
made='queue-inspect --root "$DIR/root" create q a >/dev/null'
filled="$made"' && driver "$DIR/root" put q 1 4 >"$DIR/before"'
lines='seq 1 3 | '

# The ids come out after their commit: m-1, m-2, ...
EVENTS='{ seq -f "putting:q:%.0f" 1 3; sed -n "s/^m-\([0-9]*\)$/put:q:\1/p" "$LOG"; }'
in_order='{ for i in 1 2 3; do echo "putting:q:$i"; ! grep -qx "m-$i" "$LOG" || echo "put:q:$i"; done; }'
EVENTS=$in_order
sweep 'put --lines' "$made" "$lines$qi"' put q --lines --ids --batch 1 --id m'
EVENTS='{ echo putting:q:1; if [ "$RC" = 0 ]; then echo put:q:1; fi; }'
sweep 'put --id' "$made" "printf 1 | $qi"' put q --id m-1'
# What was written is acked; a kill in between leaves it: both may be true unless the command ended well.
EVENTS='for i in $(sed -n "s/^\([0-9]*\) 40$/\1/p" "$LOG"); do echo "acking:q:$i"; [ "$RC" != 0 ] || echo "acked:q:$i"; done'
sweep 'take' "$filled" "$qi"' take q --max 3'
EVENTS='for i in 1 2 3 4; do echo "moving:q:a:$i"; [ "$RC" != 0 ] || echo "moved:q:a:$i"; done'
sweep 'move' "$filled" "$qi"' move q a --all'
EVENTS='for i in 1 2 3 4; do echo "acking:q:$i"; [ "$RC" != 0 ] || echo "acked:q:$i"; done'
sweep 'purge' "$filled" "$qi"' purge q --all'
sites='--site A=http://127.0.0.1:9/A/ --site B=http://127.0.0.1:9/B/ --site C=http://127.0.0.1:9/C/'
EVENTS='{ echo "fanning:site.A,site.B,site.C:1"; ! grep -qx m-1 "$LOG" || echo "fanned:site.A,site.B,site.C:1"; }'
sweep 'gw-send --to A,B,C' ':' "printf 1 | gw-send -q --root \"\$DIR/root\" --to A,B,C $sites --id m-1"
done_testing
