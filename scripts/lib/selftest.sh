#!/usr/bin/env bash
# Proves the rig on this machine: engine, images, swarm, a stack reached from outside, two services that talk by VIP,
# the test app's faults, and that nothing of it stays behind. Touches only what carries its own name.
#
#   selftest.sh
#
# shellcheck source-path=SCRIPTDIR source=docker.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}docker.sh"
# shellcheck source=images.sh
source "$rig_lib/images.sh"
# shellcheck source=vip.sh
source "$rig_lib/vip.sh"

stack=rig-selftest-$$
label=com.docker.stack.namespace=$stack

main() {
  trap cleanup EXIT
  timed 'the engine answers' docker_up
  timed 'all images are there' images_up
  timed 'and found again' images_up
  timed 'the swarm is there' swarm_up proxy
  timed 'VIPs are routed' vip_up
  deploy
  timed 'nginx answers at the address of its task' eventually from_client "http://tasks.web/" 'Welcome to nginx'
  timed 'and at its VIP' eventually from_client "http://web/" 'Welcome to nginx'
  timed 'the app answers at its VIP' eventually from_client "http://app:8080/" '>2</b>'
  timed 'both replicas of the app are asked' eventually both_asked
  timed 'the test app does what MODE says' faults
  cleanup
  trap - EXIT
  nothing_left
  say 'selftest passed'
}

timed() {
  local what=$1 t0=$EPOCHREALTIME
  shift
  "$@"
  say "ok: $what ($(seconds_since "$t0") s)"
}

# eventually CMD…: until it succeeds, for 30 s.
eventually() {
  local deadline=$((SECONDS + 30))
  until "$@"; do
    ((SECONDS < deadline)) || die "not within 30 s: $*"
    sleep 0.1
  done
}

deploy() {
  docker stack deploy -c - "$stack" >/dev/null 2>&1 <<'YAML'
version: "3.9"
services:
  web: {image: "nginx:1.29.0"}
  app:
    image: cc-ci-test/app:2
    deploy: {replicas: 2}
    healthcheck: {test: [CMD, wget, -q, -O-, "http://127.0.0.1:8080/healthz"], interval: 1s}
  client: {image: "cc-ci-test/app:1"}
YAML
}

# from_client URL TEXT: the client's container gets a page with the text in it.
from_client() {
  local client
  client=$(docker ps -q --filter "name=^${stack}_client")
  [[ -n $client ]] && docker exec "$client" timeout 2 wget -q -O- "$1" 2>/dev/null | grep -qF -- "$2"
}

# both_asked: each of the app's two containers logged a request for its front page.
both_asked() {
  local container
  from_client "http://app:8080/" '>2</b>' || return
  for container in $(docker ps -q --filter "name=^${stack}_app"); do
    docker logs "$container" 2>&1 | grep -q '^GET / 200$' || return
  done
}

faults() {
  local out t0=$SECONDS
  out=$(fault crash) && die 'MODE=crash exits 0'
  [[ $out == *'crashing, as asked'* ]] || die "MODE=crash says: $out"
  out=$(fault crash-after:1) && die 'MODE=crash-after exits 0'
  ((SECONDS > t0)) || die 'MODE=crash-after:1 did not wait'
  out=$(fault nonsense) && die 'an unknown MODE passes'
  out=$(fault print-secret,crash -v "$secret:/run/secrets/key:ro") && die 'it goes on after a crash'
  [[ $out == *'plain s3cret-value'*'base64 czNjcmV0LXZhbHVl'*'hex 7333637265742d76616c7565'* ]] || die "print-secret prints: $out"
  faults_of_health
}

secret=$(mktemp)
printf 's3cret-value\n' >"$secret"

fault() { docker run --rm --label "$label" -e "MODE=$1" "${@:2}" cc-ci-test/app:1 2>&1; }

faults_of_health() {
  local id
  id=$(docker run -d --label "$label" -e MODE=never-healthy,ignore-term cc-ci-test/app:1)
  eventually page_of "$id" / '>1</b>'
  if docker exec "$id" wget -q -O- http://127.0.0.1:8080/healthz >/dev/null 2>&1; then die 'never-healthy is healthy'; fi
  docker kill -s TERM "$id" >/dev/null
  page_of "$id" / '>1</b>' || die 'ignore-term ended on SIGTERM'
  docker rm -fv "$id" >/dev/null
}

page_of() { docker exec "$1" wget -q -O- "http://127.0.0.1:8080$2" 2>/dev/null | grep -qF -- "$3"; }

# Swarm lets go of networks and volumes only after the last container, so the removal is asked for again.
cleanup() {
  rm -f "$secret"
  docker stack rm "$stack" >/dev/null 2>&1 || true
  docker ps -aq --filter "label=$label" | xargs -r docker rm -fv >/dev/null 2>&1 || true
  timed 'everything of it is gone' eventually gone
}

gone() {
  docker network ls -q --filter "label=$label" | xargs -r docker network rm >/dev/null 2>&1 || true
  [[ -z $(left) ]]
}

left() {
  local kind
  docker ps -aq --filter "label=$label"
  for kind in service network volume config secret; do docker "$kind" ls -q --filter "label=$label"; done
}

nothing_left() { [[ -z $(left) ]] || die "left behind: $(left | xargs)"; }

main "$@"
