#!/bin/bash
# Roots of every version of the format stay readable: tests/data/root has one of each, as it was written on another machine. A change of
# the format adds one; none is ever changed. So far there is version 1, here with its one feature flag (a message with an attachment).
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

known=$(sed -n 's/.*format_version = \([0-9]*\);.*/\1/p' "$SRC/libcommon/queue/format.hpp")
same "$known" "$(find "$SRC/tests/data/root" -name 'version-*.tar.gz' | wc -l)" "a stored root of each version"

for archive in "$SRC"/tests/data/root/version-*.tar.gz; do
  name=$(basename "$archive" .tar.gz)
  export GW_ROOT=$T/$name
  mkdir -m 700 "$GW_ROOT"
  run_ok tar -C "$GW_ROOT" -xpzf "$archive"
  run_ok queue-inspect check
  like '^Sales: put 4 = ready 2 \+ claimed 0 \+ deferred 1 \+ done 1$' "$out"
  run_ok queue-inspect list --json
  same 'headquarters' "$(jq -rs '.[0].machine' <<<"$out")" "the machine that it was written on"
  same 'off stored root' "$(jq -r 'select(.queue == "Held") | "\(.takes) \(.hold_reason)"' <<<"$out")" "a held queue"
  run_ok queue-inspect show Sales plain --json
  same 'plain body|100% "quoted"|Prices.Updated' "$(jq -r '"\(.body | rtrimstr("\n"))|\(.headers.Note)|\(.type)"' <<<"$out")" "a message"
  same 70000 "$(queue-inspect show Sales large --body | tr -d '\n' | wc -c | tr -d ' ')" "a body in a file of its own"
  same '2099-01-01T00:00:00.000Z' "$(queue-inspect list Sales later --json | jq -r .due_at)" "a message for later"
  run_ok queue-inspect show Held with --json
  same attached "$(cat "$(jq -r '.attachments[0].path' <<<"$out")")" "an attachment"
  same 1 "$(queue-inspect list Failing --json | jq .attempts)" "a failed attempt"
  run_ok gw-dedup seen --endpoint Store1 seen-before
  run_exit 65 queue-inspect put Sales --id plain <<<'another body'
  run_ok queue-inspect put Sales --id taken <<<taken
  run_exit 75 gw-send --site S=http://127.0.0.1:1/ wait --timeout 0 undelivered
  like 'undelivered' "$out$err" "what became of a message that was sent"

  # It is used on as it is.
  echo more | queue-inspect put Sales --id more >/dev/null
  run_ok queue-inspect release Held
  run_ok queue-inspect take Held
  same with "$out"
  run_ok queue-inspect take Sales plain more
  same $'plain body\nmore' "$out"
  run_ok queue-inspect check
done
done_testing
