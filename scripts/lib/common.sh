# shellcheck shell=bash disable=SC2034
# What every rig script needs: talk, locks that hold for the whole machine, packages, detached daemons.
# Sourced. The rig brings up what development, demo and tests need on a bare Debian machine; the product never uses it.
set -euo pipefail

rig_lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# A cache may be deleted at any time: everything in it can be fetched again.
rig_cache=${CC_CI_CACHE:-${HOME:-/tmp}/.cache/cc-ci}
# Locks, process ids and logs of this boot. One per user, since a sticky directory refuses root another user's files.
if ((EUID == 0)); then rig_run=/run/cc-ci-rig; else rig_run=${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}/cc-ci-rig-$EUID; fi
[[ -d $rig_run ]] || (umask 077 && mkdir -p "$rig_run")

say() { printf 'rig: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
need_root() { ((EUID == 0)) || die "${1:-this} needs root: run it with sudo"; }

# with_lock NAME CMD…: one caller at a time on this machine. CMD runs in a subshell; do not nest the same name.
with_lock() (
  name=$1
  shift
  exec {lock}>>"$rig_run/$name.lock"
  if ! flock -n "$lock"; then
    say "waiting for another caller that holds the $name lock"
    flock -w 900 "$lock" || die "still locked after 15 minutes: $rig_run/$name.lock"
  fi
  "$@"
)

# detach PIDFILE LOG CMD…: a daemon that outlives the caller and holds nothing of it, above all none of its locks.
detach() (
  pidfile=$1 log=$2
  shift 2
  exec </dev/null >>"$log" 2>&1
  for fd in /proc/"$BASHPID"/fd/*; do
    fd=${fd##*/}
    if ((fd > 2)); then exec {fd}>&-; fi
  done
  cd /
  # shellcheck disable=SC2016 # expands in the new session, where $$ is the daemon's id
  exec setsid -f sh -c 'echo $$ >"$0"; exec "$@"' "$pidfile" "$@"
)

# stop_daemon PIDFILE NAME: ends the daemon that `detach` started, if the id still is a process of that name.
stop_daemon() {
  local pid
  [[ -s $1 ]] || return 0
  pid=$(<"$1")
  if running "$1" "$2"; then
    kill "$pid"
    timeout 30 tail --pid="$pid" -s 0.05 -f /dev/null || die "process $pid ($2) did not end within 30 s"
  fi
  rm -f "$1"
}

# running PIDFILE NAME: the id in the file is a live process whose command line has NAME in it.
running() {
  local pid
  [[ -s $1 ]] && pid=$(<"$1") && [[ -r /proc/$pid/cmdline ]] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$2"
}

# apt_install REASON PKG…: installs what is missing of the packages; says why before it does.
apt_install() {
  local reason=$1 package missing=()
  shift
  for package in "$@"; do
    # shellcheck disable=SC2016 # dpkg's own format
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  have apt-get || die "$reason: install ${missing[*]} by hand (this machine has no apt)"
  need_root "installing ${missing[*]}"
  say "installing ${missing[*]}: $reason"
  apt_lists
  with_lock apt apt_quietly install -y --no-install-recommends "${apt_options[@]}" "${missing[@]}"
}
apt_options=()

# apt_lists: package lists are there, and no older than a day; at most one update each boot.
apt_lists() {
  local boot stamp=$rig_run/apt-updated
  boot=$(cat /proc/sys/kernel/random/boot_id)
  if apt_lists_exist && { [[ -n $(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 -print -quit) ]] ||
    [[ -f $stamp && $(<"$stamp") == "$boot" ]]; }; then
    return 0
  fi
  need_root 'updating the package lists'
  say 'updating the package lists'
  with_lock apt apt_quietly update
  echo "$boot" >"$stamp"
}

apt_lists_exist() { compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; }

# Quiet unless it fails; waits for a dpkg that somebody else runs.
apt_quietly() {
  local log=$rig_run/apt.log
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null && return
  tail -n 20 "$log" >&2
  die "apt-get $1 failed; the whole output is in $log"
}
