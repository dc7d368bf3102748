#!/usr/bin/env bash
# axe-core, which looks at pages for what keeps people out: prints the path of its script. One version, fetched from npm into
# the cache.
#
#   axe.sh          or source it and call axe_up
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}common.sh"

axe_version=4.14.1
axe_cache=$rig_cache/axe-$axe_version

# axe_up: prints the path of axe.min.js; fetches it the first time.
axe_up() {
  local path
  for path in "${CC_CI_AXE:-}" "$axe_cache/axe.min.js"; do
    if [[ -n $path && -f $path ]]; then
      echo "$path"
      return
    fi
  done
  have npm || die 'npm is missing; say where axe.min.js of axe-core is in CC_CI_AXE'
  with_lock axe axe_fetch
  echo "$axe_cache/axe.min.js"
}

axe_fetch() {
  local work
  [[ ! -f $axe_cache/axe.min.js ]] || return 0
  say "fetching axe-core $axe_version"
  work=$(mktemp -d)
  (cd "$work" && npm pack --silent "axe-core@$axe_version" && tar xzf axe-core-*.tgz) >"$rig_run/axe.log" 2>&1 </dev/null || {
    tail -n 20 "$rig_run/axe.log" >&2
    rm -rf "$work"
    die "axe-core could not be fetched; the whole output is in $rig_run/axe.log"
  }
  mkdir -p "$axe_cache"
  cp "$work/package/axe.min.js" "$axe_cache/axe.min.js.new"
  mv "$axe_cache/axe.min.js.new" "$axe_cache/axe.min.js"
  rm -rf "$work"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then axe_up; fi
