#!/usr/bin/env bash
# Runs the commands of the documents: every line of a code fence that follows the comment "run" in README.md and docs/*.md,
# in an empty folder where build/fathom is the program under test and demo/ is what `fathom demo --quick` leaves.
set -euo pipefail
root=$1 program=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir build && ln -s "$program" build/fathom
ln -s "$root/recipes" recipes
echo "== build/fathom demo --quick --dir demo"
build/fathom demo --quick --dir demo > demo.log 2>&1 || { tail -40 demo.log; echo "the demo failed"; exit 1; }
count=0
for document in "$root/README.md" "$root"/docs/*.md; do
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    echo "== $(basename "$document"): $line"
    bash -euo pipefail -c "$line" > out.log 2>&1 < /dev/null || { tail -40 out.log; echo "failed: $line"; exit 1; }
    count=$((count + 1))
  done < <(awk '/^<!-- run -->$/ {armed = 1; next} /^```/ {if (inside) {inside = 0} else if (armed) {inside = 1; armed = 0}; next} inside {print} !/^```/ && !inside && NF {armed = 0}' "$document")
done
[ "$count" -ge 5 ] || { echo "only $count commands found in the documents"; exit 1; }
echo "$count commands of the documents ran"
