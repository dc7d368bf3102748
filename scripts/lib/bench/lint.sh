# shellcheck shell=bash disable=SC2154
# Three hundred recipes, each a repository with its tags, looked at in one go.

group_lint() { part measure_lint; }

measure_lint() {
  local number from took=() round
  say 'lint: 300 recipes, three times'
  "$cc_ci" dev recipe "$root/tests/recipes/custom-html" "$work/recipe" >/dev/null
  for number in {1..300}; do cp -r "$work/recipe" "$work/lint-$number"; done
  for round in 1 2 3; do
    from=$(date +%s%N)
    "$cc_ci" lint --json "$work"/lint-* >"$work/found-$round.json"
    took+=("$(calculate "($(date +%s%N) - $from) / 1e9" 3)")
  done
  metric lint_300_recipes_s "$(figure median "${took[@]}")" s '<=5'
}
