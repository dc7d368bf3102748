# shellcheck shell=bash disable=SC2154
# cc-ci beside what others take. None of them is a package here, so these are numbers of other days and other machines: a ratio
# says which of two is another kind of program, and no more.

group_peers() {
  local metric peer theirs what ours
  metric binary_mb "$(calculate "$(stat -c %s "$cc_ci") / 1e6" 1)" MB '<=20'
  seed
  part measure_serve
  group_web
  group_logs
  while IFS=$'\t' read -r metric peer theirs what; do
    [[ $metric != '#'* ]] || continue
    ours=$(awk -F '\t' -v name="$metric" '$1 == name { print $2 }' "$metrics" | tail -n 1)
    [[ $ours ]] || continue
    note "$(printf 'peers: %-24s %10s   %-10s %8s   ×%-8s %s' "$metric" "$ours" "$peer" "$theirs" "$(calculate "$ours / $theirs")" "$what")"
  done <"$bench_lib/peers.tsv"
}
