# shellcheck shell=bash disable=SC2154
# Pages a second, beside nginx with the same bytes in files: same machine, same minutes, same load tool, by turns.

bench_runs=10000 bench_checks=40
wrk_options=(-t2 -c32 -d"${CC_CI_BENCH_SECONDS:-4}s")

group_web() {
  seed
  part measure_pages
}

# seed: a state directory with history, made once; sets seeded.
seed() {
  seeded=$work/seeded
  [[ ! -d $seeded ]] || return 0
  say "writing a history of $bench_runs runs with $bench_checks checks each"
  "$cc_ci" dev seed --dir "$seeded" --runs "$bench_runs" --checks "$bench_checks"
}

# seeded_world NAME: a world whose `serve` has that history, and a forge with nothing in it.
seeded_world() {
  world_setup "$work/$1"
  sed -i "s|^state_dir:.*|state_dir: $seeded|" "$config"
  world_forge
}

measure_pages() {
  local name targets
  apt_install 'load is made with it' wrk
  nginx_install
  seeded_world pages
  world_start serve
  serve_pid=${pids[-1]}
  world_page /
  paths
  files
  nginx_start
  say "web: $(wc -l <"$dir/run_page.txt") run pages, the list of $(wc -c <"$dir/www/runs.html") bytes, a badge; three turns each"
  declare -A targets=([run_list]='>=0.5' [run_page]='>=0.4' [badge]='>=0.6')
  for name in run_list run_page badge; do beside_nginx "$name" "${targets[$name]}"; done
  uncached
  metric serve_loaded_rss_mb "$(memory "$serve_pid")" MB '<=25'
}

# paths: what is asked for. Lists and badges are one page each; run pages are of 1,000 finished runs, always the same ones.
paths() {
  local recipes
  echo /runs >"$dir/run_list.txt"
  awk -v most="$bench_runs" 'BEGIN { srand(1)
    while (n < 1000 && n < most) { run = 1 + int(rand() * most); if (!(run in seen)) { seen[run]; n++; print "/runs/" run } } }' \
    >"$dir/run_page.txt"
  mapfile -t recipes < <("$cc_ci" runs list --state "$seeded" -n 1000 --json | jq -r '.[].recipe' | sort -u)
  printf '/badge/%s.svg\n' "${recipes[0]}" >"$dir/badge.txt"
  # Filtered and deep at once, and far more of them than the server keeps pages.
  printf '%s\n' "${recipes[@]}" | awk -v most="$bench_runs" '{ recipes[n++] = $1 } END { srand(2)
    split("passed failed timed-out infra", outcomes, " ")
    for (i = 0; i < 100000; i++) {
      line = "/runs?before=" (1 + int(rand() * most))
      if (rand() < 0.7) line = line "&recipe=" recipes[int(rand() * n)]
      if (rand() < 0.5) line = line "&outcome=" outcomes[1 + int(rand() * 4)]
      print line } }' >"$dir/filtered.txt"
}

# files: what cc-ci answers, byte for byte, for nginx to serve at the same addresses.
files() {
  local list
  mkdir -p "$dir/www/runs" "$dir/www/badge"
  curl -fsS -o "$dir/www/runs.html" "$web/runs"
  for list in run_page badge; do sed "s|^.*\$|url = \"$web&\"\noutput = \"$dir/www&\"|" "$dir/$list.txt"; done >"$dir/pages.curl"
  curl -fsS --config "$dir/pages.curl"
}

# Installed without being started: some machines do that with every daemon.
nginx_install() {
  local policy=/usr/sbin/policy-rc.d
  if [[ -x /usr/sbin/nginx ]]; then return; fi
  if [[ -e $policy ]]; then apt_install 'it is what the pages are measured against' nginx-light; return; fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  (apt_install 'it is what the pages are measured against' nginx-light) || { rm -f "$policy"; return 1; }
  rm -f "$policy"
}

nginx_start() {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  nginx=http://127.0.0.1:$port
  chmod 755 "$work" "$dir"
  cat >"$dir/nginx.conf" <<NGINX
daemon off;
worker_processes 2;
pid $dir/nginx.pid;
error_log $dir/nginx.txt;
events { worker_connections 1024; }
http {
  access_log off;
  gzip off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  open_file_cache max=4096 inactive=10m;
  types { text/html html; image/svg+xml svg; }
  default_type text/html;
  client_body_temp_path $dir; proxy_temp_path $dir; fastcgi_temp_path $dir; uwsgi_temp_path $dir; scgi_temp_path $dir;
  server {
    listen 127.0.0.1:$port;
    root $dir/www;
    location = /runs { try_files /runs.html =404; }
  }
}
NGINX
  /usr/sbin/nginx -c "$dir/nginx.conf" -p "$dir" 2>>"$dir/nginx.txt" &
  pids+=($!)
  until curl -fs -o /dev/null "$nginx/runs"; do kill -0 "${pids[-1]}" || die "$(cat "$dir/nginx.txt")"; done
  cmp -s "$dir/www/runs.html" <(curl -fsS "$nginx/runs") || die 'nginx serves other bytes'
}

# load SERVER PATHS: one turn of wrk; prints its figures.
load() { wrk "${wrk_options[@]}" -s "$bench_lib/wrk.lua" "$1" -- "$dir/$2.txt" | tail -n 1; }

# beside_nginx NAME TARGET: three turns of each, one after the other; the ratio is the median of the turns' own.
beside_nginx() {
  local turn ours theirs rates=() peer=() ratios=() late=() bad=0
  wrk "${wrk_options[@]:0:2}" -d1s -s "$bench_lib/wrk.lua" "$web" -- "$dir/$1.txt" >/dev/null
  for turn in 1 2 3; do
    ours=$(load "$web" "$1")
    theirs=$(load "$nginx" "$1")
    rates+=("$(jq .rps <<<"$ours")") peer+=("$(jq .rps <<<"$theirs")") late+=("$(jq .p99_ms <<<"$ours")")
    ratios+=("$(jq -n "$ours.rps / $theirs.rps")")
    bad=$((bad + $(jq .bad <<<"$ours") + $(jq .bad <<<"$theirs")))
  done
  ratio=$(figure median "${ratios[@]}")
  metric "$1_rps" "$(calculate "$(figure median "${rates[@]}")" 0)" requests/s '' "$ratio"
  metric "$1_ratio" "$ratio" 'of nginx' "$2"
  metric "$1_p99_ms" "$(figure median "${late[@]}")" ms
  note "web: $1: nginx $(calculate "$(figure median "${peer[@]}")" 0) requests/s; ratios of the turns $(echo "${ratios[@]}" | xargs printf '%.2f ')"
  ((bad == 0)) || note "web: $1: $bad requests were not answered well"
}

uncached() {
  local turn ours rates=() late=() bad=0
  for turn in 1 2 3; do
    ours=$(load "$web" filtered)
    rates+=("$(jq .rps <<<"$ours")") late+=("$(jq .p99_ms <<<"$ours")")
    bad=$((bad + $(jq .bad <<<"$ours")))
  done
  metric run_list_filtered_rps "$(calculate "$(figure median "${rates[@]}")" 0)" requests/s '>=5000'
  metric run_list_filtered_p99_ms "$(figure median "${late[@]}")" ms
  ((bad == 0)) || note "web: filtered: $bad requests were not answered well"
}
