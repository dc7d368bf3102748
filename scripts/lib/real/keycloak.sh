# shellcheck shell=bash disable=SC2034
# Keycloak, from Maven's central repository, on Debian's Java. Built beforehand for PostgreSQL with health pages, which a start
# with the same settings finds done: 18 s instead of a minute.
images=(keycloak/keycloak:25.0.6 keycloak/keycloak:26.4.0)
beside=(postgres)
packages=(busybox-static bash coreutils ca-certificates ca-certificates-java openjdk-17-jre-headless)

real_fetch() {
  local -A sum=(
    [25.0.6]=cfec876e5f3c1849756ce2d4327c708ddc6e24a86ab939a69787f19b503d8e36
    [26.4.0]=1b6a11a2726ac8a8dc9c91d5fafe989a75ce4f1622d7f7b45c21d5bc16629c0a
  )
  real_maven "org.keycloak:keycloak-quarkus-dist:${1#*:}:zip" "${sum[${1#*:}]}" "$2"
}

real_base() {
  echo 'keycloak:x:1000:0::/opt/keycloak:/bin/bash' >>"$1/etc/passwd"
  certificates "$1"
}

real_fill() {
  local name=keycloak-${1#*:}
  mkdir -p "$2/opt"
  python3 -m zipfile -e "$3/keycloak-quarkus-dist-${1#*:}.zip" "$2/opt"
  mv "$2/opt/$name" "$2/opt/keycloak"
  chmod +x "$2"/opt/keycloak/bin/*.sh
  chown -R 1000:0 "$2/opt/keycloak"
}

# The trust store is what the package's maintainer script would have made; without it no TLS of Java's starts.
real_lines() {
  local java='/usr/lib/jvm/java-17-openjdk-*/bin/java'
  printf '%s\n' \
    "RUN mkdir -p /etc/ssl/certs/java /etc/java-17-openjdk && ln -sf $java /usr/bin/java && for c in /usr/share/ca-certificates/mozilla/*.crt; do echo +\$c; done | java -jar /usr/share/ca-certificates-java/ca-certificates-java.jar -storepass changeit >/dev/null 2>&1 && test -s /etc/ssl/certs/java/cacerts" \
    'USER 1000' \
    'RUN /opt/keycloak/bin/kc.sh build --db=postgres --health-enabled=true' \
    'EXPOSE 8080 9000' 'ENTRYPOINT ["/opt/keycloak/bin/kc.sh"]'
}
