#!/bin/bash
# The official image's contract: options go to the server, which owns /data and does not run as root.
set -euo pipefail
if [[ ${1-} == -* || ${1-} == *.conf ]]; then set -- redis-server "$@"; fi
if [[ ${1-} == redis-server ]]; then
  # The official build has no protected mode: without this nobody but the container itself gets in.
  set -- "$@" --protected-mode no
  if ((EUID == 0)); then
    chown redis:redis . /data
    exec gosu redis "$@"
  fi
fi
exec "$@"
