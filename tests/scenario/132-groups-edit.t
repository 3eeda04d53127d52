#!/bin/bash
# queue-inspect groups and edit.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

fail_with() { distributor worker --queue "$1" --error-queue error --immediate-retries 0 --retries 0 --drain -- sh -c "cat >/dev/null; $2; exit 3" >/dev/null 2>&1; }

run_ok queue-inspect create Sales Stock error
seq 5 | queue-inspect put Sales --lines --type Shop.Order -q
fail_with Sales 'echo "no stock for order $$ of 3f2504e0-4f89-41d3-9a0c-0305e82c3301" >&2'
seq 3 | queue-inspect put Stock --lines --type Shop.Order -q
fail_with Stock 'echo "no stock for order $$ of 3f2504e0-4f89-41d3-9a0c-0305e82c3301" >&2'
seq 2 | queue-inspect put Sales --lines -q
fail_with Sales 'echo "time-out" >&2'
run_ok queue-inspect put error --id foreign <<<'of somebody else'

# --- groups: the largest first, numbers and ids masked ---
run_ok queue-inspect groups error
same 'GROUP COUNT FIRST LAST FROM TYPE REASON' "$(head -n 1 <<<"$out" | tr -s ' ' | sed 's/ $//')"
same 5 "$(wc -l <<<"$out")"
run_ok queue-inspect groups error --json
same '5 3 2 1' "$(jq -r .count <<<"$out" | paste -sd' ')"
machine=$(cat root/machine)
same "Sales@$machine Shop.Order exit #: no stock for order # of #" "$(head -n 1 <<<"$out" | jq -r '"\(.failed_queue) \(.type) \(.reason)"')"
first=$(head -n 1 <<<"$out")
group=$(jq -r .group <<<"$first")
like '^[0-9a-f]{8}$' "$group"
check 'first is not after last' [ "$(jq -r '.first_at <= .last_at' <<<"$first")" = true ]
same "$out" "$(queue-inspect groups error --json)" 'the same again'
run_ok queue-inspect list error --group "$group" --json
same 5 "$(wc -l <<<"$out")"
like "$(jq -r .sample_id <<<"$first")" "$out"
run_ok queue-inspect groups error --where 'failed_queue~^Stock' --json
same 3 "$(jq -r .count <<<"$out")"
run_exit 66 queue-inspect groups nowhere
run_exit 64 queue-inspect groups
run_ok queue-inspect return error --group "$group"
same 5 "$(wc -l <<<"$out")"

# --- edit with a program ---
run_ok queue-inspect show error foreign --json
old=$(jq -c '.headers' <<<"$out")
run_ok queue-inspect edit error foreign --dry-run
same $'foreign\twould-edit' "$out"
run_exit 64 queue-inspect edit error
run_exit 78 queue-inspect edit error foreign --exec no-such-program
run_exit 1 queue-inspect edit error foreign --exec false
like "message 'foreign' stays as it is: 'false' ended with status 1" "$err"
cat >upper <<'SH'
#!/bin/sh
tr '[:lower:]' '[:upper:]'
SH
chmod +x upper
run_ok queue-inspect edit error foreign --exec ./upper
id=$out
run_exit 66 queue-inspect show error foreign
run_ok queue-inspect show error "$id" --body
same 'OF SOMEBODY ELSE' "$out"
run_ok queue-inspect show error "$id" --json
same foreign "$(jq -r '.headers["Gatepost.ParentId"]' <<<"$out")"
same "$(jq -S 'del(.["NServiceBus.MessageId"])' <<<"$old")" "$(jq -S '.headers | del(.["NServiceBus.MessageId"], .["Gatepost.ParentId"])' <<<"$out")" 'all other headers are kept'
run_ok queue-inspect trace "$id" --json
same foreign "$(jq -r 'select(.event == "stored") | .parent_id' <<<"$out")"
run_ok queue-inspect trace foreign
like "replaced by $id" "$(head -n 1 <<<"$out")"
# again, and several at once
run_ok queue-inspect edit error --where 'type=Shop.Order' --exec ./upper
same 3 "$(wc -l <<<"$out")"

# --- edit with an editor: shell words, with the file as the last one ---
cat >editor <<'SH'
#!/bin/sh
[ "$1" = --wait ] || exit 9
sed -i s/SOMEBODY/NOBODY/ "$2"
SH
chmod +x editor
run_exit 64 env -u VISUAL -u EDITOR queue-inspect edit error "$id"
like 'VISUAL or EDITOR' "$err"
run_ok env EDITOR="$T/editor --wait" queue-inspect edit error "$id"
same 'OF NOBODY ELSE' "$(queue-inspect show error "$out" --body)"
id=$out
run_exit 1 env VISUAL=true EDITOR=false queue-inspect edit error "$id"
like 'the body was not changed' "$err"
run_exit 1 env VISUAL=false queue-inspect edit error "$id"
run_ok queue-inspect show error "$id"

# --- a body that is a file ---
head -c 3000000 /dev/zero | tr '\0' a >big
run_ok queue-inspect put error --id big big
run_ok queue-inspect edit error big --exec ./upper
queue-inspect show error "$out" --body >new
same "$(tr '[:lower:]' '[:upper:]' <big | sha256sum)" "$(sha256sum <new)"
run_ok queue-inspect check
done_testing
