#!/usr/bin/env bash
# Every proof that docs/features.md names must have run and passed just now: existing is not enough.
#
#   features.sh REPORT-DIR FEATURES.md
#
# A proof is a test's full name in backquotes in the last column. Rows that do not work yet name none.
# shellcheck disable=SC2016 # backquotes are Markdown's
set -euo pipefail
report=$1 table=$2
ran=$(mktemp)
trap 'rm -f "$ran"' EXIT
cat "$report"/*.log | sed -n 's/^test \(.*\) \.\.\. ok$/\1/p' | sort -u >"$ran"

wrong=0
while IFS='|' read -r _ number feature works proof _; do
  number=${number// /} works=$(echo "$works" | xargs)
  [[ $number =~ ^[0-9]+$ ]] || continue
  names=$(grep -oE '`[^`]+`' <<<"$proof" | tr -d '`' || true)
  case $works in
    works | part)
      [[ -n $names ]] || { echo "feature $number ($feature) works, says the table, and names no proof"; wrong=1; }
      ;;
    'not yet') ;;
    *) echo "feature $number: \`$works\` is not works, part or not yet"; wrong=1 ;;
  esac
  for name in $names; do
    grep -qxF "$name" "$ran" || { echo "feature $number ($feature): its proof $name did not run and pass"; wrong=1; }
  done
done <"$table"
exit $wrong
