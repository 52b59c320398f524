#!/usr/bin/env bash
# Configures and builds one preset: deploy/build.sh PRESET [TARGET...]. What is built is not built again.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
[[ -f build/$preset/build.ninja ]] || cmake --preset "$preset" >&2
cmake --build --preset "$preset" ${1:+--target "$@"} >&2
