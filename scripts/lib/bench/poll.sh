# shellcheck shell=bash disable=SC2034,SC2154
# What watching a large organisation costs a real Gitea: 200 repositories, 1,000 open pull requests, now and then a comment.

poll_repositories=${CC_CI_BENCH_POLL_REPOSITORIES:-200} poll_pulls=5

group_poll() { part measure_poll; }

measure_poll() {
  local seconds=${CC_CI_BENCH_POLL_S:-600} began name value unit target
  # Built before anything is started; without Go there is nothing to measure.
  (gitea_up) >/dev/null
  world_setup "$work/poll"
  # Many cycles in little time; the overlap of what is looked at again stays two minutes, as always.
  sed -i 's/interval: 2s/interval: 5s/' "$config"
  at_end+=(poll_ends)
  gitea_start "${forge##*:}" "$dir/gitea" >"$dir/gitea.json"
  began=$SECONDS
  python3 "$bench_lib/poll.py" world "$forge" "$dir" "$poll_repositories" "$poll_pulls"
  note "poll: $((poll_repositories * poll_pulls)) pull requests were opened in $((SECONDS - began)) s; a cycle each 5 s at most"
  world_start serve
  world_page /health
  python3 "$bench_lib/poll.py" talk "$forge" "$dir" "$seconds" "$poll_repositories" "$poll_pulls" >"$dir/cycles.txt"
  while read -r name value unit target; do metric "$name" "$value" "$unit" "$target"; done <"$dir/cycles.txt"
  metric poll_serve_rss_mb "$(memory "${pids[-1]}")" MB
  metric poll_comments_missed "$(python3 "$bench_lib/poll.py" missed "$dir")" comments '<=0'
}

poll_ends() { stop_daemon "$dir/gitea/pid" "$dir/gitea/app.ini"; }
