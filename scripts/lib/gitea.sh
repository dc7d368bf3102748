#!/usr/bin/env bash
# A real Gitea, for the tests that hold the embedded forge against it. Built once, with Go, from the versions that
# tests/rig/gitea-tool/go.sum pins; minutes the first time.
#
#   gitea.sh                    or source it and call gitea_up: the program's path
#   gitea.sh start PORT DIR     serves DIR on 127.0.0.1:PORT; prints its address, its process and the operator's token
#   gitea.sh stop DIR           ends it
#
# An empty DIR gets the user `operator`, who may do everything; who else is there, the operator makes over the API. A DIR that was
# served before is served as it was, on any port.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}common.sh"

gitea_module=$rig_lib/../../tests/rig/gitea-tool
gitea_version=$(sed -n 's,^\tcode\.gitea\.io/gitea \(v[^ ]*\).*,\1,p' "$gitea_module/go.mod")
gitea_home=$rig_cache/gitea-$gitea_version

# gitea_up: prints the program's path.
gitea_up() {
  if [[ ! -x $gitea_home/gitea ]]; then
    have go || die "Gitea $gitea_version is built with Go, and there is none"
    say "building Gitea $gitea_version, once: minutes"
    with_lock gitea gitea_build >&2
  fi
  echo "$gitea_home/gitea"
}

gitea_build() {
  local new source
  [[ ! -x $gitea_home/gitea ]] || return 0
  mkdir -p "$rig_cache"
  new=$(mktemp -d "$rig_cache/gitea.XXXXXX")
  cd "$gitea_module"
  go build -mod=readonly -trimpath -tags 'sqlite sqlite_unlock_notify' \
    -ldflags "-s -w -X main.Version=${gitea_version#v}" -o "$new/gitea" code.gitea.io/gitea || {
    rm -rf "$new"
    die "Gitea $gitea_version could not be built"
  }
  source=$(go list -m -f '{{.Dir}}' code.gitea.io/gitea)
  cp -r "$source/templates" "$source/options" "$source/public" "$new"
  chmod -R u+w,a+rX "$new"
  # Whole or not at all: others look for it without the lock.
  mv "$new" "$gitea_home"
}

# gitea_start PORT DIR
gitea_start() {
  local url=http://127.0.0.1:$1 dir deadline=$((SECONDS + 60))
  mkdir -p "$2"
  dir=$(cd "$2" && pwd)
  gitea_configure "$1" "$dir" >"$dir/app.ini"
  detach "$dir/pid" "$dir/log.txt" "$gitea_home/gitea" web -c "$dir/app.ini"
  until curl -fs -o /dev/null "$url/api/healthz"; do
    if ((SECONDS > deadline)) || { [[ -s $dir/pid ]] && ! running "$dir/pid" "$dir/app.ini"; }; then
      tail -n 20 "$dir/log.txt" >&2
      die "Gitea did not start; all that it said is in $dir/log.txt"
    fi
    read -rt 0.1 <> <(:) || true
  done
  if [[ ! -s $dir/operator ]]; then
    "$gitea_home/gitea" admin user create -c "$dir/app.ini" --admin --username operator --random-password \
      --email operator@example.test --must-change-password=false >>"$dir/log.txt" 2>&1
    (umask 077 && "$gitea_home/gitea" admin user generate-access-token -c "$dir/app.ini" --username operator \
      --token-name rig --scopes all --raw 2>>"$dir/log.txt" | tail -n 1 >"$dir/operator")
  fi
  printf '{"url":"%s","pid":%s,"token":"%s"}\n' "$url" "$(<"$dir/pid")" "$(<"$dir/operator")"
}

# It is thrown away after the test and hears the loopback only, so it may run as whoever tests, root too. The log of requests
# is how a test sees that it was asked.
gitea_configure() {
  cat <<INI
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = $2
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = $1
ROOT_URL = http://127.0.0.1:$1/
STATIC_ROOT_PATH = $gitea_home
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
PASSWORD_HASH_ALGO = pbkdf2_v1
[webhook]
ALLOWED_HOST_LIST = loopback
[indexer]
ISSUE_INDEXER_TYPE = db
[cron]
ENABLED = false
[log]
ROOT_PATH = $2/log
logger.access.MODE = access
[log.access]
MODE = file
FILE_NAME = access.log
INI
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case "${1-} $#" in
    ' 0') gitea_up ;;
    'start 3') gitea_up >/dev/null && gitea_start "$2" "$3" ;;
    'stop 2') stop_daemon "$2/pid" "$(cd "$2" && pwd)/app.ini" ;;
    *) sed -n '2,/^# shellcheck/{/^# shellcheck/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
fi
