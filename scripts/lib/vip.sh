#!/usr/bin/env bash
# Service VIPs where the kernel has no IPVS (see vip.py); where it has, nothing is started.
#
#   vip.sh up | down       or source it and call vip_up, vip_down
#
# shellcheck source-path=SCRIPTDIR source=docker.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}docker.sh"

vip_pidfile=$rig_run/vip${docker_socket//\//-}.pid
vip_log=${vip_pidfile%.pid}.log

# vip_up: returns when VIPs work, by the kernel or by a helper that outlives the caller. One helper for each engine.
vip_up() {
  if ipvs_there || running "$vip_pidfile" vip.py; then return 0; fi
  with_lock vip bash "$rig_lib/vip.sh" start
}

vip_down() { stop_daemon "$vip_pidfile" vip.py; }

ipvs_there() {
  [[ -e /proc/net/ip_vs ]] && return
  have modprobe && modprobe -q ip_vs 2>/dev/null && [[ -e /proc/net/ip_vs ]]
}

vip_start() {
  local exec_root=/var/run/docker deadline=$((SECONDS + 20)) started=$rig_run/vip-started.pid
  if running "$vip_pidfile" vip.py; then return 0; fi
  [[ $DOCKER_HOST == unix://* ]] || die "this kernel has no IPVS, and VIPs of an engine at $DOCKER_HOST are not ours to route"
  need_root 'routing service VIPs (this kernel has no IPVS)'
  if ! have ip || ! have iptables || ! have nsenter; then
    apt_install 'service VIPs are routed with them' iproute2 iptables util-linux
  fi
  have python3 || apt_install 'the VIP helper is written in it' python3
  [[ $(readlink -m "$docker_socket") == /run/docker.sock ]] || exec_root=${docker_socket%/*}/exec
  say 'this kernel has no IPVS: starting the VIP helper'
  detach "$started" "$vip_log" python3 "$rig_lib/vip.py" --socket "$docker_socket" --netns "$exec_root/netns" --pidfile "$vip_pidfile"
  until running "$vip_pidfile" vip.py; do
    if ((SECONDS > deadline)) || { [[ -s $started ]] && ! running "$started" vip.py; }; then
      tail -n 5 "$vip_log" >&2
      stop_daemon "$started" vip.py
      die "the VIP helper did not start; its log is $vip_log"
    fi
    sleep 0.05 # it writes its id after the first pass
  done
  rm -f "$started"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case ${1-} in
    up) vip_up ;;
    start) vip_start ;; # under the lock, by vip_up
    down) vip_down ;;
    *) sed -n '2,/^# shell/{/^# shell/!s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
  esac
fi
