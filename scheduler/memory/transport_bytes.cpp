#include "scheduler/memory/transport_bytes.h"

#include <algorithm>
#include <set>

namespace weft::scheduler {
namespace {

/// Of one ring in a group of so many ranks, as the transport makes them.
double ring_bytes(std::size_t ranks) {
  constexpr double kKiB = 1024, kControl = 128;
  const double capacity = ranks <= 2 ? 1024 : ranks <= 4 ? 256 : ranks <= 16 ? 128 : 64;
  return capacity * kKiB + kControl;
}

/// Those of a group whose members all send to each other.
double rings_among(int ranks) { return (ranks - 1) * ring_bytes(static_cast<std::size_t>(ranks)); }

/// Positions that this one sends activations and gradients to.
std::size_t neighbours(std::span<const dualpipe::Action> program) {
  std::set<int> peers;
  for (const dualpipe::Action& action : program)
    if (action.op == dualpipe::Op::SendF || action.op == dualpipe::Op::SendB)
      peers.insert(action.peer);
  return peers.size();
}

/// The ranks that hold the embedding, where the last stage has a copy of it; 0 if this position is
/// none of theirs.
int embedding_holders(const Layout& layout, std::span<const StageBlocks> stages,
                      const std::vector<int>& own) {
  const int last = static_cast<int>(stages.size()) - 1;
  const auto ends = [last](const std::vector<int>& held) {
    return std::ranges::any_of(held, [last](int stage) { return stage == 0 || stage == last; });
  };
  if (stages.back().next_token == 0 || !ends(own)) return 0;
  int positions = 0;
  for (int p = 0; p < layout.pipeline; ++p)
    positions += ends(dualpipe::stages_of(layout.kind, layout.pipeline, p)) ? 1 : 0;
  return positions * layout.data;
}

/// In which ranks sum so many bytes (comm/sums.cpp): a part from each, or of long sums a chunk.
double workspace_bytes(double bytes, int ranks) {
  constexpr double kWhole = 8 << 10, kBlock = 4 << 20;
  return bytes <= kWhole ? bytes * ranks : std::min(bytes, kBlock);
}

double block_tensors(const ModelShape& m, bool moe) {
  const double attention = m.latent ? 4 + (m.q_lora > 0 ? 3 : 1) : 4;
  const double feed_forward = moe ? 2 + (m.shared > 0 ? 3 : 0) + 3.0 * m.experts : 3;
  return 2 + attention + feed_forward;
}

}  // namespace

double num_tensors(const ModelShape& m) {
  double sum = 2 + (m.tied ? 0 : 1);
  for (int layer = 0; layer < m.layers; ++layer) sum += block_tensors(m, m.is_moe(layer));
  return sum + m.next_token * (4 + block_tensors(m, m.experts > 0));
}

TransportBytes transport_bytes(const Work& work, std::span<const StageBlocks> stages, int position,
                               std::span<const dualpipe::Action> program) {
  const Layout& layout = work.layout;
  const int copies = layout.data * dualpipe::num_directions(layout.kind);
  const std::vector<int> own = dualpipe::stages_of(layout.kind, layout.pipeline, position);
  TransportBytes out;
  out.rings =
      rings_among(layout.world()) + static_cast<double>(neighbours(program)) *
                                        ring_bytes(static_cast<std::size_t>(layout.pipeline));
  bool exchanges_here = false;
  for (const int stage : own) {
    const StageBlocks& blocks = stages[static_cast<std::size_t>(stage)];
    const bool moe = blocks.moe > 0 || (blocks.next_token > 0 && work.model.experts > 0);
    out.rings += rings_among(copies);
    if (moe) out.rings += rings_among(copies / layout.expert);
    exchanges_here |= moe;
  }
  if (exchanges_here) out.rings += rings_among(layout.expert);
  // Of the embedding, which is one tensor, everybody tells its owner alone.
  if (const int n = embedding_holders(layout, stages, own); n > 1)
    out.rings += ring_bytes(static_cast<std::size_t>(n));
  const ModelShape& m = work.model;
  const double numbers = num_tensors(m) + work.step_sequences() +
                         1.0 * (m.layers + m.next_token) * m.experts + layout.world() + 8;
  if (layout.world() > 1) out.collectives = workspace_bytes(8 * numbers, layout.world());
  return out;
}

}  // namespace weft::scheduler
