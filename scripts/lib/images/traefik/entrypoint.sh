#!/bin/sh
# The official image's contract: options or a subcommand mean Traefik, anything else is a program.
set -e
case ${1-} in
  -*) exec traefik "$@" ;;
  version | healthcheck) exec traefik "$@" ;;
  *) exec "$@" ;;
esac
