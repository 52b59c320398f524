// Sums over ranks, always ascending: ((v0 + v1) + v2) + ..., so that every rank holds the same bits
// and a run repeats itself.
#include <algorithm>
#include <array>
#include <cstring>

#include "comm/collective_scope.h"
#include "comm/communicator.h"

namespace weft::comm {
namespace {

// Up to this size every rank gets all values and adds them itself: one exchange instead of two.
constexpr std::size_t kGatherBytesMax = 8 << 10;
// Longer vectors go block by block, which bounds the workspace.
constexpr std::size_t kBlockBytes = 4 << 20;

template <class Real>
Bytes bytes_of(Real* values, std::size_t count) {
  return std::as_writable_bytes(std::span(values, count));
}

/// out[i] = sum over ranks of parts[rank * stride + i], rank `own`'s part being `mine`, which may
/// be `out` itself.
template <class Real>
void add_ascending(Real* out, const Real* mine, const Real* parts, std::size_t stride,
                   std::size_t count, int own, int num_ranks) {
  constexpr std::size_t kTile = 1024;  // stays in the first-level cache
  std::array<Real, kTile> sum;
  for (std::size_t begin = 0; begin < count; begin += kTile) {
    const std::size_t n = std::min(kTile, count - begin);
    for (int rank = 0; rank < num_ranks; ++rank) {
      const Real* part =
          (rank == own ? mine : parts + static_cast<std::size_t>(rank) * stride) + begin;
      if (rank == 0)
        std::copy_n(part, n, sum.begin());
      else
        for (std::size_t i = 0; i < n; ++i) sum[i] += part[i];
    }
    std::copy_n(sum.begin(), n, out + begin);
  }
}

struct Chunk {
  std::size_t begin, count;
};

/// Chunk `rank` of `count` values cut as evenly as possible.
Chunk chunk_of(std::size_t count, int rank, int num_ranks) {
  const auto r = static_cast<std::size_t>(rank), n = static_cast<std::size_t>(num_ranks);
  const std::size_t begin = count * r / n;
  return {begin, count * (r + 1) / n - begin};
}

template <class Real>
Expected<void> reduce_small(CollectiveScope& scope, Communicator& group, std::span<Real> values) {
  const int n = group.size(), own = group.rank();
  const std::size_t count = values.size();
  Real* const parts =
      reinterpret_cast<Real*>(scope.scratch(count * static_cast<std::size_t>(n) * sizeof(Real)));
  for (int step = 1; step < n; ++step) {
    const int from = (own + n - step) % n;
    scope.start_receive(from, bytes_of(parts + static_cast<std::size_t>(from) * count, count));
  }
  for (int step = 1; step < n; ++step)
    scope.start_send((own + step) % n, bytes_of(values.data(), count));
  WEFT_TRY(scope.wait_all());
  add_ascending(values.data(), values.data(), parts, count, count, own, n);
  return {};
}

/// Every rank sums its own chunk, then all gather the chunks.
template <class Real>
Expected<void> reduce_block(CollectiveScope& scope, Communicator& group, std::span<Real> values) {
  const int n = group.size(), own = group.rank();
  const auto at = [&](const Chunk& c) { return bytes_of(values.data() + c.begin, c.count); };
  const Chunk mine = chunk_of(values.size(), own, n);
  Real* const parts = reinterpret_cast<Real*>(
      scope.scratch(mine.count * static_cast<std::size_t>(n) * sizeof(Real)));
  for (int step = 1; step < n; ++step) {
    const int from = (own + n - step) % n;
    scope.start_receive(from,
                        bytes_of(parts + static_cast<std::size_t>(from) * mine.count, mine.count));
  }
  for (int step = 1; step < n; ++step) {
    const int to = (own + step) % n;
    scope.start_send(to, at(chunk_of(values.size(), to, n)));
  }
  WEFT_TRY(scope.wait_all());
  Real* const out = values.data() + mine.begin;
  add_ascending(out, out, parts, mine.count, mine.count, own, n);

  for (int step = 1; step < n; ++step) {
    const int from = (own + n - step) % n;
    scope.start_receive(from, at(chunk_of(values.size(), from, n)));
  }
  for (int step = 1; step < n; ++step) scope.start_send((own + step) % n, at(mine));
  return scope.wait_all();
}

template <class Real>
Expected<void> all_reduce(Communicator& group, std::span<Real> values) {
  CollectiveScope scope(group, Collective::all_reduce);
  if (group.size() == 1 || values.empty()) return {};
  if (values.size_bytes() <= kGatherBytesMax) return reduce_small(scope, group, values);
  constexpr std::size_t kBlock = kBlockBytes / sizeof(Real);
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock)
    WEFT_TRY(
        reduce_block(scope, group, values.subspan(begin, std::min(kBlock, values.size() - begin))));
  return {};
}

}  // namespace

Expected<void> all_reduce_sum(Communicator& group, std::span<float> values) {
  return all_reduce(group, values);
}

Expected<void> all_reduce_sum(Communicator& group, std::span<double> values) {
  return all_reduce(group, values);
}

Expected<void> reduce_sum(Communicator& group, int root, std::span<float> values) {
  CollectiveScope scope(group, Collective::reduce);
  if (group.size() == 1) return {};
  constexpr std::size_t kBlock = kBlockBytes / sizeof(float);
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    if (group.rank() != root) {
      scope.start_send(root, std::as_bytes(block));
      WEFT_TRY(scope.wait_all());
      continue;
    }
    const std::size_t count = block.size();
    float* const parts = reinterpret_cast<float*>(
        scope.scratch(static_cast<std::size_t>(group.size()) * count * sizeof(float)));
    for (int from = 0; from < group.size(); ++from)
      if (from != root)
        scope.start_receive(from, bytes_of(parts + static_cast<std::size_t>(from) * count, count));
    WEFT_TRY(scope.wait_all());
    add_ascending(block.data(), block.data(), parts, count, count, root, group.size());
  }
  return {};
}

}  // namespace weft::comm
