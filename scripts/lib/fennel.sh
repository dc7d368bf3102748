#!/usr/bin/env bash
# Fennel's compiler, one file of Lua, for the tests of scripts: prints its path. What is installed is taken; else the
# package of Debian 13 is unpacked into the cache, without mixing releases.
#
#   fennel.sh       or source it and call fennel_up
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}common.sh"

fennel_release=trixie
fennel_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
fennel_cache=$rig_cache/fennel

# fennel_up: prints the compiler's path; fetches it the first time.
fennel_up() {
  local path
  for path in "${CC_CI_FENNEL:-}" /usr/share/lua/5.4/fennel.lua "$fennel_cache/fennel.lua"; do
    if [[ -n $path && -f $path ]]; then
      echo "$path"
      return
    fi
  done
  have apt-get || die "Fennel's compiler is missing: install fennel and say where fennel.lua is in CC_CI_FENNEL (this machine has no apt)"
  with_lock fennel fennel_fetch
  echo "$fennel_cache/fennel.lua"
}

# fennel_fetch: the package of a newer release, with lists and caches of its own.
fennel_fetch() {
  local work mirror
  # Somebody else may have fetched it while this one waited.
  [[ ! -f $fennel_cache/fennel.lua ]] || return 0
  mirror=$(fennel_mirror)
  [[ -n $mirror ]] || die 'no Debian mirror is in the sources of apt'
  say "fetching fennel of Debian $fennel_release"
  work=$(mktemp -d)
  mkdir -p "$work"/{lists,cache/archives}/partial "$work/unpacked" "$fennel_cache"
  echo "deb [signed-by=$fennel_keyring] $mirror $fennel_release main" >"$work/sources.list"
  (
    cd "$work"
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
      -o "Dir::Cache=$work/cache" -o APT::Sandbox::User="$(id -un)")
    "${apt[@]}" update && "${apt[@]}" download fennel && dpkg-deb -x fennel_*.deb unpacked
  ) >"$rig_run/fennel.log" 2>&1 </dev/null || {
    tail -n 20 "$rig_run/fennel.log" >&2
    rm -rf "$work"
    die "fennel could not be fetched; the whole output is in $rig_run/fennel.log"
  }
  # Whole or not at all: others look for it without the lock.
  cp "$work/unpacked/usr/share/lua/5.4/fennel.lua" "$fennel_cache/fennel.lua.new"
  mv "$fennel_cache/fennel.lua.new" "$fennel_cache/fennel.lua"
  rm -rf "$work"
}

# fennel_mirror: the mirror that this machine's own sources name.
fennel_mirror() {
  # Not all of these files are there, and one line is enough.
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null || true; } |
    awk '/^(URIs:|deb) / { for (i = 2; i <= NF; i++) if ($i ~ /^https?:.*\/debian\/?$/) { if (!n++) print $i } }'
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then fennel_up; fi
