#!/usr/bin/env bash
# The local transport beside Open MPI and plain memcpy, in one run on this host: all_to_all_v of 1, 4
# and 16 MB per peer, 64-byte latency with more ranks than cores, and the executor's cost per action.
# Usage: tests/bench/comm_peer.sh [ROUNDS [RANKS...]]       (default: 2 rounds, 2 4 8 ranks)
# The three take turns in every round; the table shows the best of all rounds and, in brackets, the median.
# GB/s count every byte that arrives, a rank's own block included, for all three alike.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-2}
shift || true
ranks=("$@")
[[ ${#ranks[@]} -gt 0 ]] || ranks=(2 4 8)

build=build/release/tests
deploy/build.sh release comm_peer_bench executor_bench
mpi=no
if command -v mpirun >/dev/null && deploy/build.sh release mpi_alltoallv_bench 2>/dev/null; then mpi=yes; fi
[[ $mpi == yes ]] || echo "Open MPI: left out, not installed (apt-get install openmpi-bin libopenmpi-dev)"

# Ranks outnumber cores: without the yield and with binding Open MPI would be a thousand times slower.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export OMPI_MCA_btl_base_warn_component_unused=0

echo "$(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg), $rounds rounds"
results=$(mktemp)
trap 'rm -f "$results"' EXIT
for ((round = 0; round < rounds; ++round)); do
  for n in "${ranks[@]}"; do
    "$build/comm_peer_bench" local "$n" | sed 's/^/weft /' >>"$results"
    if [[ $mpi == yes ]]; then mpirun -n "$n" "$build/mpi_alltoallv_bench" | sed 's/^/mpi /' >>"$results"; fi
    "$build/comm_peer_bench" memcpy "$n" | sed 's/^/copy /' >>"$results"
  done
done

# Lines: WHO WHAT RANKS BYTES BEST MEDIAN (microseconds).
awk '
  function median(list,    a, n, i, j, t) {
    n = split(list, a, " ")
    for (i = 2; i <= n; ++i) for (j = i; j > 1 && a[j] + 0 < a[j - 1] + 0; --j) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
    return a[int((n + 1) / 2)]
  }
  { key = $1 " " $2 " " $3 " " $4
    if (!(key in best) || $5 + 0 < best[key]) best[key] = $5 + 0
    medians[key] = medians[key] " " $6
    points[$3 " " $4] = 1 }
  function show(key, scale) {   # a bandwidth, or a time when scale is 0
    if (!(key in best)) return sprintf("%15s", "-")
    if (scale == 0) return sprintf("%7.2f (%5.2f)", best[key], median(medians[key]))
    return sprintf("%7.2f (%5.2f)", scale / best[key], scale / median(medians[key]))
  }
  function ratio(over, under) { return (over in best && under in best) ? sprintf("%5.2f", best[over] / best[under]) : "    -" }
  function ratio_median(over, under) {
    return (over in best && under in best) ? sprintf("(%.2f)", median(medians[over]) / median(medians[under])) : ""
  }
  END {
    m = split("1048576 4194304 16777216", sizes, " ")
    print "all_to_all_v, GB/s of all ranks together      weft        Open MPI   memcpy, 1 core  memcpy, 2 cores   weft/MPI      weft/memcpy 2"
    for (n = 2; n <= 64; ++n) for (i = 1; i <= m; ++i) {
      at = n " " sizes[i]
      if (!(at in points)) continue
      bytes = n * n * sizes[i] / 1000
      w = "weft all_to_all " at; p = "mpi all_to_all " at; c = "copy memcpy_2 " at
      printf "  %d ranks, %2d MB per peer          %s %s %s %s   %s %s %s %s\n", n, sizes[i] / 1048576, show(w, bytes), show(p, bytes),
             show("copy memcpy_1 " at, bytes), show(c, bytes), ratio(p, w), ratio_median(p, w), ratio(c, w), ratio_median(c, w)
    }
    print "64 bytes, microseconds                        weft        Open MPI   weft/MPI (smaller is better)"
    for (n = 2; n <= 64; ++n) {
      at = n " 64"
      if (!(at in points)) continue
      w = "weft ping_pong " at; p = "mpi ping_pong " at
      if (w in best) printf "  %d ranks, pairs, there and back   %s %s   %s %s\n", n, show(w, 0), show(p, 0), ratio(w, p), ratio_median(w, p)
      w = "weft all_to_all " at; p = "mpi all_to_all " at
      printf "  %d ranks, all_to_all_v            %s %s   %s %s\n", n, show(w, 0), show(p, 0), ratio(w, p), ratio_median(w, p)
    }
  }' "$results"
"$build/executor_bench"
echo "load at the end $(cut -d' ' -f1-3 /proc/loadavg)"
