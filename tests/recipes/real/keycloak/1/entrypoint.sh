#!/bin/bash
# Hands Keycloak its secrets, which it takes from the environment alone, and starts it.
set -euo pipefail
KEYCLOAK_ADMIN_PASSWORD=$(</run/secrets/admin_password)
KC_DB_PASSWORD=$(</run/secrets/db_password)
export KEYCLOAK_ADMIN_PASSWORD KC_DB_PASSWORD
exec /opt/keycloak/bin/kc.sh start
