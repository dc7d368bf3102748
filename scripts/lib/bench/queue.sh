# shellcheck shell=bash disable=SC2034,SC2154
# A long queue and a crowd of comments: how soon cc-ci is there again after a kill, what it holds in memory, how fast it decides.

group_queue() {
  part measure_recovery
  part measure_intake
}

# Killed with 1,000 runs in the queue, and with 10,000: from the start of the program to its first page.
measure_recovery() {
  local count times
  for count in 1000 10000; do
    world_setup "$work/queue-$count"
    "$cc_ci" dev seed --dir "$dir/state" --runs 100 --queued "$count" >/dev/null
    world_start serve
    world_page /
    kill -9 "${pids[-1]}"
    wait "${pids[-1]}" 2>/dev/null || true
    mapfile -t times < <(python3 "$bench_lib/processes.py" first-page 5 "$web/queue" "$cc_ci" serve --config "$config")
    ((${#times[@]} == 5)) || die 'cc-ci serve did not start'
    metric "recovery_${count}_queued_ms" "$(figure median "${times[@]}")" ms '<=2000'
    world_start serve
    world_page /queue
    metric "serve_rss_${count}_queued_mb" "$(memory "${pids[-1]}")" MB
    world_stop "${pids[-1]}"
  done
}

# Comments that were written while nobody was there, on one pull request, all decided after the start.
measure_intake() {
  local count=2000 began turn
  world_setup "$work/intake"
  world_forge
  world_recipe
  number=$(world_pull change 'A change')
  world_start serve
  world_page /health
  wait_on 'request&path=/issues/search&count=2' 60000 >/dev/null
  world_stop "${pids[-1]}"
  for ((turn = 0; turn < count; turn++)); do say_as "$stranger" "comment $turn"; done >/dev/null
  began=$(milliseconds)
  world_start serve
  until (($(decided) >= count)); do :; done
  metric comments_decided_per_s "$(calculate "$count * 1000 / ($(milliseconds) - $began)" 0)" '1/s'
  note "queue: $count comments, from the start of serve until the last is decided"
}

decided() {
  python3 -c 'import sqlite3, sys
print(sqlite3.connect(sys.argv[1], timeout=10).execute("select count(*) from comments where decision is not null").fetchone()[0])' "$dir/state/cc-ci.db"
}
