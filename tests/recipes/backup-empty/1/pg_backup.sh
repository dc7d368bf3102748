#!/bin/sh
# Says that it went well, and writes nothing.
set -e
case $1 in
  backup) : >"$PGDATA/backup.sql" ;;
  restore) psql -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <"$PGDATA/backup.sql" ;;
  *) echo "usage: $0 backup | restore" >&2; exit 2 ;;
esac
