#!/usr/bin/env bash
# Installs the other implementations that some tests compare with: each folder of tests/oracles into
# build/oracles. Without npm, or without its registry, those tests are skipped and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v npm >/dev/null || {
  echo "weft: npm is not installed: comparisons with other implementations are skipped" >&2
  exit 0
}
for package in tests/oracles/*/package.json; do
  from=$(dirname "$package")
  to=build/oracles/$(basename "$from")
  mkdir -p "$to"
  cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$to/"
  if (cd "$to" && npm ci --silent >&2); then
    echo "weft: $to is ready" >&2
  else
    echo "weft: npm ci failed in $to: its comparisons are skipped" >&2
  fi
done
