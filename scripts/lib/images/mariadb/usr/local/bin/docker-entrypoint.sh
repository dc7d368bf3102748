#!/bin/bash
# The official image's contract: MARIADB_ or MYSQL_{ROOT_PASSWORD,USER,PASSWORD,DATABASE}[_FILE],
# /docker-entrypoint-initdb.d/*.sql; arguments pass through.
set -euo pipefail
data=/var/lib/mysql

main() {
  case ${1-} in
    -*) ;;
    mariadbd | mysqld) shift; case ${1-} in -V | --version | --help) exec mariadbd "$@" ;; esac ;;
    *) exec "$@" ;;
  esac
  mkdir -p "$data" /run/mysqld
  chown -R mysql:mysql "$data" /run/mysqld
  [[ -d $data/mysql ]] || first_start
  exec mariadbd --user=mysql --datadir="$data" --bind-address=0.0.0.0 --socket=/run/mysqld/mysqld.sock "$@"
}

first_start() {
  local key
  for key in ROOT_PASSWORD USER PASSWORD DATABASE; do setting "$key"; done
  if [[ -z $ROOT_PASSWORD ]]; then
    echo 'Database is uninitialized and password option is not specified: set MARIADB_ROOT_PASSWORD' >&2
    exit 1
  fi
  mariadb-install-db --user=mysql --datadir="$data" --auth-root-authentication-method=normal --skip-test-db >/dev/null
  statements | mariadbd --user=mysql --datadir="$data" --bootstrap
  echo 'MariaDB init process done. Ready for start up.'
}

# Bootstrap mode wants each statement on one line.
statements() {
  local script
  echo 'FLUSH PRIVILEGES;'
  [[ -z $DATABASE ]] || echo "CREATE DATABASE IF NOT EXISTS \`$DATABASE\`;"
  [[ -z $USER ]] || echo "CREATE USER '$USER'@'%' IDENTIFIED BY '$(quoted "$PASSWORD")';"
  [[ -z $USER || -z $DATABASE ]] || echo "GRANT ALL ON \`$DATABASE\`.* TO '$USER'@'%';"
  echo "CREATE USER 'root'@'%' IDENTIFIED BY '$(quoted "$ROOT_PASSWORD")';"
  echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
  echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$(quoted "$ROOT_PASSWORD")';"
  for script in /docker-entrypoint-initdb.d/*.sql; do
    if [[ -f $script ]]; then echo "USE \`${DATABASE:-mysql}\`;"; cat "$script"; fi
  done
}

quoted() {
  local text=${1//\\/\\\\}
  echo "${text//\'/\\\'}"
}

# setting KEY: from MARIADB_KEY_FILE, MARIADB_KEY, or the same with MYSQL_.
setting() {
  local prefix name file value=
  for prefix in MYSQL MARIADB; do
    name=${prefix}_$1 file=${prefix}_$1_FILE
    if [[ -n ${!file-} ]]; then value=$(<"${!file}"); elif [[ -n ${!name-} ]]; then value=${!name}; fi
  done
  printf -v "$1" %s "$value"
}

main "$@"
