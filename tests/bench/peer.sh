#!/usr/bin/env bash
# Training speed of the main job's shape against an eager PyTorch model of the same shape, in one run.
# Usage: tests/bench/peer.sh [PEER.py [JOB.yaml]]      (or WEFT_PEER=PEER.py)
# PEER.py takes the flags that `main_job_bench --peer` prints and ends with a line
# `RESULT ... tok_s=N ...`. PyTorch is Debian's python3-torch; neither is needed by anything else.
set -euo pipefail
peer=${1:-${WEFT_PEER:-}}
[[ -n $peer ]] && peer=$(realpath "$peer")
job=${2:+$(realpath "$2")}
cd "$(dirname "$0")/../.."

deploy/build.sh release main_job_bench
bench=build/release/tests/main_job_bench
"$bench" ${job:+"$job"}

if [[ -z $peer || ! -f $peer ]]; then
  echo "peer: left out, no script given (tests/bench/peer.sh PEER.py, or WEFT_PEER)"
  exit 0
fi
if ! /usr/bin/python3 -c 'import torch' 2>/dev/null; then
  echo "peer: left out, PyTorch is missing (apt-get install python3-torch libopenblas0-openmp)"
  exit 0
fi
read -ra shape < <("$bench" --peer ${job:+"$job"})
blas=$(dirname "$(ls /usr/lib/*/openblas-openmp/libblas.so.3 2>/dev/null || echo ./none)")
for threads in 1 2; do
  for capability in avx2 avx512; do
    result=$(LD_LIBRARY_PATH=$blas ATEN_CPU_CAPABILITY=$capability /usr/bin/python3 "$peer" \
      "${shape[@]}" --threads "$threads" --steps 60 --warmup 10 --report 0 | grep '^RESULT')
    echo "peer, $threads thread(s), $capability: $result"
  done
done
