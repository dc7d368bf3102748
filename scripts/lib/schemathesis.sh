#!/usr/bin/env bash
# schemathesis, which asks an API for all that its OpenAPI document allows, and for what it does not: prints the program's path.
# One version, with all that it needs, from PyPI into a directory of its own in the cache; schemathesis.txt has the hashes.
#
#   schemathesis.sh     or source it and call schemathesis_up
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}common.sh"

schemathesis_version=$(sed -n 's/^schemathesis==\([^ ]*\).*/\1/p' "$rig_lib/schemathesis.txt")
schemathesis_home=$rig_cache/schemathesis-$schemathesis_version

# schemathesis_up: prints the program's path; fetches it the first time.
schemathesis_up() {
  local path
  for path in "${CC_CI_SCHEMATHESIS:-}" "$schemathesis_home/bin/st"; do
    if [[ -n $path && -x $path ]]; then
      echo "$path"
      return
    fi
  done
  have python3 || die 'python3 is missing; say where schemathesis is in CC_CI_SCHEMATHESIS'
  with_lock schemathesis schemathesis_fetch
  echo "$schemathesis_home/bin/st"
}

# What is in a virtual environment knows where it lies, so it is made in its place; the program itself comes last.
schemathesis_fetch() {
  [[ ! -x $schemathesis_home/bin/st ]] || return 0
  say "fetching schemathesis $schemathesis_version"
  rm -rf "$schemathesis_home"
  { python3 -m venv "$schemathesis_home" || { apt_install 'schemathesis lives in one' python3-venv && python3 -m venv "$schemathesis_home"; }; } \
    >"$rig_run/schemathesis.log" 2>&1 </dev/null || schemathesis_not_there
  "$schemathesis_home/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "$rig_lib/schemathesis.txt" >>"$rig_run/schemathesis.log" 2>&1 </dev/null || schemathesis_not_there
}

schemathesis_not_there() {
  tail -n 20 "$rig_run/schemathesis.log" >&2
  rm -rf "$schemathesis_home"
  die "schemathesis could not be fetched; the whole output is in $rig_run/schemathesis.log"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then schemathesis_up; fi
