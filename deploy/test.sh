#!/usr/bin/env bash
# Installs, builds and runs every test (with llama.cpp and Hugging Face's readers as judges, where npm is): all but the slow ones under ASan and UBSan, the shared-memory
# parts under TSan, then whole worlds and whole runs in the optimised build, the slow ones (the shipped
# jobs must learn) with them. The last summary is that of the optimised build.
set -euo pipefail
cd "$(dirname "$0")/.."

# build PRESET [TARGET...]: a compiler, linker or test list that found no memory is tried again, alone.
build() {
  deploy/build.sh "$@" && return
  echo "weft: the build stopped; what failed is built once more, one file at a time" >&2
  CMAKE_BUILD_PARALLEL_LEVEL=1 deploy/build.sh "$@"
}

# tests PRESET WHICH...: up to three that failed run once more, by themselves, and are named: real processes
# meet what the machine does meanwhile. What fails twice, or more than three, has failed.
tests() {
  local preset=$1 failed=build/$1/Testing/Temporary/LastTestsFailed.log
  rm -f "$failed"
  ctest --preset "$@" -j 2 && return
  [[ -s $failed && $(wc -l <"$failed") -le 3 ]] || return 1
  echo "weft: unsteady, run once more:" $(sed 's/^[0-9]*://' "$failed") >&2
  ctest --preset "$preset" --rerun-failed
}

deploy/install.sh
deploy/oracles.sh

echo "weft: tests under ASan and UBSan" >&2
build dev
tests dev -LE slow

echo "weft: shared-memory tests under TSan" >&2
build tsan tsan_tests
TSAN_OPTIONS="ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}" tests tsan -L tsan

echo "weft: whole worlds and whole runs, optimised" >&2
build release weft release_tests weft-sim benches
# Simulated clusters: the same seeds every time, and one that no commit before this ran.
build/release/tests/weft-sim --seeds 400 --from 1001 --commit "$(git rev-parse HEAD 2>/dev/null || date +%s)"
tests release -L 'multiprocess|slow'
