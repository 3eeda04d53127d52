#!/bin/bash
# gw(7) and gatepost(7) leave nothing out: tools, commands, pages, programs of the installation.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
cd "$SRC" || exit 1
page=man/man7/gw.7

for program in "$BUILD"/bin/*; do
  tool=${program##*/}
  check "gw(7) names $tool" grep -qx ".Xr $tool 1" "$page"
  check "gatepost(7) names $tool" grep -qE "^\.(It )?Xr $tool 1" man/man7/gatepost.7
  missing=$("$tool" --dump-options | awk -F '\t' '$2 == "" && $1 != "-" { print $1 }' | while read -r command; do
    sed -n "/^\.Xr $tool 1/,/^\.El/p" "$page" | grep -qx "\.It Cm $command" || echo "$command"
  done)
  same '' "$missing" "gw(7) has each command of $tool"
done
for path in man/man[57]/*; do
  name=$(basename "${path%.*}") number=${path##*.}
  [ "$name" = gw ] || check "gw(7) refers to $name($number)" grep -q "Xr $name $number" "$page"
done
for path in scripts/gw-channel-* scripts/gatepost-purge scripts/import-sqlite; do
  check "gw(7) names ${path##*/}" grep -q "${path##*/}" "$page"
done
done_testing
