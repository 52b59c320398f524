#!/usr/bin/env bash
# From a fresh Debian 12 machine to a small reasoner: installs, builds, runs the main job.
# Run again at any time: what is done is skipped, and an unfinished run goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/install.sh
deploy/build.sh release weft
exec build/release/weft run deploy/jobs/r1-zero-arithmetic.yaml "$@"
