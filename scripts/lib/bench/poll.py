"""A large organisation on a real Gitea, and what its log says of being polled.

poll.py world URL DIR REPOSITORIES PULLS        makes it; DIR has gitea.json (the operator's token) and gets token (the bot's)
poll.py talk URL DIR SECONDS REPOSITORIES PULLS waits until cc-ci knows everything, then is silent for half the time, and in the other
                                                half writes a comment a minute, each in another repository; their numbers go to
                                                DIR/said.txt. Prints a line for each metric: name, value, unit, target
poll.py missed DIR                              how many of those comments cc-ci has no decision for
"""

import base64
import concurrent.futures
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ORGANISATION, BOT = "recipes", "cc-ci-bot"
PASSWORD = "Passw0rd-for-benches"
LINE = re.compile(r"router: completed (\w+) (\S+) for \S+ (\d+) .* in (\d+\.?\d*)(µs|ms|s) @")
UNIT = {"µs": 0.001, "ms": 1, "s": 1000}
EVERY_S = 60


class Forge:
    def __init__(self, url, authorization):
        self.url, self.authorization = url, authorization

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", method=method)
        request.add_header("Authorization", self.authorization)
        request.add_header("Content-Type", "application/json")
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(request, data, timeout=120) as answer:
            said = answer.read()
        return json.loads(said) if said else None


def operator(url, directory):
    return Forge(url, "token " + json.loads((directory / "gitea.json").read_text())["token"])


def world(url, directory, repositories, pulls):
    forge = operator(url, directory)
    forge.call("POST", "admin/users", {"username": BOT, "email": "bot@example.test", "password": PASSWORD, "must_change_password": False})
    basic = base64.b64encode(f"{BOT}:{PASSWORD}".encode()).decode()
    scopes = ["write:issue", "write:repository", "read:organization", "read:user"]
    made = Forge(url, f"Basic {basic}").call("POST", f"users/{BOT}/tokens", {"name": "cc-ci", "scopes": scopes})
    (directory / "token").write_text(made["sha1"])
    forge.call("POST", "orgs", {"username": ORGANISATION})
    team = {"name": "bots", "permission": "write", "includes_all_repositories": True, "units": ["repo.code", "repo.issues", "repo.pulls"]}
    team = forge.call("POST", f"orgs/{ORGANISATION}/teams", team)["id"]
    forge.call("PUT", f"teams/{team}/members/{BOT}")
    clone = recipe(directory, pulls)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number, _ in enumerate(pool.map(lambda name: repository(forge, name, pulls, clone), names(repositories)), 1):
            if number % 20 == 0:
                print(f"rig: {number} of {repositories} repositories are there", file=sys.stderr)


def names(repositories):
    return [f"recipe-{number:03}" for number in range(repositories)]


def repository(forge, name, pulls, clone):
    forge.call("POST", f"orgs/{ORGANISATION}/repos", {"name": name, "default_branch": "main"})
    # One push for all branches: each costs the forge three processes.
    git(clone, forge.authorization, "push", "--quiet", "--no-progress", f"{forge.url}/{ORGANISATION}/{name}.git", "--all")
    for number in range(1, pulls + 1):
        pull = {"title": f"Change {number}", "head": f"change-{number}", "base": "main"}
        opened = when_seen(lambda pull=pull: forge.call("POST", f"repos/{ORGANISATION}/{name}/pulls", pull))
        assert opened["number"] == number, opened


