# shellcheck shell=bash disable=SC2154
# What a run's log takes in, with 20 secrets to look for in it.

group_logs() { part measure_logs; }

measure_logs() {
  local round rates=() small whole flat
  say 'logs: 3 × 256 MB, then 14.5 MB, 64 MB and 1 GB'
  for round in 1 2 3; do
    rates+=("$("$cc_ci" dev measure-log --megabytes 256 | jq .megabytes_a_second)")
  done
  metric log_ingest_mb_s "$(figure median "${rates[@]}")" MB/s '>=150'
  # 14 MiB are 14.7 MB.
  small=$("$cc_ci" dev measure-log --megabytes 14 | jq '.packed_bytes / 1e6 * 1000 | round / 1000')
  metric log_14_5_mb_on_disk_mb "$small" MB '<=1'
  flat=$(python3 "$bench_lib/processes.py" peak "$cc_ci" dev measure-log --megabytes 64 | tail -n 1)
  whole=$(python3 "$bench_lib/processes.py" peak "$cc_ci" dev measure-log --megabytes 1024 | tail -n 1)
  metric log_1_gb_peak_mb "$whole" MB '' "$(calculate "$whole / $flat")"
  note "logs: the 1 GB log's largest memory stands beside that of a 64 MB log ($flat MB); 1 is flat"
}
