#!/usr/bin/env bash
# Training speed of the main job's shape beside an eager PyTorch model of the same shape, in one run.
# Usage: tests/bench/peer.sh [PEER.py [JOB.yaml]]      (or WEFT_PEER=PEER.py)
# PEER.py takes the flags that `main_job_bench --peer` prints and ends with a line `RESULT ... key=value ...`
# with tok_s and tok_per_cpu_s (medians). PyTorch is Debian's python3-torch; nothing else needs either.
set -euo pipefail
peer=${1:-${WEFT_PEER:-}}
[[ -n $peer ]] && peer=$(realpath "$peer")
job=${2:+$(realpath "$2")}
cd "$(dirname "$0")/../.."

deploy/build.sh release main_job_bench
bench=build/release/tests/main_job_bench
ours=$("$bench" ${job:+"$job"})
echo "$ours"

if [[ -z $peer || ! -f $peer ]]; then
  echo "peer: left out, no script given (tests/bench/peer.sh PEER.py, or WEFT_PEER)"
  exit 0
fi
if ! /usr/bin/python3 -c 'import torch' 2>/dev/null; then
  echo "peer: left out, PyTorch is missing (apt-get install python3-torch libopenblas0-openmp)"
  exit 0
fi

median_ours() {  # CORES CLOCK -> tokens trained per second, the median
  awk -v cores="$1" -v clock="$2" '/^[0-9]+ core/ { now = $1 }
    now == cores && $1 == "trained" && index($0, clock) { sub(/.*\(median */, ""); sub(/\).*/, ""); print; exit }' <<<"$ours"
}
field() { sed -n "s/.* $2=\([0-9]*\).*/\1/p" <<<"$1"; }

read -ra shape < <("$bench" --peer ${job:+"$job"})
blas=(/usr/lib/*/openblas-openmp)  # obeys the number of threads; the default BLAS is many times slower
for threads in 1 2; do
  result=$(LD_LIBRARY_PATH=${blas[0]} /usr/bin/python3 "$peer" "${shape[@]}" --threads "$threads" \
    --steps 60 --warmup 10 --report 0 | grep '^RESULT')
  for clock in "of processor:tok_per_cpu_s" "on the wall:tok_s"; do
    theirs=$(field "$result" "${clock#*:}")
    mine=$(median_ours "$threads" "${clock%:*}")
    awk -v threads="$threads" -v clock="${clock%:*}" -v mine="${mine:-0}" -v theirs="$theirs" 'BEGIN {
      printf "peer, %d thread(s): trained per second %-13s %8d (median); weft on as many cores %8d, %.2f times\n",
             threads, clock, theirs, mine, (theirs > 0 ? mine / theirs : 0) }'
  done
done
