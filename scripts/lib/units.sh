# shellcheck shell=bash
# The rendered units run for real, in a container with systemd as its first process: byte for byte but for the programs' and files'
# paths, with their hardening, credentials and control groups. A member asks there, and the run passes; a changed runner waits for
# the run under way. Docker is this machine's own, and the container sees this machine's /usr.
#
#   units_run CC_CI     one line a finding; fails at the first that is not so. Needs root, docker_up, images_up traefik nginx cc-ci-test/backup.
#
# By itself: `bash scripts/lib/units.sh CC_CI`.
set -euo pipefail
# shellcheck source=scripts/lib/nix.sh
source "$(dirname "${BASH_SOURCE[0]}")/nix.sh"
# shellcheck source=scripts/lib/docker.sh
source "$(dirname "${BASH_SOURCE[0]}")/docker.sh"

units_run() {
  units_cc_ci=$(realpath "$1")
  units_dir=$(mktemp -d "${TMPDIR:-/tmp}/cc-ci-units.XXXXXX")
  units_name=cc-ci-units-$$
  trap units_end EXIT
  nix_prepare
  apt_install 'the units run under it' systemd systemd-sysv dbus
  units_world
  units_render
  units_boot
  units_people
  units_try
}

units_end() {
  docker rm -f "$units_name" >/dev/null 2>&1 || true
  docker image rm "$units_name" >/dev/null 2>&1 || true
  [[ ! -s $units_dir/forge.pid ]] || kill "$(<"$units_dir/forge.pid")" 2>/dev/null || true
  [[ ! -e $units_dir/world/config.yaml ]] ||
    for what in proxy backupbot; do
      "$units_cc_ci" reconcile $what --remove --config "$units_dir/world/config.yaml" >/dev/null 2>&1 || true
    done
  rm -rf "$units_dir"
}

# A forge, certificates and free ports, as for the demo.
units_world() {
  "$units_cc_ci" dev setup "$units_dir/world" >"$units_dir/world.json"
  units_forge=$(jq -r .forge "$units_dir/world.json")
  "$units_cc_ci" dev forge --listen "${units_forge#http://}" --dir "$units_dir/forge" >"$units_dir/forge.txt" 2>&1 &
  echo $! >"$units_dir/forge.pid"
  # Its containers see this machine's files, not those of the machine in which the units run.
  "$units_cc_ci" reconcile swarm --config "$units_dir/world/config.yaml" >/dev/null
  "$units_cc_ci" reconcile backupbot --config "$units_dir/world/config.yaml" >/dev/null
  until curl -fs -o /dev/null "$units_forge/_dev/switches"; do kill -0 "$!" || die "$(<"$units_dir/forge.txt")"; done
}

