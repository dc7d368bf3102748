#!/usr/bin/env bash
# Images of real applications, for the recipes in tests/recipes/real: from a registry if one answers, else made here of what the
# package sources have, in pinned versions whose checksums are known. One file says how an application is made:
#
#   scripts/lib/real/NAME.sh
#     images=(TAG…)       what it makes
#     beside=(NAME…)      the small images that its recipe stands on too (images.sh)
#     packages=(NAME…)    Debian packages of the layer that its versions share, with all they depend on
#     real_base ROOT      what those packages' maintainer scripts would have made; besides busybox and root
#     real_fetch TAG DIR  downloads into the application's cache, checked; says nothing where all is there
#     real_fill TAG ROOT DIR   lays what was fetched over the shared layer; files keep their owners
#     real_lines TAG      the rest of the Dockerfile
#
# Files of the application stand in scripts/lib/real/NAME/. What is made is labelled with a hash of all that went into it, and
# made again when that changes; an image that somebody else put there is kept.
# shellcheck source-path=SCRIPTDIR source=images.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}images.sh"

real_names() { find "$rig_lib/real" -name '*.sh' -printf '%f\n' | sed 's/\.sh$//' | sort; }

# real_up [NAME…]: returns when the images of these applications are there; of all where none is named.
real_up() {
  local name
  (($#)) || mapfile -t set_of_all < <(real_names)
  (($#)) || set -- "${set_of_all[@]}"
  for name; do [[ -f $rig_lib/real/$name.sh ]] || die "no application is called $name; there are: $(real_names | xargs)"; done
  docker_up
  # Each in a process of its own, where it defines its own functions.
  for name; do bash "$rig_lib/real.sh" --up "$name"; done
}

# real_load NAME: reads how it is made.
real_load() {
  real_name=$1 images=() beside=() packages=() alone=() real_cache=$rig_cache/real/$1
  # Python and perl are what some applications run on.
  images_drop='^(locales|libc-l10n|systemd|debconf|init-system-helpers|lsb-base|sysvinit-utils|adduser|passwd|ucf|sensible-utils|procps|logrotate|cron)'
  real_base() { :; }
  # shellcheck source=/dev/null
  source "$rig_lib/real/$1.sh"
}

# Of these images, this goes into one; images_missing asks.
images_build_id() (
  cd "$rig_lib"
  {
    echo "$1"
    cat real.sh "real/$real_name.sh"
    [[ ! -d real/$real_name ]] || tar -c --sort=name --mtime=@0 --owner=0 --group=0 --mode=a+rX,u+w,go-w "real/$real_name"
  } | sha256sum | cut -c 1-16
)

real_one_up() {
  local missing
  real_load "$1"
  ((${#beside[@]} == 0)) || bash "$rig_lib/images.sh" "${beside[@]}"
  missing=$(images_missing "${images[@]}")
  [[ -n $missing ]] || return 0
  with_lock "real-$1" bash "$rig_lib/real.sh" --make "$1"
}

# ---- from here on under the application's lock ----

real_make() {
  local missing tag started=$SECONDS
  real_load "$1"
  # Somebody else may have made them while this one waited.
  mapfile -t missing < <(images_missing "${images[@]}")
  ((${#missing[@]})) || return 0
  real_pull "${missing[@]}"
  mapfile -t missing < <(images_missing "${missing[@]}")
  ((${#missing[@]})) || return 0
  need_root 'making images (their files have owners)'
  have apt-get || die 'images can be made only on a machine with apt; elsewhere pull them'
  say "$1: making ${missing[*]}"
  work=$(mktemp -d "${TMPDIR:-/tmp}/cc-ci-real.XXXXXX")
  # shellcheck disable=SC2064 # the directory of now
  trap "rm -rf '$work'" EXIT
  for tag in "${missing[@]}"; do
    say "$1: fetching what $tag is made of"
    mkdir -p "$real_cache"
    real_fetch "$tag" "$real_cache"
  done
  real_layer
  for tag in "${missing[@]}"; do real_build "$tag"; done
  docker rmi "$real_layer" >/dev/null 2>&1 || true
  say "$1: ready after $((SECONDS - started)) s"
}

# real_pull TAG…: what a registry has; without one a failed look-up, at most 3 s. They are heavy, so each may take its time.
real_pull() {
  local tag tags
  [[ ${CC_CI_PULL-} != no ]] || return 0
  mapfile -t tags < <(printf '%s\n' "$@" | grep -v ^cc-ci-)
  ((${#tags[@]})) || return 0
  if ! timeout 3 docker manifest inspect "${tags[0]}" >/dev/null 2>&1; then
    say "$real_name: no registry answers"
    return 0
  fi
  for tag in "${tags[@]}"; do
    say "$real_name: pulling $tag"
    timeout 900 docker pull -q "$tag" >/dev/null 2>&1 || say "$real_name: $tag was not pulled; making it"
  done
}

# real_layer: the packages, unpacked, as an image; sets real_layer.
real_layer() {
  local root=$work/base
  real_layer=cc-ci-rig/real-$real_name
  say "$real_name: ${packages[*]} with all they depend on"
  apt_lists
  images_closure >"$work/packages.list"
  images_download "$work/packages.list"
  mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},etc,tmp,root,run,proc,sys,dev,var}
  ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"
  ln -s /run "$root/var/run"
  chmod 1777 "$root/tmp"
  images_unpack "$root" <"$work/packages.list"
  applets "$root"
  users "$root"
  real_base "$root"
  chmod -R a+rX "$root/etc"
  tar -c -C "$root" . | docker import - "$real_layer" >/dev/null
  rm -rf "$root"
}

# real_build TAG: one version over the shared layer. The builder unpacks the archive with its owners; a COPY would make them root's.
real_build() {
  local tag=$1 root=$work/root context=$work/context old started=$SECONDS
  say "$real_name: building $tag"
  rm -rf "$root" "$context"
  mkdir -p "$root" "$context"
  real_fill "$tag" "$root" "$real_cache"
  tar -c -C "$root" -f "$context/root.tar" .
  rm -rf "$root"
  {
    printf '%s\n' "FROM $real_layer" 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'ADD root.tar /'
    real_lines "$tag"
    echo "LABEL $images_label=$(images_build_id "$tag")"
  } >"$context/Dockerfile"
  old=$(docker image inspect -f '{{.Id}}' "$tag" 2>/dev/null) || old=
  # The old builder: the new one is a plugin that may be missing.
  DOCKER_BUILDKIT=0 docker build -q --force-rm -t "$tag" "$context" >/dev/null 2>"$work/build" || die "$tag: $(tail -n 5 "$work/build")"
  [[ -z $old ]] || docker rmi "$old" >/dev/null 2>&1 || true
  docker image inspect "$tag" >/dev/null
  rm -rf "$context"
  say "$real_name: $tag, $(docker image inspect -f '{{.Size}}' "$tag" | awk '{ printf "%d MB", $1 / 1e6 }'), after $((SECONDS - started)) s"
}

# ---- what several applications are made of ----

# checked FILE SHA256: whether the file is there and is that one.
checked() { [[ -f $1 ]] && echo "$2  $1" | sha256sum --check --quiet >/dev/null 2>&1; }

# real_maven GROUP:NAME:VERSION:TYPE SHA256 DIR: an archive from Maven's central repository, by its client.
real_maven() {
  local part file
  IFS=: read -ra part <<<"$1"
  file=$3/${part[1]}-${part[2]}.${part[3]}
  ! checked "$file" "$2" || return 0
  have mvn || apt_install 'some applications are published for it' maven
  mvn -q -B dependency:copy -Dartifact="$1" -DoutputDirectory="$3" >"$work/maven" 2>&1 || die "$1: $(tail -n 3 "$work/maven")"
  checked "$file" "$2" || die "$file is not what was pinned: $(sha256sum "$file")"
}

# real_wheels REQUIREMENTS DIR: Python packages of a list that pins each by hash, for the Python of the package lists, installed into DIR.
real_wheels() {
  local version platforms=() glibc
  ! [[ -f $2/.of && $(<"$2/.of") == "$(sha256sum <"$1")" ]] || return 0
  have python3 || apt_install 'Python packages are fetched with it' python3
  python3 -m pip --version >/dev/null 2>&1 || apt_install 'Python packages are fetched with it' python3-pip
  apt_lists
  version=$(apt-cache show python3-minimal | sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  # Naming one platform excludes those before it, which are as good.
  for glibc in $(seq 36 -1 5); do platforms+=(--platform "manylinux_2_${glibc}_$(uname -m)"); done
  for glibc in 2014 2010 1; do platforms+=(--platform "manylinux${glibc}_$(uname -m)"); done
  rm -rf "$2"
  python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --require-hashes \
    --only-binary :all: --implementation cp --python-version "$version" "${platforms[@]}" --target "$2" -r "$1" >"$work/pip" 2>&1 ||
    die "$1: $(tail -n 3 "$work/pip")"
  sha256sum <"$1" >"$2/.of"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case ${1-} in
    --up) real_one_up "$2" ;;
    --make) real_make "$2" ;;
    *) real_up "$@" ;;
  esac
fi
