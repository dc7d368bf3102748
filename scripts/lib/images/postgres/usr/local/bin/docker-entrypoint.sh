#!/bin/bash
# The official image's contract: POSTGRES_{PASSWORD,USER,DB}[_FILE], PGDATA, /docker-entrypoint-initdb.d; arguments
# pass through. Syncing is off at initdb only, for speed.
set -euo pipefail

main() {
  case ${1-} in
    -*) ;;
    postgres) shift; case ${1-} in -V | --version | --help) exec postgres "$@" ;; esac ;;
    *) exec "$@" ;;
  esac
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  [[ -s $PGDATA/PG_VERSION ]] || first_start
  exec gosu postgres postgres -D "$PGDATA" -c listen_addresses='*' -c jit=off "$@"
}

first_start() {
  setting POSTGRES_PASSWORD
  setting POSTGRES_USER postgres
  setting POSTGRES_DB "$POSTGRES_USER"
  if [[ -z $POSTGRES_PASSWORD && ${POSTGRES_HOST_AUTH_METHOD-} != trust ]]; then
    echo 'Error: Database is uninitialized and superuser password is not specified: set POSTGRES_PASSWORD' >&2
    exit 1
  fi
  local password=/run/postgresql/password
  (umask 077 && echo "$POSTGRES_PASSWORD" >"$password" && chown postgres "$password")
  gosu postgres initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$password" -E UTF8 --locale=C \
    --no-sync --auth-local=trust --auth-host=scram-sha-256 >/dev/null
  rm "$password"
  echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  # Not on the network yet: who connects now must not see a half-made database.
  gosu postgres pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start >/dev/null
  [[ $POSTGRES_DB == postgres ]] || gosu postgres createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) bash "$script" ;;
      *.sql) gosu postgres psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <"$script" ;;
    esac
  done
  gosu postgres pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
  echo 'PostgreSQL init process complete; ready for start up.'
}

# setting NAME [DEFAULT]: from NAME_FILE, NAME, or the default.
setting() {
  local file=$1_FILE
  if [[ -n ${!file-} ]]; then printf -v "$1" %s "$(<"${!file}")"; else printf -v "$1" %s "${!1:-${2-}}"; fi
  export "${1?}"
}

main "$@"
