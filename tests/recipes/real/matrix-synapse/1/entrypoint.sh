#!/bin/sh
# Writes Synapse's configuration of what the environment and the secrets say, makes the signing key once, and starts.
set -e
umask 077
secret() { cat "/run/secrets/$1"; }
cat >/data/homeserver.yaml <<YAML
server_name: "$DOMAIN"
public_baseurl: "https://$DOMAIN/"
report_stats: false
listeners:
  - {port: 8008, type: http, tls: false, x_forwarded: true, bind_addresses: ["0.0.0.0"], resources: [{names: [client, federation]}]}
database:
  name: psycopg2
  args: {host: db, dbname: synapse, user: synapse, password: "$(secret db_password)", cp_min: 1, cp_max: 5}
media_store_path: /data/media
signing_key_path: /data/signing.key
trusted_key_servers: []
registration_shared_secret: "$(secret registration)"
macaroon_secret_key: "$(secret macaroon)"
form_secret: "$(secret form)"
YAML
[ -s /data/signing.key ] || python3 -m synapse.app.homeserver -c /data/homeserver.yaml --generate-keys
exec python3 -m synapse.app.homeserver -c /data/homeserver.yaml
