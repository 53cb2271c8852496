#!/usr/bin/env bash
# A planted violation of each kind must make tools/check_layers fail and be named; a clean tree must pass.
set -euo pipefail
root=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/docs" "$work/src/base" "$work/src/nn" "$work/src/train" "$work/src/infer" "$work/src/ops/rope" "$work/src/ops/swiglu"
cp "$root/docs/ARCHITECTURE.md" "$work/docs/"
printf '#include "base/b.h"\n#include "ops/rope/r.h"\n#include "nn/own.h"\n' > "$work/src/nn/good.cpp"
"$root/tools/check_layers" "$work" > "$work/out" || { cat "$work/out"; echo "a clean tree was refused"; exit 1; }

expect() {  # expect FILE INCLUDE WORDS
  printf '#include "%s"\n' "$2" > "$work/src/$1"
  if "$root/tools/check_layers" "$work" > "$work/out"; then echo "not found: $1 includes $2"; exit 1; fi
  grep -q "$3" "$work/out" || { cat "$work/out"; echo "not named: $3"; exit 1; }
  rm "$work/src/$1"
}
expect base/up.cpp nn/linear.h "base (row 0) may not include nn/linear.h"
expect train/side.cpp infer/engine.h "train (row 8) may not include infer/engine.h"
expect ops/rope/side.cpp ops/swiglu/swiglu.h "ops/rope (row 4) may not include ops/swiglu/swiglu.h"
expect nn/lost.cpp linear.h "is in no folder of the layer table"
echo "4 planted violations found, a clean tree passes"
