#!/usr/bin/env bash
# A Docker engine that answers: the one that runs already, systemd's, or Debian's started by hand.
#
#   docker.sh up | down | swarm       or source it and call docker_up, docker_down_if_ours, swarm_up
#
# DOCKER_HOST chooses another socket. An engine started there keeps everything beside that socket and has a network of
# its own without a way out: good for trying this rig, not for apps that somebody wants to reach.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}common.sh"

export DOCKER_HOST=${DOCKER_HOST:-unix:///var/run/docker.sock}
docker_socket=${DOCKER_HOST#unix://}
docker_pidfile=$rig_run/dockerd${docker_socket//\//-}.pid
docker_log=${docker_pidfile%.pid}.log

# docker_up: returns when the engine answers.
docker_up() {
  if docker_answers; then return 0; fi
  # A process of its own, so that a caller's `if docker_up` does not switch `set -e` off in there.
  with_lock docker bash "$rig_lib/docker.sh" start
  docker_client
}

# A client in PATH that does not run gives way to the package's.
docker_client() { docker --version >/dev/null 2>&1 || export PATH=/usr/bin:$PATH; }

docker_answers() { timeout 5 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# docker_down_if_ours: ends the engine only if docker_up started it.
docker_down_if_ours() { stop_daemon "$docker_pidfile" dockerd; }

# swarm_up [NETWORK…]: a one-node swarm and attachable overlay networks, for rig work that does without the product.
swarm_up() {
  local network
  docker_up
  if [[ $(docker info --format '{{.Swarm.LocalNodeState}}') != active ]]; then
    say 'making this machine a swarm of one node'
    docker swarm init --advertise-addr 127.0.0.1 >/dev/null
  fi
  for network in "$@"; do
    docker network inspect "$network" >/dev/null 2>&1 || docker network create -d overlay --attachable "$network" >/dev/null
  done
}

docker_start() {
  # Another caller may have done it while this one waited for the lock.
  if docker_answers; then return 0; fi
  [[ $DOCKER_HOST == unix://* ]] || die "no engine answers at $DOCKER_HOST, and only a local one can be started"
  need_root 'starting a Docker engine'
  docker_install
  if docker_answers; then return 0; fi
  say "starting the Docker engine at $docker_socket"
  if [[ -d /run/systemd/system && $(readlink -f "$docker_socket") == /run/docker.sock ]]; then
    systemctl start docker || die 'systemd could not start it: journalctl -u docker'
    docker_log=''
  else
    docker_by_hand
  fi
  docker_wait
}

docker_install() {
  have dockerd || {
    # A client that was put into the package's place by hand stays as it is.
    if [[ -e /usr/bin/docker ]] && ! dpkg -S /usr/bin/docker >/dev/null 2>&1; then
      apt_options=(-o DPkg::Options::=--path-exclude=/usr/bin/docker)
    fi
    apt_install 'no Docker engine answers' docker.io
    apt_options=()
  }
  if ! have ip || ! have iptables; then apt_install 'the engine sets up networks with them' iproute2 iptables; fi
  docker_client
  have docker || apt_install 'no Docker client' docker-cli # newer Debian has it in a package of its own
}

docker_by_hand() {
  local options=() program=(dockerd) pidfile=/var/run/docker.pid beside
  if [[ $(readlink -m "$docker_socket") != /run/docker.sock ]]; then
    beside=${docker_socket%/*}
    mkdir -p "$beside"
    pidfile=$beside/docker.pid
    # A network of its own: it would flush the firewall rules of the usual engine, and take its bridge away.
    # shellcheck disable=SC2016 # expands in there
    program=(unshare --net sh -c 'ip link set lo up; exec dockerd "$@"' dockerd)
    options=(--host "$DOCKER_HOST" --data-root "$beside/data" --exec-root "$beside/exec" --pidfile "$pidfile")
  fi
  # The engine refuses to start while its old process id belongs to anybody at all.
  running "$pidfile" dockerd || rm -f "$pidfile"
  : >"$docker_log"
  detach "$docker_pidfile" "$docker_log" "${program[@]}" "${options[@]}"
}

docker_wait() {
  local deadline=$((SECONDS + ${CC_CI_DOCKER_DEADLINE:-60}))
  until docker_answers; do
    if [[ -n $docker_log ]] && [[ -s $docker_pidfile ]] && ! running "$docker_pidfile" dockerd; then
      docker_failed 'the engine ended at once'
    fi
    ((SECONDS < deadline)) || docker_failed 'the engine does not answer'
    sleep 0.1 # nothing announces the socket
  done
}

docker_failed() {
  [[ -z $docker_log ]] || tail -n 15 "$docker_log" >&2
  die "$1${docker_log:+; its whole log is $docker_log}"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case ${1-} in
    up) docker_up ;;
    start) docker_start ;; # under the lock, by docker_up
    down) docker_down_if_ours ;;
    swarm) swarm_up proxy ;;
    *) sed -n '2,/^# shell/{/^# shell/!s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
  esac
fi
