#!/usr/bin/env bash
# Prometheus' own checker of metrics and rules: prints its path. What is installed is taken; else Debian's package is unpacked
# into the cache, so that no Prometheus is started here.
#
#   promtool.sh     or source it and call promtool_up
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}common.sh"

promtool_cache=$rig_cache/promtool

# promtool_up: prints the program's path; fetches it the first time.
promtool_up() {
  local path
  for path in "${CC_CI_PROMTOOL:-}" "$(command -v promtool || true)" "$promtool_cache/promtool"; do
    if [[ -n $path && -x $path ]]; then
      echo "$path"
      return
    fi
  done
  have apt-get || die 'promtool is missing: install prometheus, or say where it is in CC_CI_PROMTOOL'
  apt_lists
  with_lock promtool promtool_fetch
  echo "$promtool_cache/promtool"
}

promtool_fetch() {
  local work
  [[ ! -x $promtool_cache/promtool ]] || return 0
  say "fetching Debian's prometheus for its promtool"
  work=$(mktemp -d)
  (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download prometheus && dpkg-deb -x prometheus_*.deb unpacked) \
    >"$rig_run/promtool.log" 2>&1 </dev/null || {
    tail -n 20 "$rig_run/promtool.log" >&2
    rm -rf "$work"
    die "prometheus could not be fetched; the whole output is in $rig_run/promtool.log"
  }
  mkdir -p "$promtool_cache"
  # Whole or not at all: others look for it without the lock.
  cp "$work/unpacked/usr/bin/promtool" "$promtool_cache/promtool.new"
  mv "$promtool_cache/promtool.new" "$promtool_cache/promtool"
  rm -rf "$work"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then promtool_up; fi