def when_seen(call):
    """A branch that was pushed just now shows a moment later."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return call()
        except urllib.error.HTTPError as error:
            if error.code != 404 or time.monotonic() > deadline:
                sys.exit(f"{error.url}: {error.code} {error.read().decode(errors='replace')}")
        time.sleep(0.1)


def recipe(directory, pulls):
    """A repository with a branch for each pull request, which all others are copies of."""
    clone = directory / "clone"
    git(directory, "", "init", "--quiet", "--initial-branch", "main", str(clone))
    for branch in ["main", *(f"change-{number}" for number in range(1, pulls + 1))]:
        if branch != "main":
            git(clone, "", "checkout", "--quiet", "-b", branch, "main")
        (clone / f"{branch}.txt").write_text(f"{branch}\n")
        git(clone, "", "add", "--all")
        git(clone, "", "-c", "user.name=A", "-c", "user.email=a@example.test", "commit", "--quiet", "--message", branch)
    return clone


def git(where, authorization, *arguments):
    config = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader", "GIT_CONFIG_VALUE_0": f"Authorization: {authorization}"}
    environment = os.environ | (config if authorization else {}) | {"GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(["git", *arguments], cwd=where, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"git {arguments[0]}: {done.stderr}")


def talk(url, directory, seconds, repositories, pulls):
    forge, log = operator(url, directory), directory / "gitea" / "log.txt"
    settled(log, repositories)
    began = len(cycles(log))
    waits("silent", seconds / 2)
    spoke = len(cycles(log))
    said = []
    for number in range(max(1, int(seconds / 2 / EVERY_S))):
        # A stride without a common divisor visits every repository.
        place = f"repos/{ORGANISATION}/{names(repositories)[number * 7 % repositories]}/issues/{number % pulls + 1}"
        said.append(forge.call("POST", f"{place}/comments", {"body": f"What of this? ({number})"})["id"])
        waits("spoken to", min(EVERY_S, seconds / 2))
    (directory / "said.txt").write_text("\n".join(map(str, said)))
    found = cycles(log)
    # The last of each half may have been cut.
    report("quiet", found[began : spoke - 1], requests=3, forge_ms=50)
    report("busy", found[spoke : -1])


def settled(log, repositories):
    """Until cc-ci has looked at every repository, and no look finds anything that is new enough to be looked at again."""
    deadline = time.monotonic() + 600
    looked = re.compile(rf"repos/{ORGANISATION}/(recipe-\d+)/issues/comments")
    while True:
        found = cycles(log)
        seen = {known[1] for cycle in found for path, _ in cycle if (known := looked.match(path))}
        if len(seen) == repositories and len(found) > 3 and all(len(cycle) == 1 for cycle in found[-4:-1]):
            print("rig: cc-ci knows everything there is", file=sys.stderr)
            return
        if time.monotonic() > deadline:
            sys.exit(f"cc-ci looked at {len(seen)} of {repositories} repositories, and has not come to rest")
        time.sleep(1)


def waits(how, seconds):
    print(f"rig: {how} for {seconds:.0f} s", file=sys.stderr)
    time.sleep(seconds)


def cycles(log):
    """The requests of each poll, from its search to the next: path and milliseconds."""
    found = [[]]
    for line in log.read_text(errors="replace").splitlines():
        request = LINE.search(line)
        # What the operator wrote is not cc-ci's.
        if not request or request[1] != "GET":
            continue
        if request[2].startswith("/api/v1/repos/issues/search"):
            found.append([])
        found[-1].append((request[2].removeprefix("/api/v1/"), float(request[4]) * UNIT[request[5]]))
    return found


def report(name, found, requests=None, forge_ms=None):
    def line(what, value, unit, most=None):
        print(f"poll_{name}_{what}", f"{value:.10g}", unit, f"<={most}" if most else "")

    spent = [sum(ms for _, ms in cycle) for cycle in found]
    line("cycles", len(found), "cycles")
    line("requests", statistics.median(map(len, found)), "requests", requests)
    line("requests_mean", round(statistics.mean(map(len, found)), 2), "requests")
    line("requests_most", max(map(len, found)), "requests")
    line("forge_ms", round(statistics.median(spent), 1), "ms", forge_ms)
    line("forge_most_ms", round(max(spent), 1), "ms")


def missed(directory):
    said = [int(number) for number in (directory / "said.txt").read_text().split()]
    with sqlite3.connect(directory / "state" / "cc-ci.db", timeout=10) as db:
        known = {number for (number,) in db.execute("select id from comments where decision is not null")}
    print(sum(number not in known for number in said))


match sys.argv[1:]:
    case ["world", url, directory, repositories, pulls]:
        world(url, Path(directory), int(repositories), int(pulls))
    case ["talk", url, directory, seconds, repositories, pulls]:
        talk(url, Path(directory), int(seconds), int(repositories), int(pulls))
    case ["missed", directory]:
        missed(Path(directory))
    case _:
        sys.exit(__doc__)
