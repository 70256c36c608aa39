#!/bin/bash
# Makes the database on an empty PGDATA from POSTGRES_USER, POSTGRES_PASSWORD (or _FILE) and POSTGRES_DB, then serves it.
set -euo pipefail

[[ "${1:-}" == -* ]] && set -- postgres "$@"
[[ "${1:-}" == postgres ]] || exec "$@"

if [[ "$(id -u)" == 0 ]]; then
  mkdir -p "$PGDATA"
  chown -R postgres:postgres "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$BASH_SOURCE" "$@"
fi

if [[ ! -s "$PGDATA/PG_VERSION" ]]; then
  if [[ -n "${POSTGRES_PASSWORD_FILE:-}" ]]; then POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE"); fi
  user=${POSTGRES_USER:-postgres}
  if [[ -z "${POSTGRES_PASSWORD:-}" ]]; then
    echo "Error: Database is uninitialized and superuser password is not specified: set POSTGRES_PASSWORD." >&2
    exit 1
  fi
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA" || true
  # shellcheck disable=SC2086 # initdb's arguments are words
  initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
  database=${POSTGRES_DB:-$user}
  if [[ "$database" != postgres ]]; then
    pg_ctl start --wait --options="-c listen_addresses='' -p 5432" > /dev/null
    PGPASSWORD=$POSTGRES_PASSWORD psql --no-psqlrc -v ON_ERROR_STOP=1 --username="$user" --dbname=postgres \
      -v database="$database" <<< 'CREATE DATABASE :"database";' > /dev/null
    pg_ctl stop --wait --mode=fast > /dev/null
  fi
fi
unset POSTGRES_PASSWORD PGPASSWORD

exec "$@" -c listen_addresses='*'
