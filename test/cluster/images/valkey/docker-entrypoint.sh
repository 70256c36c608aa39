#!/bin/bash
set -euo pipefail

[[ "${1:-}" == -* || "${1:-}" == *.conf ]] && set -- valkey-server "$@"

if [[ "${1:-}" == valkey-server && "$(id -u)" == 0 ]]; then
  chown -R valkey:valkey .
  exec setpriv --reuid=valkey --regid=valkey --init-groups "$BASH_SOURCE" "$@"
fi
if [[ "${1:-}" == valkey-server ]]; then
  # As the official image does: it is reached from other pods, and its network is the container's own.
  exec "$@" --protected-mode no
fi
exec "$@"
