#!/usr/bin/env bash
# Installs what tests compare weft with (llama.cpp, Hugging Face's readers) into build/oracles, as npm packages
# of exact versions. Needs node and npm, and the npm registry once; without them those tests skip themselves and
# say so. Nothing else of weft needs node.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v npm >/dev/null; then
  echo "weft: npm is not installed: tests against llama.cpp and Hugging Face's readers will be skipped" >&2
  exit 0
fi
mkdir -p build/oracles
if cmp -s tests/oracles/package-lock.json build/oracles/package-lock.json && [[ -f build/oracles/installed ]]; then
  exit 0
fi
rm -f build/oracles/installed
cp tests/oracles/package.json tests/oracles/package-lock.json tests/oracles/.npmrc build/oracles/
if (cd build/oracles && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2); then
  touch build/oracles/installed
  echo "weft: oracles are installed in build/oracles" >&2
else
  echo "weft: npm ci failed: tests against llama.cpp and Hugging Face's readers will be skipped" >&2
fi
