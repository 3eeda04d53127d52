#!/bin/bash
# Help, version and usage errors are the same in every tool.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

# help_ok TEXT WHAT: the shape of a help text
help_ok() {
  like '^Usage: ' "$1" "$2: Usage"
  like '^Examples:$' "$1" "$2: Examples"
  same '' "$(awk 'length > 100' <<<"$1")" "$2: at most 100 columns"
  same '' "$(grep -n '[[:space:]]$' <<<"$1")" "$2: no blanks at the end of a line"
}
version=$(sed -n 's/.*version_string\[\] = "\(.*\)".*/\1/p' "$SRC/libcommon/version.cpp")

for program in "$BUILD"/bin/*; do
  tool=${program##*/}
  run_ok "$tool" --help
  help=$out
  same '' "$err" "$tool --help writes to stdout only"
  help_ok "$help" "$tool --help"
  run_ok "$tool" -h
  same "$help" "$out" "$tool -h is --help"
  run_ok "$tool" --version
  same "$tool (Gatepost) $version" "$out"

  mapfile -t commands < <("$tool" --dump-options | awk -F '\t' '$2 == "" && $1 != "-" { print $1 }')
  for command in "${commands[@]}"; do
    like "^  $command( |\$)" "$(sed -n '/^Commands:$/,/^$/p' <<<"$help")" "$tool --help lists $command"
    run_ok "$tool" "$command" --help
    help_ok "$out" "$tool $command --help"
    like "^Usage: $tool (\\[.*\\] )?$command( |\$)" "$out" "$tool $command --help begins with its usage"
    own=$out
    run_ok "$tool" --help "$command"
    same "$own" "$out" "$tool: --help may stand before $command"
    run_exit 64 "$tool" "$command" --no-such-option
    like "'--no-such-option'" "$err" "$tool $command names the word"
    like "$tool $command --help" "$err" "$tool $command names its help"
    missing=$("$tool" --dump-options | awk -F '\t' -v c="$command" '$1 == c && $2 != "" { n = split($2, names, ","); print names[n] }' |
      while read -r option; do grep -qw -- "$option" <<<"$own" || echo "$option"; done)
    same '' "$missing" "$tool $command --help shows each of its options"
  done

  run_exit 64 "$tool" --no-such-option
  like "unknown option '--no-such-option'" "$err"
  like -- '--help' "$err"
  run_exit 64 "$tool" --hlep
  like "did you mean '--help'\\?" "$err"
  run_exit 64 "$tool" --root
  run_exit 64 "$tool" --json=yes
  run_exit 64 "$tool" --color=red
  run_exit 64 "$tool" --root=
  if [ "${#commands[@]}" -gt 0 ] && ! "$tool" --dump-options | grep -q "^-"; then
    run_exit 64 "$tool"
    like -- '--help' "$err"
    run_exit 64 "$tool" no-such-command
    like "unknown command 'no-such-command'" "$err"
    like -- '--help' "$err"
    run_exit 64 "$tool" ''
  fi
done
done_testing
