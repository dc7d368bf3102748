#!/bin/sh
# Writes the database into one file of its volume, packed, or reads it back.
set -e
file=/var/lib/mysql/backup.sql.gz
MYSQL_PWD=$(cat "$MARIADB_ROOT_PASSWORD_FILE")
export MYSQL_PWD
case $1 in
  backup) mariadb-dump -u root --single-transaction "$MARIADB_DATABASE" | gzip >"$file" ;;
  restore) gunzip -c "$file" | mariadb -u root "$MARIADB_DATABASE" ;;
  *) echo "usage: $0 backup | restore" >&2; exit 2 ;;
esac
