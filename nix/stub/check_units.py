"""Reads rendered units back and compares them, key by key, with the evaluated configuration; then writes them so that systemd
can judge them on this machine: programs in the store become the real ones, and docker.service is a stand-in.

    check_units.py EVALUATED.json DIR CC_CI
"""

import json
import re
import shutil
import sys
from pathlib import Path

PROGRAM = re.compile(r"/nix/store/[a-z0-9]{32}-[\w.-]+/bin/([\w.-]+)")
SCRIPT = re.compile(r"/nix/store/[a-z0-9]{32}-unit-script-([\w.-]+)")
STORE_FILE = re.compile(r"/nix/store/[a-z0-9]{32}-[\w.-]+")


def read(text):
    """{section: {key: [values]}}, by the rules of systemd.syntax as far as our units go."""
    sections, section = {}, None
    for line in text.splitlines():
        if not line:
            continue
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        else:
            key, value = line.split("=", 1)
            section.setdefault(key, []).append(value)
    return sections


def lines(value):
    """What a value of the configuration has to read like."""
    if isinstance(value, list):
        return [line for item in value for line in lines(item)]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [str(value)]


def expected(unit, kind):
    order = {"After": "after", "Before": "before", "Requires": "requires", "Wants": "wants"}
    head = {key: [" ".join(unit[name])] for key, name in order.items() if unit[name]}
    head |= {key: lines(value) for key, value in unit["unitConfig"].items()}
    if unit["description"]:
        head["Description"] = [unit["description"]]
    if unit.get("restartIfChanged") is False:
        head["X-RestartIfChanged"] = ["false"]
    own = {"service": "serviceConfig", "timer": "timerConfig", "socket": "socketConfig"}[kind]
    body = {key: lines(value) for key, value in unit[own].items()}
    install = {"WantedBy": [" ".join(unit["wantedBy"])]} if unit["wantedBy"] else {}
    return {"Unit": head, kind.capitalize(): body, "Install": install}


def compare(name, text, unit):
    kind = name.rsplit(".", 1)[1]
    got, want = read(text), expected(unit, kind)
    got["Unit"].pop("X-Restart-Triggers", None) if unit["restartTriggers"] else None
    if kind == "service":
        environment = got["Service"].pop("Environment")
        paths = ":".join(f"{package}/bin" for package in unit["path"])
        first = next(line for line in environment if line.startswith('"PATH='))
        if not first.startswith(f'"PATH={paths}'):
            yield f"{name}: PATH is {first}, without {paths}"
        for key, value in unit["environment"].items():
            if value is not None and f'"{key}={value}"' not in environment:
                yield f"{name}: {key}={value} is not in the environment"
        for key, text in (("ExecStart", unit["script"]), ("ExecStop", unit["preStop"])):
            program = got["Service"].pop(key) if text else None
            if program and not (len(program) == 1 and SCRIPT.fullmatch(program[0])):
                yield f"{name}: {key} is {program}, not its script"
    for section in sorted(got.keys() | want.keys()):
        here, there = got.get(section, {}), want.get(section, {})
        for key in sorted(here.keys() | there.keys()):
            if here.get(key) != there.get(key):
                yield f"{name}: [{section}] {key} reads {here.get(key)}, the configuration says {there.get(key)}"


def real(path, cc_ci, missing):
    name = path.group(1)
    found = cc_ci if name == "cc-ci" else shutil.which(name)
    # Docker need not be on the machine that checks; anything else has to be.
    if found is None and name in ("docker", "abra"):
        found = "/bin/true"
    if found is None:
        missing.append(name)
    return found or path.group(0)


def main(evaluated, directory, cc_ci):
    data = json.loads(Path(evaluated).read_text())
    directory = Path(directory)
    wrong = []
    units = {f"{name}.service": unit for name, unit in data["services"].items()}
    units |= {f"{name}.timer": unit for name, unit in data["timers"].items()}
    units |= {f"{name}.socket": unit for name, unit in data["sockets"].items()}
    if units.keys() != data["units"].keys():
        wrong.append(f"rendered are {sorted(data['units'])}, configured {sorted(units)}")
    for name, unit in units.items():
        text = data["units"][name]
        wrong += compare(name, text, unit)
        text = SCRIPT.sub(lambda script: str(directory / f"{script.group(1)}.sh"), text)
        text = PROGRAM.sub(lambda path: real(path, cc_ci, wrong), text)
        (directory / name).write_text(text)
    for name, text in data["scripts"].items():
        script = directory / f"{name}.sh"
        script.write_text("#!/bin/bash\n" + PROGRAM.sub(lambda path: path.group(1), STORE_FILE.sub(
            lambda path: path.group(0) if "/bin" in path.group(0) else "/dev/null", text)).replace("$out", '"$out"'))
        script.chmod(0o755)
    (directory / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    for name, settings in data["configurations"].items():
        (directory / f"{name}.yaml").write_text(json.dumps(settings))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