# The units of a machine in this world, with paths that are there.
units_render() {
  local units=$units_dir/units
  mkdir "$units"
  python3 - "$units_dir/world/config.yaml" >"$units_dir/machine.nix" <<'PYTHON'
import json, sys, yaml

config = yaml.safe_load(open(sys.argv[1]))
proxy = {key: config["proxy"][key] for key in ("address", "http_port", "domain")} | {"ca_file": "/world/authority.pem"}
settings = {"forge": {"poll": {"interval": "1s"}}, "web": config["web"], "proxy": proxy}
print("{ services.cc-ci = builtins.fromJSON ''", json.dumps({
    "enable": True, "domain": config["domain"], "settings": settings,
    # Its image is one that Nix makes; the world has the service already.
    "backupbot": {"enable": False},
    "forge": {"url": config["forge"]["url"], "organisation": config["forge"]["organisation"]},
    "credentials": {"forge-token": "/world/token", "certificate": "/world/certificate.pem", "certificate-key": "/world/key.pem"},
}), "''; }")
PYTHON
  (cd "$nix_root" && nix_evaluate ./nix/stub/cases/machine.nix "$units_dir/machine.nix") >"$units_dir/evaluated.json"
  python3 - "$units_dir/evaluated.json" "$units" <<'PYTHON'
import json, re, sys
from pathlib import Path

data, units = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
places = [
    (r"-cc-ci/bin/cc-ci", "/opt/cc-ci"), (r"-abra/bin/abra", "/units/abra"), (r"-unit-script-([\w-]+)", r"/units/\1.sh"),
    (r"-cc-ci-(\w+)-checked\.yaml", r"/units/\1.yaml"), (r"-\w+/bin/(\w+)", r"/usr/bin/\1"), (r"-\w+/bin", "/usr/bin"),
]
def placed(text):
    for there, here in places:
        text = re.sub(r"/nix/store/[a-z0-9]{32}" + there, here, text)
    return text
for name, text in data["units"].items():
    (units / name).write_text(placed(text))
for name, settings in data["configurations"].items():
    (units / f"{name}.yaml").write_text(placed(json.dumps(settings)))
scripts = {f"{name}.sh": "#!/bin/bash\n" + text for name, text in data["scripts"].items()}
for name, text in (scripts | {"abra": '#!/bin/sh\nexec /opt/cc-ci abra "$@"\n'}).items():
    (units / name).write_text(text)
    (units / name).chmod(0o755)
(units / "docker.service").write_text("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
PYTHON
}

units_boot() {
  local root=$units_dir/root unit link docker_group
  docker_group=$(stat -c %g /var/run/docker.sock)
  mkdir -p "$root"/{etc/systemd/system/multi-user.target.wants,proc,sys,dev,run,tmp,var/lib,var/tmp,usr,root,opt,units,world,home}
  for link in bin sbin lib lib64; do ln -s "usr/$link" "$root/$link"; done
  ln -s /run "$root/var/run"
  cp -a /etc/ld.so.cache /etc/ssl /etc/nsswitch.conf /etc/alternatives "$root/etc"
  { grep -E '^(root|nobody|messagebus|systemd)' /etc/passwd
    printf 'cc-ci-%s:x:%s:801::/var/empty:/bin/false\n' server 801 runner 802; } >"$root/etc/passwd"
  { grep -E '^(root|nogroup|tty|messagebus|systemd)' /etc/group; printf 'cc-ci:x:801:\ndocker-here:x:%s:\n' "$docker_group"; } >"$root/etc/group"
  [[ $docker_group == 0 ]] || sed -i 's/^docker-here/docker/' "$root/etc/group"
  : >"$root/etc/machine-id"
  ln -s /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
  cp "$units_dir"/units/*.{service,timer,socket} "$root/etc/systemd/system"
  for unit in server runner swarm proxy runner-renew; do
    ln -s "/etc/systemd/system/cc-ci-$unit.service" "$root/etc/systemd/system/multi-user.target.wants/"
  done
  mkdir "$root/etc/systemd/system/sockets.target.wants"
  ln -s /etc/systemd/system/cc-ci-server.socket "$root/etc/systemd/system/sockets.target.wants/"
  for unit in resolved networkd timesyncd logind udevd; do ln -s /dev/null "$root/etc/systemd/system/systemd-$unit.service"; done
  tar -C "$root" -c . | docker import - "$units_name" >/dev/null
  chmod go+rx "$units_dir" "$units_dir"/{world,units}
  chmod go+r "$units_dir/world/authority.pem"
  # What NixOS's tmpfiles make, then systemd.
  docker run -d --name "$units_name" --network host --cap-add SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined \
    --security-opt apparmor=unconfined --security-opt systempaths=unconfined --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:rw \
    -v /usr:/usr:ro -v "$units_cc_ci:/opt/cc-ci:ro" -v "$units_dir/units:/units:ro" -v "$units_dir/world:/world" \
    -v /var/run/docker.sock:/docker.sock --tmpfs /run --tmpfs /run/lock --tmpfs /tmp -e container=docker "$units_name" \
    sh -c 'install -d -g cc-ci /var/lib/cc-ci && chmod 2770 /var/lib/cc-ci && install -m 0660 -g cc-ci /dev/null /var/lib/cc-ci/cc-ci.db &&
      mount --make-rshared / && touch /run/docker.sock && mount --bind /docker.sock /run/docker.sock && exec /sbin/init' >/dev/null
  inside timeout 60 bash -c 'until systemctl is-system-running --wait; do systemctl is-failed "cc-ci-*" && exit 1; sleep 0.2; done' \
    >/dev/null 2>&1 || { inside systemctl --no-pager status 'cc-ci-*' >&2 || true; die 'the units did not come up'; }
}

inside() { docker exec "$units_name" "$@"; }
process() { inside systemctl show -P MainPID "cc-ci-$1"; }
forge() { curl -fsS -X "$1" -H 'Content-Type: application/json' ${3:+-d "$3"} "$units_forge/_dev/$2"; }
units_commit() { forge POST repos/recipes/page/commits "$1" | jq -r .sha; }

# An organisation with a member and a recipe; its pull request comes with the first question.
units_people() {
  local step tree=$units_dir/recipe
  forge POST users "{\"login\":\"cc-ci-bot\",\"token\":\"$(<"$units_dir/world/token")\"}" >/dev/null
  forge POST users '{"login":"alice"}' >/dev/null
  forge POST orgs '{"name":"recipes","members":["cc-ci-bot","alice"]}' >/dev/null
  forge POST repos '{"owner":"recipes","name":"page"}' >/dev/null
  mkdir "$tree"
  for step in 1 2 head; do cp -a "$nix_root/tests/recipes/custom-html/$step/." "$tree"; done
  units_commit "{\"tree\":\"$tree\",\"tags\":[\"1.0.0+1\"]}" >/dev/null
  units_commit '{"branch":"change","files":{"README.md":"one"}}' >/dev/null
  forge POST repos/recipes/page/pulls '{"title":"A change","author":"alice","head":"change"}' >/dev/null
  # The server counts from its first look at a repository.
  inside systemctl restart cc-ci-server
  inside timeout 60 bash -c 'until /opt/cc-ci runs list --config /units/host.yaml >/dev/null; do :; done'
}

# ask WORDS: a new head, `!testme`, and the run has begun to deploy.
ask() {
  units_head=$(units_commit "{\"branch\":\"change\",\"files\":{\"README.md\":\"$1\"}}")
  forge POST repos/recipes/page/issues/1/comments '{"author":"alice","body":"!testme"}' >/dev/null
  inside timeout 90 bash -c "until /opt/cc-ci runs list --config /units/host.yaml | grep -q '${units_head:0:8}  running'; do sleep 0.2; done"
}
passes() { forge GET "wait?for=status&repo=recipes/page&sha=$units_head&state=success&timeout_ms=120000" >/dev/null; }
holds() { echo "ok units $1"; }

# The server is restarted under the eyes of a client; sets how long that had to wait at most, from sending to the answer's end.
units_gap() {
  units_gap_ms=$(python3 - "$units_dir/units/server.yaml" "$units_name" <<'PYTHON'
import json, subprocess, sys, time, urllib.request

address = json.load(open(sys.argv[1]))["web"]["listen"]
restart, longest, until = None, 0, time.monotonic() + 3
while time.monotonic() < until:
    if restart is None and time.monotonic() > until - 2.5:
        restart = subprocess.Popen(["docker", "exec", sys.argv[2], "systemctl", "restart", "cc-ci-server"])
    asked = time.monotonic()
    urllib.request.urlopen(f"http://{address}/", timeout=5).read()
    longest = max(longest, time.monotonic() - asked)
if restart.wait() != 0:
    sys.exit("the restart failed")
print(round(longest * 1000))
PYTHON
  ) || die 'a client was refused while the server restarted'
}

# units_hang PROCESS: stands still, and is noticed; with a shorter patience than the unit's own, which is a minute.
units_hang() {
  local unit=cc-ci-$1
  inside bash -c "mkdir -p /run/systemd/system/$unit.service.d && printf '[Service]\\nWatchdogSec=5\\n' >/run/systemd/system/$unit.service.d/soon.conf"
  inside systemctl daemon-reload
  inside systemctl restart "$unit"
  inside kill -STOP "$(process "$1")"
  inside timeout 60 bash -c "until journalctl -u $unit -o cat | grep -q 'Watchdog timeout'; do sleep 0.2; done" ||
    die "$unit hangs, and nobody minds"
  inside timeout 60 bash -c "until ((\$(systemctl show -P NRestarts $unit) > 0)); do sleep 0.2; done" || die "$unit is not started anew"
  inside rm "/run/systemd/system/$unit.service.d/soon.conf"
  inside systemctl daemon-reload
  inside systemctl restart "$unit"
}

units_try() {
  local server runner path stack
  server=$(process server) runner=$(process runner)
  as_server() { inside nsenter --target "$server" --mount --setgid 801 --setuid 801 -- "$@"; }
  for path in /run/docker.sock /world/key.pem /run/credentials/cc-ci-runner.service/git-token; do
    ! as_server test -r "$path" || die "the server can read $path"
  done
  as_server test -r /run/credentials/cc-ci-server.service/forge-token || die 'the server cannot read its own credential'
  as_server test -w /var/lib/cc-ci/cc-ci.db || die 'the server cannot write the database'
  ! as_server touch /etc/here 2>/dev/null || die 'the server can write outside its state'
  holds 'the server reaches its state and its token, and no Docker'

  ask one
  passes || die "$(inside /opt/cc-ci runs list --config /units/host.yaml)"
  inside journalctl -u cc-ci-runner -o json | jq -es 'any(.[]; .F_RUN == "1")' >/dev/null || die 'the journal does not know which run a line is of'
  holds 'a run passes under the hardened units, and its lines in the journal have its number in a field'

  ask two
  inside systemctl restart cc-ci-runner-renew
  inside systemctl restart cc-ci-runner-renew
  inside systemctl restart cc-ci-server
  [[ $(process runner) == "$runner" ]] || die 'the switch ended the run'
  passes || die "$(inside /opt/cc-ci runs list --config /units/host.yaml)"
  # Its process is gone when its teardown is.
  inside timeout 60 bash -c "until [[ \$(systemctl show -P MainPID cc-ci-runner) != @(0|$runner) ]]; do sleep 0.1; done"
  holds 'a changed runner waits for the run, and starts anew after it'

  inside timeout 30 bash -c 'until [[ $(systemctl show -P StatusText cc-ci-runner) == ready ]]; do sleep 0.1; done' ||
    die "$(inside systemctl status cc-ci-runner)"
  units_hang server
  holds 'a server that hangs is killed by its watchdog and started anew'

  units_gap
  holds "a client that asks all the time is never refused while the server restarts, and waits at most ${units_gap_ms} ms"

  inside systemctl start cc-ci-proxy-heal
  inside journalctl -u cc-ci-proxy-heal -o cat | grep -q 'runs as it should' || die 'healing did something to a proxy that was well'
  stack=$(docker stack ls --format '{{.Name}}' | grep "^proxy_$(jq -r .domain "$units_dir/world.json" | tr . _)") || die 'there is no proxy'
  docker stack rm "$stack" >/dev/null
  inside systemctl start cc-ci-proxy-heal
  timeout 60 bash -c "until docker stack services '$stack' --format '{{.Replicas}}' | grep -qx 1/1; do sleep 0.2; done" 2>/dev/null ||
    die "the proxy that somebody removed is not back: $(docker stack services "$stack" 2>&1; inside journalctl -u cc-ci-proxy-heal -o cat -n 20)"
  holds 'a proxy that somebody removed is back after the next tick of the timer'

  inside timeout 60 systemctl stop cc-ci-runner
  [[ $(inside systemctl show -P Result cc-ci-runner) == success ]] || die 'the runner did not stop in good order'
  holds 'healing finds nothing to do, and the runner stops'
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then units_run "${1:?the built cc-ci}"; fi
