# shellcheck shell=bash disable=SC2154
# The main job's own numbers: how soon a comment is answered, what `serve` takes, and what cc-ci adds to a run.

comments=8
bench_pairs=${CC_CI_BENCH_PAIRS:-5}

group_main() {
  metric binary_mb "$(calculate "$(stat -c %s "$cc_ci") / 1e6" 1)" MB '<=20'
  part measure_comments
  seed
  part measure_serve
  part measure_runs
}

# A comment written right after a look waits the longest: one interval. Nothing takes runs, so nothing else is under way.
measure_comments() {
  local interval over=() took
  say "main: $comments comments found by looking, then $comments told by webhook"
  world_setup "$work/comments"
  interval=2000 # as `dev setup` writes it
  world_forge
  world_recipe
  world_start serve
  world_page /health
  wait_on 'request&path=/issues/search' 60000 >/dev/null
  asked=0
  ask_often after_a_look
  for took in "${answered[@]}"; do over+=($((took - interval))); done
  metric comment_to_pending_poll_ms "$(figure median "${answered[@]}")" ms "<=$((interval + 200))"
  metric comment_to_pending_over_poll_ms "$(figure median "${over[@]}")" ms '<=200'
  metric look_to_pending_ms "$(figure median "${from_look[@]}")" ms '<=200'
  note "main: comment → pending, written right after a look, interval $interval ms (each look up to a tenth off): ${answered[*]} ms; from the look itself: ${from_look[*]} ms"

  world_stop "${pids[-1]}"
  (umask 077 && printf 'a secret of the bench, and of nobody else' >"$dir/hook")
  sed -i "s|^  poll: .*|  poll: {interval: 60s}\n  webhook: {secret_file: $dir/hook}|" "$config"
  dev POST "repos/recipes/$recipe/hooks" "{\"url\":\"$web/hook\",\"secret\":\"$(cat "$dir/hook")\"}" >/dev/null
  since=$(looks)
  world_start serve
  world_page /health
  wait_on "request&path=/issues/search&since=$since" 60000 >/dev/null
  ask_often at_once
  metric comment_to_pending_webhook_ms "$(figure median "${answered[@]}")" ms '<=200'
  note "main: comment → pending by webhook: ${answered[*]} ms; from the look it brought: ${from_look[*]} ms"
}

# From the first look, or the hook's look at its repository, to the accepted status, by the forge's own clock.
# shellcheck disable=SC2016 # jq's own variable
between='def ms: (.[0:19] + "Z" | fromdate) * 1000 + (.[20:23] | tonumber);
  (map(select(.method == "GET" and (.path | test("/issues/(search|comments)"))))[0].at | ms) as $look
  | (map(select(.method == "POST" and (.path | contains($head)) and .status < 300))[0].at | ms) - $look'

# ask_often WHEN: comments on pull requests of their own; sets answered, the milliseconds until each had its eyes and its
# head was pending.
ask_often() {
  local turn head comment began last
  answered=() from_look=()
  for ((turn = 0; turn < comments; turn++)); do
    asked=$((asked + 1))
    head=$(dev POST "repos/recipes/$recipe/commits" "{\"branch\":\"ask-$asked\",\"files\":{\"ask\":\"$asked\n\"}}" | jq -r .sha)
    number=$(world_pull "ask-$asked" "Ask $asked")
    "$1"
    last=$(looks)
    began=$(milliseconds)
    comment=$(say_as $member '!testme')
    wait_on "reaction&comment=$comment&content=eyes&by=$bot" 60000 >/dev/null &
    wait_on "status&sha=$head&state=pending" 60000 >/dev/null
    wait $!
    answered+=($(($(milliseconds) - began)))
    from_look+=("$(dev GET "log?since=$last" | jq --arg head "$head" "$between")")
  done
}

after_a_look() { wait_on "request&path=/issues/search&since=$(looks)" 60000 >/dev/null; }
at_once() { :; }

# The number of the last request that the forge had.
looks() { dev GET log | jq '[.[].n] | max // 0'; }

