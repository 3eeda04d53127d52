#!/bin/bash
# The manual, the scripts and the order of the layers.
# timeout: 400
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
cd "$SRC" || exit 1

if command -v mandoc >/dev/null; then
  for page in man/man*/*.[1-8]; do
    run_ok env MANPATH="$SRC/man" mandoc -T lint -W warning "$page"
    same '' "$out" "$page: nothing to report"
    # References to pages of ours must exist.
    missing=$(sed -n 's/^\.Xr \([^ ]*\) \([0-9]\).*/\1 \2/p' "$page" | while read -r name number; do
      case $name in gw-* | gatepost | distributor | instance-map | queue-inspect) [ -f "man/man$number/$name.$number" ] || echo "$name($number)" ;; esac
    done)
    same '' "$missing" "$page: refers to pages that are there"
  done
else
  skip 1 "mandoc is not installed"
fi

if command -v shellcheck >/dev/null; then
  mapfile -t scripts < <(git ls-files -co --exclude-standard 2>/dev/null | grep -v ^build/ | while read -r file; do
    [ -f "$file" ] && case $(head -c 20 "$file" | head -n 1 | tr -d '\000') in '#!/bin/sh'* | '#!/bin/bash'* | '#!/usr/bin/env bash'*) echo "$file" ;; esac
  done)
  mapfile -t sourced < <(git ls-files -co --exclude-standard '*.sh' '*.lib')
  check "there are scripts" [ "${#scripts[@]}" -ge 100 ]
  run_ok shellcheck tests/*.sh
  # What all tests source is read anew for each of them, which would be most of the time: they get its outline, functions without a body.
  mkdir "$T/outline"
  printf '%s\n' .shellcheckrc "${sourced[@]}" "${scripts[@]}" | sort -u | xargs -d '\n' cp --parents -t "$T/outline"
  awk '/^[a-z_]+\(\) *\{/ { print $1 " { :; }"; if (!/\}$/) { while (getline && !/^\}/) continue } next } { print }' tests/lib.sh >"$T/outline/tests/lib.sh"
  like '^run_ok\(\) \{ :; \}$' "$(cat "$T/outline/tests/lib.sh")" "the outline of lib.sh"
  cd "$T/outline" || exit 1
  RUN_TIMEOUT=300 run_ok shellcheck -x "${scripts[@]}"
  cd "$SRC" || exit 1
else
  skip 4 "shellcheck is not installed"
fi

run_ok scripts/check-layers
run_ok scripts/check-man "$BUILD/bin"
done_testing
