# shellcheck shell=bash disable=SC2154
# What was measured: a line each in $metrics, as a table for people and as JSON for machines.

# metric NAME VALUE UNIT [TARGET [RATIO]]: TARGET is `<=NUMBER` or `>=NUMBER`, RATIO how it stands to a peer of this run.
metric() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4-}" "${5-}" >>"$metrics"; }

# note TEXT: what stands behind a number; shown below the table.
note() { printf '%s\n' "$1" >>"$work/notes.txt"; }

table() {
  echo
  awk -F '\t' 'BEGIN { line("metric", "value", "unit", "target", "ratio") }
    { limit = substr($4, 3) + 0
      missed = $4 ~ /^<=/ && $2 > limit || $4 ~ /^>=/ && $2 < limit
      line($1, $2, $3, $4, $5 (missed ? "  missed" : "")) }
    function line(name, value, unit, target, ratio) {
      printf "%-34s %12s %-16s %10s  %s\n", name, value, unit, target, ratio }' "$metrics"
  echo
  printf '%s cores, load %s, %s\n' "$(nproc)" "$(cut -d' ' -f1-3 /proc/loadavg)" "$("$cc_ci" --version)"
  [[ ! -e $work/notes.txt ]] || cat "$work/notes.txt"
}

as_json() {
  jq -Rn '[inputs / "\t" | {key: .[0], value: {
    value: (.[1] | tonumber), unit: .[2], target: (if .[3] == "" then null else .[3][2:] | tonumber end)}}]
    | {metrics: from_entries}' "$metrics"
}

# figure OPERATION NUMBER…: median, most, least or mean, to three places.
figure() {
  local operation=$1
  shift
  printf '%s\n' "$@" | sort -g | awk -v operation="$operation" '{ all[NR] = $1; sum += $1 }
    END { if (operation == "most") value = all[NR]
          else if (operation == "least") value = all[1]
          else if (operation == "mean") value = sum / NR
          else value = NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2
          printf "%.10g\n", sprintf("%.3f", value) }'
}

# calculate EXPRESSION [PLACES]
calculate() { awk "BEGIN { printf \"%.10g\", sprintf(\"%.${2:-2}f\", $1) }"; }

# memory PID: what it holds, in MB (10^6 bytes).
memory() { awk '/^VmRSS/ { printf "%.1f", $2 * 1024 / 1e6 }' "/proc/$1/status"; }
