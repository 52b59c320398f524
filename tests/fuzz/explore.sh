#!/bin/sh
# tests/fuzz/explore.sh SECONDS [TARGET...]: explores with libFuzzer (clang) under ASan and UBSan, one
# target after the other, each for SECONDS of a core. The corpus starts from the seed inputs that the
# ordinary tests replay, and goes on in build/fuzz/corpus. What together reaches all of it is written to
# tests/fuzz/corpus/TARGET.txt, which the ordinary tests replay too: commit it.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:?usage: tests/fuzz/explore.sh SECONDS [TARGET...]}
shift
[ $# -gt 0 ] || set -- control_messages journal_state checkpoint_manifest safetensors_header job tcp_frames
[ -f build/fuzz/build.ninja ] || cmake --preset fuzz >/dev/null
[ -f build/dev/build.ninja ] || cmake --preset dev >/dev/null
cmake --build build/dev --target fuzz_kept >/dev/null
for target in "$@"; do
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus"
  cmake --build build/fuzz --target "fuzz_${target}_fuzz" >/dev/null
  if [ "$target" = job ]; then  # its seeds are the shipped jobs
    cp deploy/jobs/*.yaml "$corpus"/
  else
    cmake --build build/dev --target "fuzz_${target}_fuzz" >/dev/null
    build/dev/tests/fuzz_"${target}"_fuzz --seeds "$corpus"
  fi
  kept=tests/fuzz/corpus/$target.txt
  [ ! -f "$kept" ] || build/dev/tests/fuzz_kept unpack "$kept" "$corpus"
  echo "== $target"
  build/fuzz/tests/fuzz_"${target}"_fuzz -max_total_time="$seconds" -max_len=65536 -timeout=20 \
    -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix=build/fuzz/"$target"- "$corpus" 2>&1 |
    grep -E "ERROR|SUMMARY|runtime error|internal error|stat::number_of|cov:.*DONE|Test unit|artifact" || true
  least=$(mktemp -d)
  build/fuzz/tests/fuzz_"${target}"_fuzz -set_cover_merge=1 -use_counters=0 -max_len=1000 "$least" "$corpus" 2>/dev/null
  build/dev/tests/fuzz_kept pack "$least" > "$kept"
  rm -r "$least"
done
