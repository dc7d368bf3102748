# shellcheck shell=bash disable=SC2034
# Synapse, a Matrix server, from the Python index. psycopg2 comes as the wheel that brings libpq along, so that nothing is compiled;
# 1.120.0 breaks with a prometheus_client after 0.21.1, and wants pkg_resources, which setuptools had until 80. The lists are made
# by `uv pip compile --universal --generate-hashes` of Synapse, psycopg2-binary and those wishes.
images=(matrixdotorg/synapse:v1.120.0 matrixdotorg/synapse:v1.163.2)
beside=(nginx postgres)
packages=(busybox-static bash coreutils curl ca-certificates python3)

real_base() { certificates "$1"; }

real_fetch() { real_wheels "$rig_lib/real/matrix-synapse/${1#*:}.txt" "$2/${1#*:}"; }

real_fill() {
  mkdir -p "$2/usr/local/lib" "$2/data"
  cp -r "$3/${1#*:}" "$2/usr/local/lib/synapse"
  chown -R 991:991 "$2/data"
}

# Compiled once, or each start would do it.
real_lines() {
  printf '%s\n' 'ENV PYTHONPATH=/usr/local/lib/synapse' 'RUN python3 -m compileall -q /usr/local/lib/synapse >/dev/null || true' \
    'EXPOSE 8008' 'VOLUME /data' 'ENTRYPOINT ["python3", "-m", "synapse.app.homeserver"]'
}
