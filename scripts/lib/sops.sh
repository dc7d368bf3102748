#!/usr/bin/env bash
# The real sops, for the tests in which it reads our files and we read its: prints its path. Built once, with Go.
#
#   sops.sh       or source it and call sops_up
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}common.sh"

sops_version=v3.13.3
sops_program=$rig_cache/sops-$sops_version/sops

# sops_up: prints the program's path; minutes the first time.
sops_up() {
  if [[ ! -x $sops_program ]]; then
    have go || die "sops $sops_version is built with Go, and there is none"
    say "building sops $sops_version, once"
    with_lock sops env GOBIN="${sops_program%/*}" go install -trimpath -ldflags '-s -w' \
      "github.com/getsops/sops/v3/cmd/sops@$sops_version" >&2
  fi
  echo "$sops_program"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then sops_up; fi
