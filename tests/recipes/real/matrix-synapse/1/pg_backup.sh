#!/bin/sh
# Writes the database into one file of its volume, or reads it back: into a new one, which then takes the old one's place. Who is
# connected to the old one has to connect anew.
set -e
file=$PGDATA/backup.sql
sql() { psql -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" "$@"; }
case $1 in
  backup) pg_dump -U "$POSTGRES_USER" -d "$POSTGRES_DB" >"$file" ;;
  restore)
    sql -d postgres -c 'drop database if exists restored'
    sql -d postgres -c 'create database restored'
    sql -d restored <"$file" >/dev/null
    sql -d postgres -c "drop database \"$POSTGRES_DB\" with (force)"
    sql -d postgres -c "alter database restored rename to \"$POSTGRES_DB\""
    ;;
  *) echo "usage: $0 backup | restore" >&2; exit 2 ;;
esac
