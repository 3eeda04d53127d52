#!/bin/bash
# Completion in bash and zsh: real shells, real words, from the tools' own tables.
# timeout: 120
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

run_ok queue-inspect create Sales Store17 error
cat >config.xml <<'EOF'
<gatepost><Gateway Endpoint="HQ"><Sites>
  <Site Key="Store1" Address="http://127.0.0.1:1/a/"/><Site Key="Berlin" Address="http://127.0.0.1:1/b/"/>
</Sites></Gateway></gatepost>
EOF
touch prices.csv
export GW_CONFIG=$T/config.xml

# What is typed, and what it is after the Tab key.
typed=('queue-inspect rel' 'queue-inspect release Sa' 'queue-inspect list --jso' 'queue-inspect move Sales err' 'queue-inspect --color=al'
  'queue-inspect --color ne' "queue-inspect --root $T/root take Sto" 'gw-send forward --outages wa' 'gw-send --to Ber' 'gw-send --to Berlin,Sto'
  'gw-send --lin' 'gw-send --to Berlin pri' 'distributor wor' 'distributor worker --queue Sto' 'distributor worker --queue Sales -- sha256s'
  'gw-dedup pur' 'gw-listen --chan')
expected=('queue-inspect release' 'queue-inspect release Sales' 'queue-inspect list --json' 'queue-inspect move Sales error'
  'queue-inspect --color=always' 'queue-inspect --color never' "queue-inspect --root $T/root take Store17" 'gw-send forward --outages wait'
  'gw-send --to Berlin' 'gw-send --to Berlin,Store1' 'gw-send --lines' 'gw-send --to Berlin prices.csv' 'distributor worker'
  'distributor worker --queue Store17' 'distributor worker --queue Sales -- sha256sum' 'gw-dedup purge' 'gw-listen --channel')
for shell in bash zsh; do
  if ! command -v $shell >/dev/null; then
    skip $((${#typed[@]} + 1)) "$shell is not installed"
    continue
  fi
  run_ok "$SRC/tests/complete-words" $shell "$BUILD/completion/$shell" "${typed[@]}"
  mapfile -t lines <<<"$out"
  for i in "${!typed[@]}"; do
    # A blank or an equals sign behind it is the shell's own way.
    line=${lines[i]-}
    line=${line%"${line##*[! =]}"}
    same "${expected[i]}" "$line" "$shell: ${typed[i]} and Tab"
  done
done

# Every command and every option of every tool is offered.
offered() { # TOOL WORD...: what completes the last word
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  "_gatepost_${1//-/_}"
  printf '%s\n' "${COMPREPLY[@]}"
}
for program in "$BUILD"/bin/*; do
  tool=${program##*/}
  # shellcheck disable=SC1090
  . "$BUILD/completion/bash/$tool"
  "$tool" --dump-options | awk -F '\t' '$1 != "*" { n = split($2, names, ","); if ($2 == "") print $1, $1; for (i = 1; i <= n; i++) print $1, names[i] }' >words
  check "$tool has words" [ -s words ]
  missing=
  while read -r command word; do
    before=("$command")
    if [ "$command" = - ] || [ "$command" = "$word" ]; then before=(); fi
    [ "$word" = - ] || offered "$tool" "${before[@]}" "$word" | grep -qxF -e "$word" || missing+=" $command:$word"
  done <words
  same '' "$missing" "$tool: all commands and options are completed"
done
done_testing
