#!/usr/bin/env bash
# Installs, builds and runs every test: first under ASan and UBSan, then the shared-memory parts under
# TSan, then everything in the optimised build (with the slow tests), whose summary comes last.
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/install.sh

echo "weft: tests under ASan and UBSan" >&2
deploy/build.sh dev
ctest --preset dev -LE slow -j 2

echo "weft: shared-memory tests under TSan" >&2
deploy/build.sh tsan tsan_tests
TSAN_OPTIONS="ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}" ctest --preset tsan -L tsan -j 2

echo "weft: every test, optimised" >&2
deploy/build.sh release
ctest --preset release -j 2
