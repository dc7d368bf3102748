# shellcheck shell=bash
# The Nix side, as far as it can be checked without nixpkgs: form, syntax, pins, and a *stub evaluation* of every module against a
# module system and a schema of our own (nix/stub). It is not a build and boots nothing: `nix flake check` on a machine that has
# nixpkgs is the real gate, with the VM tests, and was never run here.
#
#   nix_checks CC_CI    one line a check, `ok NAME` or `FAILED NAME` with what was wrong; fails if one did. CC_CI is the program.
#
# Sourced, after common.sh. By itself: `bash scripts/lib/nix.sh CC_CI`, and `bash scripts/lib/nix.sh --options` writes
# docs/options.md anew.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
[[ $(type -t apt_install) == function ]] || source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

nix_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
nix_tools=$rig_cache/nix-tools
# The pinned pair; revision, hash and date belong together and come from one machine-written lock.
nix_pins='fd1462031fdee08f65fd0b4c6b64e22239a77870 sha256-n3gKTBIV4ZA5VQpUakffBe3KGu4+mhPoA34rrqS0GkA= 1784432872
f1406619a3884cd5c47992a70b8b35c9c0fcb4c9 sha256-aCWC8ngycU7OdJrU2+Je3qf+1a2ykuBvpPhZT/9tXMc= 1783174389'
# Tenths of systemd's exposure score that a unit may have at most, and the case it is in, if not the smallest. Renewing signals another unit as root; it has no input.
nix_exposure='server 15
runner 25
swarm 20
swarm-heal 20
proxy 20
proxy-heal 20
image-prune 20
backupbot 20
backupbot-heal 20
backup 20 everything'

nix_checks() {
  local check failed=0 said
  nix_cc_ci=$(realpath "$1")
  nix_prepare
  nix_work=$(mktemp -d)
  for check in format dead_code syntax lock paths stub good_cases bad_cases assertions vm_nodes units systemd exposure scripts \
    settings secrets options rules; do
    # A process of its own: in this one's condition the shell would go on after an error.
    if said=$(bash "${BASH_SOURCE[0]}" --check "$check" "$nix_cc_ci" "$nix_work" 2>&1); then
      echo "ok nix $check${said:+: $said}"
    else
      failed=1
      printf 'FAILED nix %s\n%s\n' "$check" "$said"
    fi
  done
  rm -rf "$nix_work"
  return "$failed"
}

nix_prepare() {
  export NIX_CONFIG='build-users-group =
experimental-features = nix-command flakes'
  apt_install 'Nix files are parsed and evaluated with it' nix-bin
  apt_install 'units are judged with it' systemd
  apt_install 'units and settings are compared with it' python3 python3-yaml
  have jq || apt_install 'what Nix says is read with it' jq
  have shellcheck || apt_install 'scripts of units are checked with it' shellcheck
  nix_promtool
  nix_tool nixfmt nixfmt_rs 0.5.3
  nix_tool deadnix deadnix 1.3.1
}

# Prometheus' own judge of its rules, out of its package; the package itself would start a server.
nix_promtool() {
  local work
  [[ ! -x $nix_tools/bin/promtool ]] || return 0
  apt_lists
  work=$(mktemp -d)
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download prometheus && dpkg-deb -x prometheus_*.deb .)
  mkdir -p "$nix_tools/bin"
  install "$work/usr/bin/promtool" "$nix_tools/bin/promtool"
  rm -rf "$work"
}

# nix_tool PROGRAM CRATE VERSION: built once, some minutes.
nix_tool() {
  [[ ! -x $nix_tools/bin/$1 ]] || return 0
  say "building $1, once"
  with_lock nix-tools env CARGO_TARGET_DIR="$nix_tools/target" cargo install --quiet --locked --root "$nix_tools" \
    --version "$3" "$2" >&2
  rm -rf "$nix_tools/target"
}

