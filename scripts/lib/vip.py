"""Service VIPs on machines whose kernel has no IPVS: for development, demo and test machines only.

Services reach each other by name, which is a virtual address that Swarm hands to IPVS. Without IPVS nothing forwards it.
This does it in each overlay network's own load-balancer namespace, where Swarm would: the address on its eth0, DNAT to
the tasks, masquerading on the way out. It looks often (each 30 ms) for a few seconds after Docker reports a change,
and each second otherwise: a task has its address before its container starts, so rules are there in time.

    vip.py --socket PATH --netns DIR --pidfile FILE

One per pidfile: a second one ends at once, with exit code 0. Ends when the socket has been gone for a minute. It needs
root, nsenter, ip and iptables, and serves the tasks of this machine only.
"""
import argparse
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

HOT_LOOK, COLD_LOOK = 0.03, 1.0  # seconds between looks
HOT_FOR = 8.0  # seconds after an event: longer than the 5 s by which Swarm delays a restart
GONE_AFTER = 60.0  # seconds without an engine


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Docker:
    """Speaks the engine's own version of the API: what is read here has been the same since 1.24."""

    def __init__(self, path):
        self.path, self.version = path, None

    def open(self, path, filters=None, timeout=10):
        if self.version is None:
            self.version = ""
            try:
                self.version = "/v" + json.load(self.open("/version"))["ApiVersion"]
            finally:
                self.version = self.version or None
        query = "?filters=" + urllib.parse.quote(json.dumps(filters)) if filters else ""
        connection = Connection(self.path, timeout)
        try:
            connection.request("GET", (self.version or "") + path + query, headers={"Connection": "close"})
            return connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def get(self, path, filters=None):
        with self.open(path, filters) as response:
            if response.status == 503:  # no swarm, or not its manager: nothing to route
                return []
            if response.status != 200:
                raise OSError(f"{path}: {response.status} {response.read(300)!r}")
            return json.load(response)


class Events(threading.Thread):
    """Rings a bell on each change that may move an address; healthchecks (exec events) are not among them."""

    FILTERS = {
        "type": ["service", "network", "node", "container"],
        "event": ["create", "update", "remove", "start", "die", "connect", "disconnect", "destroy"],
    }

    def __init__(self, docker):
        super().__init__(daemon=True)
        self.docker, self.bell = docker, threading.Event()

    def run(self):
        while True:
            try:
                with self.docker.open("/events", self.FILTERS, timeout=None) as stream:
                    self.bell.set()
                    while stream.readline():
                        self.bell.set()
            except (OSError, ValueError, KeyError, http.client.HTTPException):
                self.docker.version = None  # the main loop sees the same, and says so
            time.sleep(0.5)


def wanted(docker):
    """network id -> [(vip, addresses of its tasks)]: the running ones, or while none runs those about to."""
    addresses, networks = {}, {}
    for task in docker.get("/tasks", {"desired-state": ["running"]}):
        for attachment in task.get("NetworksAttachments") or []:
            if attachment.get("Addresses"):
                key = task["ServiceID"], attachment["Network"]["ID"]
                running = task["Status"]["State"] == "running"
                addresses.setdefault(key, []).append((running, attachment["Addresses"][0].split("/")[0]))
    for service in docker.get("/services"):
        for vip in (service.get("Endpoint") or {}).get("VirtualIPs") or []:
            if vip.get("Addr"):
                found = addresses.get((service["ID"], vip["NetworkID"]), [])
                targets = [ip for running, ip in found if running] or [ip for _, ip in found]
                networks.setdefault(vip["NetworkID"], []).append((vip["Addr"].split("/")[0], tuple(sorted(targets))))
    return {network: sorted(vips) for network, vips in networks.items()}


def inside(namespace, *command, text=None):
    return subprocess.run(["nsenter", "--net=" + namespace, *command], input=text, capture_output=True, text=True)


def rules(vips):
    """The whole of our two chains; restoring them replaces what they held in one step."""
    lines = ["*nat", ":VIP - [0:0]", ":VIPMASQ - [0:0]"]
    for vip, targets in vips:
        for i, target in enumerate(targets):
            left = len(targets) - i
            share = f"-m statistic --mode nth --every {left} --packet 0 " if left > 1 else ""
            lines.append(f"-A VIP -d {vip}/32 {share}-j DNAT --to-destination {target}")
    return "\n".join([*lines, "-A VIPMASQ -m conntrack --ctstate DNAT -j MASQUERADE", "COMMIT", ""])


def apply(namespace, vips):
    """True once everything is in place. An address no longer wanted goes: Swarm may give it to a task next."""
    if inside(namespace, "iptables-restore", "-w", "-n", text=rules(vips)).returncode:
        return False
    for chain, jump in (("PREROUTING", "VIP"), ("POSTROUTING", "VIPMASQ")):
        if inside(namespace, "iptables", "-w", "-t", "nat", "-C", chain, "-j", jump).returncode:
            inside(namespace, "iptables", "-w", "-t", "nat", "-A", chain, "-j", jump)
    shown = inside(namespace, "ip", "-o", "-4", "addr", "show", "dev", "eth0")
    if shown.returncode:
        return False  # the interface comes later: the next look
    words = [line.split() for line in shown.stdout.splitlines()]
    there = {line[3] for line in words if line[3].endswith("/32")}
    want = {vip + "/32" for vip, _ in vips}
    done = [inside(namespace, "ip", "addr", "del", old, "dev", "eth0") for old in there - want]
    done += [inside(namespace, "ip", "addr", "add", new, "dev", "eth0") for new in want - there]
    return not any(change.returncode for change in done)


def look(docker, netns, done):
    """One pass over all networks; `done` remembers what each namespace holds."""
    networks = wanted(docker)
    for network in [n for n in done if n not in networks]:
        networks[network] = []  # its last service is gone
    for network, vips in networks.items():
        namespace = f"{netns}/lb_{network[:9]}"
        try:
            state = os.stat(namespace).st_ino, vips
        except FileNotFoundError:
            done.pop(network, None)
            continue
        if done.get(network) != state and apply(namespace, vips):
            done[network] = state


def only_one(path):
    """Holds the pidfile's lock for as long as this process lives."""
    file = open(path, "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(0)
    file.truncate(0)  # the id of one that died
    return file


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--socket", default="/var/run/docker.sock")
    options.add_argument("--netns", default="/var/run/docker/netns")
    options.add_argument("--pidfile", required=True)
    given = options.parse_args()

    lock = only_one(given.pidfile)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    docker, done, ready, said = Docker(given.socket), {}, False, None
    events = Events(Docker(given.socket))
    events.start()
    hot_until = last_answer = time.monotonic()
    while time.monotonic() - last_answer < GONE_AFTER:
        if events.bell.is_set():
            events.bell.clear()
            hot_until = time.monotonic() + HOT_FOR
        try:
            look(docker, given.netns, done)
            last_answer, said = time.monotonic(), None
            if not ready:  # whoever waits for the process id may rely on the rules
                lock.truncate(0)
                print(os.getpid(), file=lock, flush=True)
                ready = True
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            docker.version = None  # another engine may answer next
            if repr(error) != said:
                said = repr(error)
                print("vip:", said, file=sys.stderr, flush=True)
            time.sleep(0.2)
        if time.monotonic() < hot_until:
            time.sleep(HOT_LOOK)
        else:
            events.bell.wait(COLD_LOOK)
    print(f"vip: no engine for {GONE_AFTER:.0f} s: ending", file=sys.stderr, flush=True)
    lock.truncate(0)


if __name__ == "__main__":
    main()
