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

/// Gives every rank its part of our values, which `part_of(rank)` names, and adds what the others
/// give us to our own part, into `out`, which may be that part itself.
template <class Real, class PartOf>
Expected<void> add_own_part(CollectiveScope& scope, const Communicator& group, PartOf part_of,
                            Real* out) {
  const int n = group.size(), own = group.rank();
  const std::span<const Real> mine = part_of(own);
  const std::size_t count = mine.size();
  Real* const parts =
      reinterpret_cast<Real*>(scope.scratch(count * static_cast<std::size_t>(n) * sizeof(Real)));
  for (int step = 1; step < n; ++step) {
    const int from = (own + n - step) % n;
    scope.start_receive(from, bytes_of(parts + static_cast<std::size_t>(from) * count, count));
  }
  for (int step = 1; step < n; ++step) {
    const int to = (own + step) % n;
    scope.start_send(to, std::as_bytes(std::span<const Real>(part_of(to))));
  }
  WEFT_TRY(scope.wait_all());
  add_ascending(out, mine.data(), static_cast<const Real*>(parts), count, count, own, n);
  return {};
}

/// Every rank sums its own chunk, then all gather the chunks.
template <class Real>
Expected<void> reduce_block(CollectiveScope& scope, Communicator& group, std::span<Real> values) {
  const int n = group.size(), own = group.rank();
  const auto chunk = [&](int rank) {
    const Chunk c = chunk_of(values.size(), rank, n);
    return values.subspan(c.begin, c.count);
  };
  WEFT_TRY(add_own_part<Real>(scope, group, chunk, chunk(own).data()));

  for (int step = 1; step < n; ++step) {
    const int from = (own + n - step) % n;
    scope.start_receive(from, std::as_writable_bytes(chunk(from)));
  }
  for (int step = 1; step < n; ++step)
    scope.start_send((own + step) % n, std::as_bytes(chunk(own)));
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

template <class Real>
Expected<void> reduce_scatter(Communicator& group, std::span<const Real> in, std::span<Real> out) {
  const std::size_t part = out.size(), n = static_cast<std::size_t>(group.size());
  WEFT_CHECK(in.size() == part * n, "reduce_scatter_sum: in must hold one part a rank");
  CollectiveScope scope(group, Collective::reduce_scatter);
  const std::size_t block = std::max<std::size_t>(1, kBlockBytes / sizeof(Real) / n);
  for (std::size_t begin = 0; begin < part; begin += block) {
    const auto block_of = [&](int rank) {
      return in.subspan(static_cast<std::size_t>(rank) * part + begin,
                        std::min(block, part - begin));
    };
    WEFT_TRY(add_own_part<Real>(scope, group, block_of, out.data() + begin));
  }
  return {};
}

}  // namespace

Expected<void> reduce_scatter_sum(Communicator& group, std::span<const float> in,
                                  std::span<float> out) {
  return reduce_scatter(group, in, out);
}

Expected<void> reduce_scatter_sum(Communicator& group, std::span<const double> in,
                                  std::span<double> out) {
  return reduce_scatter(group, in, out);
}

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
