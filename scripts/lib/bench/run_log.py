"""Reads what the parts of one cc-ci run took, from its log and from Docker's health events of the same minutes.

run_log.py LOG EVENTS SUFFIX   SUFFIX ends the names of this world's stacks; an event is `nanoseconds action stack`
"""

import json
import re
import sys
from datetime import datetime


def main(log, events, suffix):
    lines = [line.rstrip("\n").split(" ", 3) for line in open(log, encoding="utf-8") if line.count(" ") >= 3]
    lines = [(milliseconds(at), stage, stream, text) for at, stage, stream, text in lines]
    own = [line for line in lines if line[2] == "ci"]
    up = next(at for at, stage, _, text in own if stage == "install" and "services run:" in text)
    watched = [at for at, stage, _, text in own if stage == "install" and re.search(r"up, watched for|update is being watched", text)]
    stack = next(m[1] for *_, text in own if (m := re.search(r"--domain (\S+)", text))).replace(".", "_")
    assert stack.endswith(suffix), stack
    healthy = [int(line.split(" ", 1)[0]) // 1_000_000 for line in open(events, encoding="utf-8")
               if line.rstrip("\n").endswith(f" health_status: healthy {stack}")]
    print(json.dumps({
        "inside_ms": lines[-1][0] - lines[0][0],
        # From the moment that a service was up and only its update monitor was waited for.
        "waited_ms": up - watched[0] if watched else 0,
        "noticed_ms": up - healthy[-1],
        "parts": parts(own),
    }))


def parts(own):
    """The same steps as bare.sh names: what is between cc-ci's own words."""
    def at(stage, words):
        return next((at for at, of, _, text in own if of == stage and words in text), None)

    marks = [("fetch and lint", at("install", "== running")), ("deploy", at("install", "0 of ")),
             ("healthy", at("install", "services run:")), ("answers", at("install", "front page:")),
             ("asserted", at("uninstall", "== running")), ("stopped", at("uninstall", "container ")),
             ("gone", at("uninstall", "nothing left"))]
    took, before = {}, own[0][0]
    for name, moment in marks:
        if moment is not None:
            took[name], before = moment - before, moment
    return took


def milliseconds(text):
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


main(*sys.argv[1:])
