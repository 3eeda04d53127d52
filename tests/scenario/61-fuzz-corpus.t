#!/bin/bash
# What the fuzzers have tried: each input as it is, and cut at many places, does no harm (make fuzz looks for new ones).
# asan: yes
. "$(dirname "$0")/../lib.sh"

fuzz=$BUILD/test-bin/fuzz
run_ok "$fuzz" list
for target in $out; do
  run_ok "$fuzz" replay "$target" "$SRC/tests/fuzz/corpus/$target"/*
  check "$target: $out inputs" [ "${out:-0}" -ge 20 ]
done
done_testing