nix_files() { git ls-files --cached --others --exclude-standard -- '*.nix'; }
# nix_instantiate ARGS…: never a store; nothing is built and nothing is fetched.
nix_instantiate() { nix-instantiate --store dummy:// "$@"; }
# nix_evaluate MODULE…: what the stub evaluation says of modules, as JSON.
nix_evaluate() {
  nix_instantiate --eval --strict --json -E "import ./nix/stub/eval.nix { modules = [ $* ]; }"
}
nix_cases() { find "nix/stub/cases/$1" -name '*.nix' ! -name 'secrets*' | sort; }

nix_check_format() { nix_files | xargs "$nix_tools/bin/nixfmt" --check; }
nix_check_dead_code() { nix_files | xargs "$nix_tools/bin/deadnix" --fail; }

nix_check_syntax() {
  local file failed=0
  while read -r file; do
    nix_instantiate --parse "$file" >/dev/null || failed=1
  done < <(nix_files)
  return "$failed"
}

# Whether flake.nix and the lock speak of the same inputs is Nix's to say; which revisions, ours.
nix_check_lock() {
  local pins alone=$nix_work/flake
  pins=$(jq -r '.nodes | .nixpkgs, .["sops-nix"] | .locked | "\(.rev) \(.narHash) \(.lastModified)"' flake.lock)
  [[ $pins == "$nix_pins" ]] || { printf 'flake.lock pins\n%s\nand should pin\n%s\n' "$pins" "$nix_pins"; return 1; }
  mkdir -p "$alone"
  cp flake.nix flake.lock "$alone"
  nix --offline --store "$nix_work/store" flake metadata --no-update-lock-file "path:$alone" >"$nix_work/metadata" 2>&1 ||
    { cat "$nix_work/metadata"; return 1; }
}

# Every relative path that a Nix file names is there.
nix_check_paths() {
  local file path failed=0
  while read -r file; do
    [[ $file != nix/templates/* ]] || continue
    while read -r path; do
      [[ -e $(dirname "$file")/$path ]] || { echo "$file names $path, which is not there"; failed=1; }
    done < <(sed 's/#.*//; s/"[^"]*"//g' "$file" | grep -oE '(^|[ (])\.{1,2}(/[A-Za-z0-9._-]+)+' | sed 's/^[ (]//')
  done < <(nix_files)
  return "$failed"
}

# The stub refuses what it is there to refuse.
nix_check_stub() {
  local said
  said=$(nix_instantiate --eval --strict --json nix/stub/tests.nix)
  jq -e '.broken == [] and .deniesNothing == [] and .deniesAfterAll == []' <<<"$said" >/dev/null || { echo "$said"; return 1; }
  jq -r '"\(.rules) rules hold, each of \(.entries) entries of the schema denies something"' <<<"$said"
}

nix_check_good_cases() {
  local case failed=0 count=0
  mkdir -p "$nix_work/good"
  while read -r case; do
    count=$((count + 1))
    nix_evaluate "./$case" >"$nix_work/good/$(basename "$case" .nix).json" || { echo "in $case"; failed=1; }
  done < <(nix_cases good)
  ((failed)) || echo "$count"
  return "$failed"
}

# Each bad configuration is refused, with the words that it expects: by the evaluation, or by the program's own check.
nix_check_bad_cases() {
  local case expected said failed=0 count=0
  : >"$nix_work/fired"
  while read -r case; do
    count=$((count + 1))
    expected=$(sed -n '1s/^# expected: //p' "$case")
    if said=$(nix_evaluate "./$case" 2>&1); then
      said=$(nix_judge_settings "$said" 2>&1 | sed 's/^/check-config: /' || true)
    fi
    grep -E '^ *- ' <<<"$said" >>"$nix_work/fired" || true
    if [[ -z $expected || $said != *"${expected#check-config: }"* || ($expected == check-config:* && $said != check-config:*) ]]; then
      printf '%s expected\n  %s\nand heard\n  %s\n' "$case" "$expected" "${said:0:600}"
      failed=1
    fi
  done < <(nix_cases bad)
  ((failed)) || echo "$count"
  return "$failed"
}

# nix_judge_settings EVALUATED: what the program says of each process's settings.
nix_judge_settings() {
  local process file failed=0
  for process in $(jq -r '.configurations | keys[]' <<<"$1"); do
    file=$nix_work/$process.yaml
    jq ".configurations[\"$process\"]" <<<"$1" >"$file"
    "$nix_cc_ci" check-config --without-secrets "$file" || failed=1
  done
  return "$failed"
}

# No assertion that no bad configuration fires.
nix_check_assertions() {
  local message failed=0 count=0
  while read -r message; do
    count=$((count + 1))
    grep -qF -- "${message:0:45}" "$nix_work/fired" || { echo "never fires: $message"; failed=1; }
  done < <(jq -r '.assertions[]' "$nix_work"/good/*.json | sort -u)
  ((failed)) || echo "$count fire"
  return "$failed"
}

# The VM tests cannot run here; the configurations of their machines are evaluated like any other.
nix_check_vm_nodes() {
  local file node special count=0 test alone
  for file in nix/tests/*.nix; do
    test="(import ./$file { lib = import ./nix/stub/lib.nix; pkgs = import ./nix/stub/pkgs.nix; })"
    for node in $(nix_instantiate --eval --strict --json -E "builtins.attrNames $test.nodes" | jq -r '.[]'); do
      nix_judge_machine "$file" "$test.nodes.$node"
      count=$((count + 1))
      for special in $(jq -r '.specialisations[]' "$nix_work/machine"); do
        alone="{ lib, ... }: (if builtins.isFunction $test.nodes.$node then $test.nodes.$node { inherit lib; } else $test.nodes.$node)"
        nix_judge_machine "$file ($special)" "$test.nodes.$node" "($alone.specialisation.$special.configuration)"
        count=$((count + 1))
      done
    done
    nix_instantiate --eval --strict --json -E "$test.testScript" | jq -r . >"$nix_work/script.py"
    python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$nix_work/script.py" || { echo "in $file"; return 1; }
  done
  echo "$count machines"
}

# nix_judge_machine NAME MODULE…: evaluates them, and asks the program about the settings.
nix_judge_machine() {
  local name=$1 said
  shift
  nix_evaluate ./nix/stub/cases/machine.nix "$@" >"$nix_work/machine" || { echo "in $name"; return 1; }
  said=$(nix_judge_settings "$(<"$nix_work/machine")") || { echo "$said in $name"; return 1; }
}

# Rendered units, read back, say what the configuration says, key by key.
nix_check_units() {
  local case failed=0
  for case in "$nix_work"/good/*.json; do
    mkdir -p "$nix_work/units/$(basename "$case" .json)"
    python3 nix/stub/check_units.py "$case" "$nix_work/units/$(basename "$case" .json)" "$nix_cc_ci" || failed=1
  done
  return "$failed"
}

# A missing program or unit is an error to systemd, a misspelt key only a line: any line fails.
nix_check_systemd() {
  local dir failed=0 said
  for dir in "$nix_work"/units/*/; do
    compgen -G "$dir/cc-ci-*" >/dev/null || continue
    said=$(SYSTEMD_UNIT_PATH=$dir: systemd-analyze verify "$dir"/cc-ci-*.{service,timer,socket} 2>&1) || failed=1
    [[ -z $said ]] || { echo "$said"; failed=1; }
  done
  return "$failed"
}

nix_check_exposure() {
  local unit most case failed=0 said scores=()
  while read -r unit most case; do
    said=$(systemd-analyze security --offline=true --no-pager --threshold="$most" "$nix_work/units/${case:-minimal}/cc-ci-$unit.service" 2>&1) ||
      { echo "$said" | grep -E '✗|exposure' || true; failed=1; }
    scores+=("$unit $(sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p' <<<"$said")")
  done <<<"$nix_exposure"
  ((failed)) || (IFS=,; echo "${scores[*]}")
  return "$failed"
}

# What a build gives its script is no lack of ours.
nix_check_scripts() { shellcheck -e SC2154 "$nix_work"/units/minimal/*.sh; }

nix_check_settings() {
  local case
  for case in "$nix_work"/good/*.json; do
    nix_judge_settings "$(<"$case")" >"$nix_work/said" || { cat "$nix_work/said"; return 1; }
  done
}

# The example's encrypted file, judged by the program with the published key: it holds every name that the modules ask for.
nix_check_secrets() {
  local file name needs=()
  # A checkout leaves keys open to others, and such are refused.
  install -m 0600 nix/tests/keys/host "$nix_work/host"
  while read -r name; do needs+=(--needs "$name"); done < <(jq -r '.secrets[].key' "$nix_work/good/example-host.json")
  for file in $(jq -r '.secrets | [.[].sopsFile] | unique[]' "$nix_work/good/example-host.json"); do
    "$nix_cc_ci" secrets check --file "$file" --key "$nix_work/host" "${needs[@]}"
  done
}

nix_render_options() { nix_instantiate --eval --strict --json nix/stub/options.nix | jq -j .; }

nix_check_options() {
  nix_render_options | diff docs/options.md - || { echo 'docs/options.md is not current: bash scripts/lib/nix.sh --options'; return 1; }
}

# Whether /metrics has the names that the rules have is tests/web.rs's to say.
nix_check_rules() { "$nix_tools/bin/promtool" check rules nix/monitoring/alerts.yaml | sed -n 's/^ *SUCCESS: //p'; }

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  if [[ ${1-} == --options ]]; then
    nix_prepare
    cd "$nix_root"
    nix_render_options >"$rig_run/options.md"
    cp "$rig_run/options.md" docs/options.md
  elif [[ ${1-} == --check ]]; then
    nix_check=$2 nix_cc_ci=$3 nix_work=$4
    cd "$nix_root"
    "nix_check_$nix_check"
  else
    nix_checks "${1:?the built cc-ci}"
  fi
fi
