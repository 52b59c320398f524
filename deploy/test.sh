#!/usr/bin/env bash
# Installs, builds and runs every test: all but the slow ones under ASan and UBSan, the shared-memory
# parts under TSan, then whole worlds and whole runs in the optimised build, the slow ones (the shipped
# jobs must learn) with them. The last summary is that of the optimised build.
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/install.sh
deploy/oracles.sh

echo "weft: tests under ASan and UBSan" >&2
deploy/build.sh dev
ctest --preset dev -LE slow -j 2

echo "weft: shared-memory tests under TSan" >&2
deploy/build.sh tsan tsan_tests
TSAN_OPTIONS="ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}" ctest --preset tsan -L tsan -j 2

echo "weft: whole worlds and whole runs, optimised" >&2
deploy/build.sh release weft release_tests
ctest --preset release -L 'multiprocess|slow' -j 2
