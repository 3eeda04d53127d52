#!/bin/bash
# What the README shows exists: files, tools, make targets, manual pages; and its first use works.
# shellcheck disable=SC2013,SC2016 # words without blanks; the back quotes are those of Markdown
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
cd "$SRC" || exit 1

for document in README.md HACKING.md; do
  for target in $(grep -oE '`make [a-z-]+' "$document" | sed 's/.* //' | sort -u); do
    check "$document: make $target" grep -qE "^$target:" Makefile
  done
  for path in $(grep -oE '`(libcommon|tools|tests|scripts|man)/[A-Za-z0-9_./-]*`' "$document" | tr -d '\140' | grep -v NN- | sort -u); do
    check "$document: $path" [ -e "$path" ]
  done
  for page in $(grep -oE '`man [1-8] [a-z-]+`' "$document" | tr -d '\140' | sed 's/man \(.\) \(.*\)/man\/man\1\/\2.\1/' | sort -u); do
    check "$document: $page" [ -f "$page" ]
  done
done
for program in "$BUILD"/bin/*; do
  check "README.md names ${program##*/}" grep -q "${program##*/}" README.md
done

# The lines of the first use, run as they stand there.
awk '/^<!-- first use -->$/ { here = 1 } here && /^```$/ && ++fences == 2 { exit } here && sub(/^\$ /, "")' README.md >"$T/first-use"
check "README.md has a first use" [ -s "$T/first-use" ]
cd "$T" || exit 1
run_ok bash -e "$T/first-use"
like '^apple 0.99$' "$out"
like '^pear 1.49$' "$out"
done_testing
