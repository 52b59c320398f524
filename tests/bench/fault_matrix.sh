#!/bin/sh
# Every fault in every phase on real processes, with measured times: the README's table.
#   tests/bench/fault_matrix.sh [BUILD] [WORD]     BUILD: build/release; WORD: only rows that hold it
set -eu
build=${1:-build/release}
cmake --build "$build" --target runtime_fault_matrix_test weft >&2
[ $# -lt 2 ] || export WEFT_FAULT_ROWS="$2"
export WEFT_FAULT_JOBS=1  # one row at a time: else they disturb each other's times
exec "$build/tests/runtime_fault_matrix_test"
