#!/bin/sh
# How long training stands still for a save and for a copy in memory, beside the time of a step, in
# real runs: the shipped quick job, and the same with a state of tens of MB.
#   tests/bench/checkpoint_stall.sh [WEFT]     WEFT: build/release/weft
# Medians of the steps after which something was saved (checkpoint_stall_seconds) or copied
# (memory_copy_seconds, told with the step after it), from metrics.jsonl; rank 0's clock.
set -eu
weft=${1:-build/release/weft}
job=$(dirname "$0")/../../deploy/jobs/r1-zero-arithmetic.yaml
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

median() { sort -g | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : "nan" }'; }
values() { grep -o "\"$2\":[-+0-9.e]*" "$1/metrics.jsonl" | cut -d: -f2; }

measure() {
  name=$1
  shift
  run=$place/$name
  "$weft" run "$job" --dir "$run" -q --set recipe=[pretrain] --set pretrain.eval_every=0 \
    --set pretrain.target_accuracy=0 --set checkpoint.every_steps=6 \
    --set checkpoint.memory_every_steps=4 "$@" >&2
  bytes=$(grep -o '"bytes":[0-9]*' "$run/events.jsonl" | cut -d: -f2 | sort -g | tail -1)
  step=$(values "$run" step_seconds | median)
  for what in checkpoint_stall_seconds memory_copy_seconds; do
    stall=$(values "$run" $what | median)
    count=$(values "$run" $what | wc -l)
    echo "$name $bytes $what $count $stall $step" | awk '{
      printf "%-8s %7.1f MB  %-25s %3d times  median %8.3f ms  step %8.2f ms  %6.2f %%\n",
             $1, $2 / 1e6, $3, $4, $5 * 1e3, $6 * 1e3, 100 * $5 / $6 }'
  done
}

measure quick --set pretrain.steps=120
measure larger --set pretrain.steps=40 --set model.hidden_size=384 \
  --set model.intermediate_size=1024 --set model.moe_intermediate_size=384 \
  --set model.num_hidden_layers=4