# What the server takes: to start, at rest, and after five seconds of load; on a history of 10,000 runs.
measure_serve() {
  local times
  apt_install 'load is made with it' wrk
  seeded_world server
  say 'main: twenty starts'
  mapfile -t times < <(python3 "$bench_lib/processes.py" first-page 20 "$web/" "$cc_ci" serve --config "$config")
  ((${#times[@]} == 20)) || die 'cc-ci serve did not start'
  metric start_to_first_page_ms "$(figure median "${times[@]}")" ms '<=50'
  world_start serve
  serve_pid=${pids[-1]}
  world_page /
  # A look at the forge, and threads that have nothing to do go after two seconds.
  wait_on 'request&path=/issues/search&count=2' 60000 >/dev/null
  metric idle_rss_mb "$(memory "$serve_pid")" MB '<=12'
  paths
  wrk -t2 -c32 -d5s -s "$bench_lib/wrk.lua" "$web" -- <(cat "$dir/run_page.txt" "$dir/run_list.txt" "$dir/badge.txt") >/dev/null
  metric loaded_rss_mb "$(memory "$serve_pid")" MB '<=25'
}

measure_runs() {
  images_up traefik nginx
  measure_pairs "$recipe" "$recipe" 1 /
  tell_runs ''
}

# The same of real applications, whose own time is most of it. What the appliance knows of them counts as cc-ci's.
group_real() {
  part measure_matrix
  part measure_keycloak
}

measure_matrix() {
  "$root/scripts/real-images" matrix-synapse
  measure_pairs real/matrix-synapse matrix-synapse 2 /health
  tell_runs matrix_synapse_
}

measure_keycloak() {
  "$root/scripts/real-images" keycloak
  measure_pairs real/keycloak keycloak 2 /realms/master
  tell_runs keycloak_
}

# measure_pairs FIXTURE RECIPE SERVICES PATH: pairs of a cc-ci run and the bare sequence, each first in its turn. SERVICES have a
# health check, PATH answers 200 when it is up.
measure_pairs() {
  local pair before
  need_root 'deploying on a Docker Swarm'
  docker_up
  images_up traefik
  vip_up
  world_setup "$work/runs-$2"
  pairs_of=("$2" "$3" "$4")
  echo "recipes_dir: $root/recipes" >>"$config"
  "$cc_ci" dev recipe "$root/tests/recipes/$1" "$dir/clone" >/dev/null
  git -C "$dir/clone" checkout -q change
  before=$(objects)
  at_end=(take_proxy_away)
  "$cc_ci" reconcile swarm --config "$config" >/dev/null
  "$cc_ci" reconcile proxy --config "$config" >/dev/null
  say "$2: $bench_pairs pairs of a run and the bare sequence"
  ours=() theirs=() ours_but=() theirs_but=() inside=() waits=() noticed=()
  for ((pair = 1; pair <= bench_pairs; pair++)); do
    if ((pair % 2)); then cc_ci_run; bare_run; else bare_run; cc_ci_run; fi
    note "$2: pair $pair: cc-ci ${ours[-1]} ms (its own clock ${inside[-1]}, waits ${waits[-1]}, $parts_of_run), bare ${theirs[-1]} ms ($phases)"
  done
  take_proxy_away
  at_end=()
  left=$(comm -13 <(echo "$before") <(objects))
  [[ -z $left ]] || note "$2: left on the Swarm: $left"
}

take_proxy_away() { "$cc_ci" reconcile proxy --remove --config "$config" >/dev/null; }

# tell_runs PREFIX: of the metrics' names.
tell_runs() {
  local run bare wait added
  run=$(figure mean "${ours[@]}") bare=$(figure mean "${theirs[@]}") wait=$(figure mean "${waits[@]}")
  added=$(calculate "(($run - $wait) / $bare - 1) * 100" 1)
  metric "${1}run_s" "$(calculate "$run / 1000")" s '' "$(calculate "($run - $wait) / $bare" 3)"
  metric "${1}bare_s" "$(calculate "$bare / 1000")" s
  metric "${1}run_waits_for_monitor_s" "$(calculate "$wait / 1000")" s
  metric "${1}run_added_percent" "$added" % '<=5'
  # When the proxy looks is chance, up to a second and more for either; without that part there is less noise.
  run=$(figure mean "${ours_but[@]}") bare=$(figure mean "${theirs_but[@]}")
  metric "${1}run_added_outside_proxy_percent" "$(calculate "(($run - $wait) / $bare - 1) * 100" 1)" %
  metric "${1}healthy_to_noticed_ms" "$(figure median "${noticed[@]}")" ms '<=150'
  note "${1:-main}: healthy → noticed: ${noticed[*]} ms"
}

# From the start of the program to its end: what is wanted, and what it needs to get there.
cc_ci_run() {
  local began ended events
  # Containers of this world's apps only, by their stack's name.
  docker events --since "$(date +%s)" --filter type=container --filter 'event=health_status' \
    --format '{{.TimeNano}} {{.Action}} {{index .Actor.Attributes "com.docker.stack.namespace"}}' >"$dir/events.txt" &
  events=$!
  pids+=("$events")
  began=$(milliseconds)
  "$cc_ci" run "$dir/clone" --stage install --config "$config" --log "$dir/run.log" >"$dir/run.txt" 2>&1 || { cat "$dir/run.txt" >&2; die 'the run did not pass'; }
  ended=$(milliseconds)
  world_stop "$events"
  ours+=($((ended - began)))
  read_run
}

# What the run's log and Docker's events say of its parts.
read_run() {
  local figures
  figures=$(python3 "$bench_lib/run_log.py" "$dir/run.log" "$dir/events.txt" "_${domain//./_}")
  inside+=("$(jq .inside_ms <<<"$figures")") waits+=("$(jq .waited_ms <<<"$figures")") noticed+=("$(jq .noticed_ms <<<"$figures")")
  ours_but+=($((ours[-1] - $(jq .parts.answers <<<"$figures"))))
  parts_of_run=$(jq -r '.parts | to_entries | map("\(.key) \(.value)") | join(", ")' <<<"$figures")
}

bare_run() {
  local figures
  figures=$("$bench_lib/bare.sh" "$cc_ci" "$dir/clone" "bare-$(printf %06x $((RANDOM * RANDOM % 16777216))).$domain" \
    "$proxy" "$dir/authority.pem" "${pairs_of[@]}")
  theirs+=("$(jq .total <<<"$figures")")
  theirs_but+=("$(jq '.total - .answers' <<<"$figures")")
  phases=$(jq -r 'del(.total) | to_entries | map("\(.key) \(.value)") | join(", ")' <<<"$figures")
}
