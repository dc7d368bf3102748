#!/bin/sh
# Writes the database into one file of its volume, or reads it back.
set -e
file=$PGDATA/backup.sql
case $1 in
  backup) pg_dump --clean --if-exists -U "$POSTGRES_USER" -d "$POSTGRES_DB" >"$file" ;;
  restore) psql -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <"$file" ;;
  *) echo "usage: $0 backup | restore" >&2; exit 2 ;;
esac
