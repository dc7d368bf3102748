#!/bin/sh
# Writes the database into one file of its volume, and never reads it back.
set -e
file=$PGDATA/backup.sql
case $1 in
  backup) pg_dump --clean --if-exists -U "$POSTGRES_USER" -d "$POSTGRES_DB" >"$file" ;;
  restore) true ;;
  *) echo "usage: $0 backup | restore" >&2; exit 2 ;;
esac
