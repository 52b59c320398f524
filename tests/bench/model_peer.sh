#!/bin/sh
# A training step beside PyTorch: the same model shape, the same tokens a step, forward, backward,
# clipping and AdamW. Prints, per shape and number of threads, tokens a second and peak memory of
# both in F32 and in BF16, the limits that the matrix-product library sets in the same run, and the
# ratios. One thread: by processor time; two: by wall time, to be read on a quiet machine only.
#
#   tests/bench/model_peer.sh [threads...]      default: 1 2
#
# BENCH: the program (build/release/tests/model_peer_bench). PEER: the PyTorch script, which takes
# the flags below and ends in a line "RESULT key=value ..."; PYTHON: with PyTorch
# (/usr/bin/python3). STEPS: how many (9).
bench=${BENCH:-build/release/tests/model_peer_bench}
python=${PYTHON:-/usr/bin/python3}
steps=${STEPS:-9}
# Threads that spin for each other stand still on a machine that others use too.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
[ -x "$bench" ] || { echo "no $bench: cmake --build --preset release --target model_peer_bench"; exit 1; }

peer=yes
if [ -z "$PEER" ] || [ ! -f "$PEER" ]; then
  echo "no PyTorch script in PEER: our figures only"
  peer=
elif ! "$python" -c 'import torch' 2>/dev/null; then
  echo "no PyTorch for $python: our figures only"
  peer=
fi

value() { echo "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"; }
ratio() { awk "BEGIN { if ($2 > 0) printf \"%.2f\", $1 / $2; else printf \"-\" }"; }

run_peer() { # threads dtype hidden layers experts top_k length sequences
  [ "$peer" ] || return 0
  if [ "$3" = 256 ]; then
    shape="--heads 4 --q-rank 128 --kv-rank 64 --nope 32 --rope 16 --vdim 32 --moe-inter 128"
  else
    shape="--heads 8 --q-rank 256 --kv-rank 128 --nope 48 --rope 16 --vdim 48 --moe-inter 256"
  fi
  # Debian's PyTorch: the OpenMP build of OpenBLAS obeys its number of threads.
  LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/openblas-openmp ATEN_CPU_CAPABILITY=avx2 \
    "$python" "$PEER" --threads "$1" --dtype "$2" --steps "$steps" --warmup 2 --report 0 $shape \
    --hidden "$3" --layers "$4" --experts "$5" --topk "$6" --seq "$7" --micro-batch "$8" | grep RESULT
}

speed() { # of a peer's result, by threads: its best in the clock that ours uses
  if [ "$1" = 1 ]; then value "$2" tok_per_cpu_s; else value "$2" tok_s; fi
}

echo "load: $(cut -d' ' -f1-3 /proc/loadavg), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
for threads in ${*:-1 2}; do
  for shape in "256 4 8 2 128 16" "256 4 8 2 256 8" "256 4 8 2 512 4" "256 8 16 4 256 8" \
               "512 4 8 2 256 8" "512 8 16 4 256 4"; do
    ours32=$("$bench" $shape "$threads" f32 "$steps" | grep RESULT)
    ours16=$("$bench" $shape "$threads" bf16 "$steps" | grep RESULT)
    peer32=$(run_peer "$threads" f32 $shape)
    peer16=$(run_peer "$threads" bf16 $shape)
    a=$(value "$ours32" tok_s) b=$(value "$ours16" tok_s)
    c=$(speed "$threads" "$peer32") d=$(speed "$threads" "$peer16")
    best=$(awk "BEGIN { print (0$c > 0$d) ? 0$c : 0$d }")
    echo "hidden, layers, experts, top k, length, sequences: $shape; $threads thread(s)"
    echo "  parameters   ours $(value "$ours32" params)  PyTorch $(value "$peer32" params)"
    echo "  tokens/s     ours f32 $a  bf16 $b   PyTorch f32 ${c:--}  bf16 ${d:--}"
    echo "  ratios       f32 to f32 $(ratio "$a" "0$c")   bf16 to PyTorch's best $(ratio "$b" "0$best")"
    echo "  GFLOP/s      f32 $(value "$ours32" gflops) of $(value "$ours32" limit_f32), \
$(ratio "$(value "$ours32" gflops)" "$(value "$ours32" limit_f32)");  bf16 \
$(value "$ours16" gflops) of $(value "$ours16" limit_bf16), \
$(ratio "$(value "$ours16" gflops)" "$(value "$ours16" limit_bf16)")"
    echo "  peak MiB     ours f32 $(value "$ours32" peak_rss_mib)  bf16 $(value "$ours16" peak_rss_mib) \
  PyTorch f32 $(value "$peer32" peak_rss_mib)  bf16 $(value "$peer16" peak_rss_mib)"
    echo "  loss         ours f32 $(value "$ours32" loss_last)  bf16 $(value "$ours16" loss_last)"
  done
done
