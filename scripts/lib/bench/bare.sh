#!/usr/bin/env bash
# What a person would do by hand: a new app, its secrets, deploy, wait until it is healthy and answers through the proxy,
# undeploy, remove its volumes, wait until all of it is gone. The peer of a cc-ci run: same abra, images, recipe and proxy.
# It waits for Docker's events and for nothing else, and prints its milliseconds as one JSON object.
#
#   bare.sh PROGRAM CLONE DOMAIN PROXY AUTHORITY RECIPE SERVICES PATH
#
# PROGRAM has `abra` in it, CLONE is a git repository whose checked-out commit is deployed, DOMAIN the app's,
# PROXY an address and port, AUTHORITY the certificate that signed the proxy's, RECIPE what the recipe calls itself, SERVICES
# how many of its services have a health check, PATH what answers 200 when it is up.
set -euo pipefail
[[ $# == 8 ]] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
cc_ci=$1 clone=$2 domain=$3 proxy=$4 authority=$5 recipe=$6 services=$7 path=$8
stack=${domain//./_}
patience=600
home=$(mktemp -d)
export ABRA_DIR=$home/abra
events=

main() {
  trap leave EXIT
  trap 'exit 130' INT TERM
  local began deployed healthy answered undeployed stopped
  listen
  began=$(now)
  mkdir -p "$ABRA_DIR"/{servers/default,recipes,catalogue,logs}
  git clone -q "$clone" "$ABRA_DIR/recipes/$recipe"
  abra app new "$recipe" -C --server default --domain "$domain"
  sed -i -e "s/^DOMAIN=.*/DOMAIN=$domain/" -e 's/^LETS_ENCRYPT_ENV=.*/LETS_ENCRYPT_ENV=/' "$ABRA_DIR/servers/default/$domain.env"
  abra app secret generate "$domain" --all -C
  abra app deploy "$domain" -C -c --no-domain-checks
  deployed=$(now)
  for ((; services > 0; services--)); do heard 'health_status: healthy'; done
  healthy=$(now)
  until answers; do in_time; done
  answered=$(now)
  abra app undeploy "$domain"
  undeployed=$(now)
  until [[ -z $(containers) ]]; do heard destroy; done
  stopped=$(now)
  until abra app volume rm "$domain" -f 2>>"$home/volume.txt"; do in_time; done
  all_gone
  rm -f "$ABRA_DIR/servers/default/$domain.env"
  printf '{"total":%d,"deploy":%d,"healthy":%d,"answers":%d,"undeploy":%d,"stopped":%d,"gone":%d}\n' \
    $(($(now) - began)) $((deployed - began)) $((healthy - deployed)) $((answered - healthy)) \
    $((undeployed - answered)) $((stopped - undeployed)) $(($(now) - stopped))
}

now() { echo $((${EPOCHREALTIME/./} / 1000)); }
in_time() { ((SECONDS < patience)) || fail "not done within $patience s"; }
fail() { echo "bare.sh: $*" >&2; cat "$home"/*.txt >&2; exit 1; }

abra() { "$cc_ci" abra -n -o "$@" >>"$home/abra.txt" 2>&1 || { tail -n 5 "$home/abra.txt" >&2; return 1; }; }

# Since before the first act, so that nothing is missed.
listen() {
  exec {stream}< <(exec docker events --since "$(date +%s)" --filter type=container --format '{{.Action}}' \
    --filter "label=com.docker.stack.namespace=$stack")
  events=$!
}

# heard ACTION: until Docker tells of it.
heard() {
  local action
  while read -rt "$patience" -u "$stream" action; do
    [[ $action != "$1" ]] || return 0
  done
  fail "no event \`$1\` within $patience s"
}

answers() {
  [[ $(curl -s -o /dev/null -w '%{http_code}' --max-time 5 --cacert "$authority" \
    --connect-to "$domain:443:$proxy" "https://$domain$path") == 200 ]]
}

containers() { docker ps -aq --filter "label=com.docker.stack.namespace=$stack"; }

# The stack is gone with its last container but for what has no event of its own; all at once, to be quick.
all_gone() {
  until [[ -z $(left) ]]; do in_time; done
}

left() {
  local kind
  for kind in service network config secret volume; do
    docker "$kind" ls -q --filter "label=com.docker.stack.namespace=$stack" &
  done
  wait
}

# After a failure the stack may still be there.
leave() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  [[ -z $events ]] || kill "$events" 2>/dev/null || true
  if ((status)); then
    docker stack rm "$stack" >/dev/null 2>&1 || true
    SECONDS=0
    until [[ -z $(containers) ]] || ((SECONDS > 30)); do :; done
    docker volume ls -q --filter "label=com.docker.stack.namespace=$stack" | xargs -r docker volume rm >/dev/null || true
  fi
  rm -rf "$home"
  exit "$status"
}

main
