#include "scheduler/memory/cache_bytes.h"

#include <algorithm>
#include <cmath>

namespace weft::scheduler {
namespace {

constexpr double kVector = 16;  // F32 numbers of trainer/kernels/lanes.h's vectors

double whole(double n) { return std::ceil(n / kVector) * kVector; }

/// As many micro-batches of each direction as keep every position busy.
int in_flight(const Layout& layout) {
  const int directions = dualpipe::num_directions(layout.kind);
  return (layout.pipeline + directions - 1) / directions;
}

/// Sequences of one micro-batch; the first ones get one more where it does not come out even.
double rows_of(const Work& work, int micro_batch) {
  const Layout& layout = work.layout;
  const double groups =
      1.0 * layout.data * dualpipe::num_directions(layout.kind) * in_flight(layout);
  return std::ceil(std::max(0.0, work.rollout_sequences - micro_batch) / groups);
}

/// Of the first lane.
double sequences_of(const Work& work, int direction) {
  const int each = in_flight(work.layout);
  double sum = 0;
  for (int i = 0; i < each; ++i) sum += rows_of(work, direction * each + i);
  return sum;
}

}  // namespace

double cache_bytes(const Work& work, double sequences, double tokens, bool gpu) {
  const ModelShape& m = work.model;
  if (gpu) {
    const double number = work.precision == Precision::F32 ? 4 : 2;
    return number * m.kv_per_token() * sequences * tokens;
  }
  if (!m.latent) return 4 * sequences * tokens * m.kv_per_token();
  return 4 * sequences * (tokens * whole(m.kv_lora) + (m.kv_lora + m.rope) * whole(tokens));
}

double rollout_rows(const Work& work) { return rows_of(work, 0); }

Expected<std::vector<double>> rollout_cache(const Work& work, bool gpu) {
  const Layout& layout = work.layout;
  std::vector<double> out(static_cast<std::size_t>(layout.pipeline), 0.0);
  if (work.rollout_sequences <= 0) return out;
  WEFT_TRY_ASSIGN(const Placement placement,
                  place(layout, work.model.layers, work.model.next_token));
  const bool two_ways = dualpipe::num_directions(layout.kind) == 2;
  for (int position = 0; position < layout.pipeline; ++position) {
    int direction = 0;
    for (const int stage : dualpipe::stages_of(layout.kind, layout.pipeline, position)) {
      const int layers = placement.stages[static_cast<std::size_t>(stage)].count;
      out[static_cast<std::size_t>(position)] +=
          layers * cache_bytes(work, sequences_of(work, two_ways ? direction++ : 0),
                               work.rollout_tokens, gpu);
    }
  }
  return out;
}

}  // namespace weft::scheduler
