#!/usr/bin/env bash
# Installs, builds and runs every test (with llama.cpp and Hugging Face's readers as judges, where npm is): all but the slow ones under ASan and UBSan, the shared-memory
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
deploy/build.sh release weft release_tests weft-sim
# Simulated clusters: the same seeds every time, and one that no commit before this ran.
build/release/tests/weft-sim --seeds 400 --from 1001 --commit "$(git rev-parse HEAD 2>/dev/null || date +%s)"
ctest --preset release -L 'multiprocess|slow' -j 2
