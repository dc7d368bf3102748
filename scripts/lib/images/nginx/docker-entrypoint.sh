#!/bin/sh
# The official image's contract: scripts that a recipe mounts run first.
set -e
for script in /docker-entrypoint.d/*.sh; do
  if [ -x "$script" ]; then "$script"; fi
done
exec "$@"
