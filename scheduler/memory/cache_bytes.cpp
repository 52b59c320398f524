#include "scheduler/memory/cache_bytes.h"

#include <cmath>

namespace weft::scheduler {
namespace {

constexpr double kVector = 16;  // F32 numbers of trainer/kernels/lanes.h's vectors

double whole(double n) { return std::ceil(n / kVector) * kVector; }

/// Of the first micro-batches of a direction, which get one more where it does not come out even.
double sequences_of(const Work& work, int direction) {
  const Layout& layout = work.layout;
  const int directions = dualpipe::num_directions(layout.kind);
  const int in_flight = (layout.pipeline + directions - 1) / directions;
  const double groups = 1.0 * layout.data * directions * in_flight;
  double sum = 0;
  for (int i = 0; i < in_flight; ++i)
    sum += std::ceil((work.rollout_sequences - (direction * in_flight + i)) / groups);
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
