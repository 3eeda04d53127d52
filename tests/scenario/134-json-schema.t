#!/bin/bash
# What queue-inspect prints with --json is what the published schemas say.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

command -v python3 >/dev/null || skip_all 'python3 is missing'
# fits SCHEMA LINES [MEMBER...]: $out fits, and has so many lines
fits() {
  local schema=$1 lines=$2
  shift 2
  printf '%s\n' "$out" >"$T/lines"
  run_ok bash -c '"$SRC/tests/json_schema.py" "$SRC/scripts/schema/$1.json" "${@:2}" <"$T/lines"' - "$schema" "$@"
  same "$lines" "$out" "$lines lines fit $schema"
}
# every_schema: all files are JSON that names nothing unchecked
for schema in "$SRC"/scripts/schema/*.json; do
  out=$(jq -r '.title' "$schema")
  like '^queue-inspect ' "$out" "${schema##*/} has a title"
done

run_ok queue-inspect create Sales --max-bytes 1G
run_ok queue-inspect create error
run_ok queue-inspect hold error --reason 'being looked at'
run_ok queue-inspect list --json
fits queue 2
run_ok queue-inspect release error

echo blob >blob
run_ok queue-inspect put Sales --id a --type Shop.Order --ttl 1h --attach k=blob --header traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 <<<'text'
run_ok queue-inspect put Sales --id b --delay 1h <<<$'\xff\xfe'
head -c 100000 /dev/zero >big
run_ok queue-inspect put Sales --id c big
run_exit 1 distributor worker --queue Sales --retries 0 --immediate-retries 0 --once -- false
run_ok queue-inspect list error --json
fits message 2 failed_queue reason group
run_ok queue-inspect list Sales --json
fits message 1 due_at
run_ok queue-inspect show error --all --json
fits message-with-body 2
run_ok queue-inspect show Sales b --json
fits message-with-body 1 body_base64
run_ok queue-inspect groups error --json
fits group 2 group failed_queue reason
run_ok queue-inspect edit error c --exec cat --json
fits change 1 id parent_id
run_ok queue-inspect trace a --json
fits event 1 queue to worker pid reason
cp root/journal/*.jsonl journal
out=$(<journal)
fits event 4
run_ok queue-inspect return error --all --dry-run --json
fits return 2 id to
run_ok queue-inspect put error --id foreign <<<x
run_exit 1 queue-inspect return error --all --json
fits return 4
run_ok queue-inspect move error Sales foreign --json
fits change 1 to
run_ok queue-inspect purge Sales foreign --json
fits change 1
run_ok queue-inspect purge Sales a --json --dry-run
fits change 1 id
run_ok queue-inspect take Sales a --json
fits message-with-body 1 attachments

# The checker finds what is wrong.
out='{"queue":"x","seq":"one"}'
printf '%s\n' "$out" >lines
run_exit 1 bash -c '"$SRC/tests/json_schema.py" "$SRC/scripts/schema/message.json" <lines'
like "'one' is no integer" "$err"
like "'id' is missing" "$err"
done_testing
