#include "trainer/checkpoint/reshard.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

#include "base/check.h"

namespace weft::trainer::checkpoint {
namespace {

std::uint64_t bytes_of_tensor(const TensorEntry& tensor) {
  return *num_elements(tensor.shape) * bytes_of(tensor.dtype);  // validated with the manifest
}

/// Rows [begin, end) of the first dim; a scalar is one row.
Box rows(const Shape& shape, std::int64_t begin, std::int64_t end) {
  Box box{Shape(shape.size(), 0), shape};
  if (!shape.empty()) {
    box.offset[0] = begin;
    box.shape[0] = end - begin;
  }
  return box;
}

void sort_by_rank(std::vector<Share>& shares) {
  std::ranges::stable_sort(shares, [](const Share& a, const Share& b) {
    return std::tie(a.rank, a.tensor) < std::tie(b.rank, b.tensor);
  });
}

/// One item's tensors, laid out one behind the other and cut into equal parts.
void share_item(const Manifest& manifest, std::span<const std::size_t> tensors, int ranks,
                std::uint64_t piece_bytes_min, std::vector<Share>& shares) {
  std::uint64_t total = 0, at = 0;
  for (const std::size_t i : tensors) total += bytes_of_tensor(manifest.tensors[i]);
  const auto rank_at = [&](std::uint64_t byte) {
    if (total == 0) return 0;
    const double place = static_cast<double>(byte) / static_cast<double>(total);
    return std::min(static_cast<int>(place * ranks), ranks - 1);
  };
  for (const std::size_t i : tensors) {
    const TensorEntry& tensor = manifest.tensors[i];
    const std::uint64_t bytes = bytes_of_tensor(tensor);
    const std::int64_t num_rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    if (bytes == 0 || num_rows < 2 || bytes < 2 * piece_bytes_min) {
      shares.push_back({i, rows(tensor.shape, 0, num_rows), rank_at(at + bytes / 2)});
      at += bytes;
      continue;
    }
    const std::uint64_t row_bytes = bytes / static_cast<std::uint64_t>(num_rows);
    const auto rows_min =
        static_cast<std::int64_t>(std::max<std::uint64_t>(1, piece_bytes_min / row_bytes));
    for (std::int64_t begin = 0; begin < num_rows;) {
      const std::uint64_t here = at + static_cast<std::uint64_t>(begin) * row_bytes;
      const int rank = rank_at(here + row_bytes / 2);
      // The first row that belongs to the next rank.
      const double border = static_cast<double>(total) * (rank + 1) / ranks;
      auto end = static_cast<std::int64_t>(
          (border - static_cast<double>(at)) / static_cast<double>(row_bytes) + 0.5);
      end = std::clamp(end, begin + std::min(rows_min, num_rows - begin), num_rows);
      if (num_rows - end < rows_min) end = num_rows;
      if (!shares.empty() && shares.back().tensor == i && shares.back().rank == rank)
        shares.back().box.shape[0] += end - begin;  // one piece a tensor and rank
      else
        shares.push_back({i, rows(tensor.shape, begin, end), rank});
      begin = end;
    }
    at += bytes;
  }
}

/// The whole tensor that was read last: boxes of one tensor follow each other.
struct LastTensor {
  std::size_t index = static_cast<std::size_t>(-1);
  std::vector<std::byte> bytes;
};

/// Rows are contiguous.
std::span<const std::byte> bytes_in(const TensorEntry& tensor, const Box& box,
                                    std::span<const std::byte> whole) {
  if (tensor.shape.empty() || whole.empty()) return whole;
  const std::size_t row_bytes = whole.size() / static_cast<std::size_t>(tensor.shape[0]);
  return whole.subspan(static_cast<std::size_t>(box.offset[0]) * row_bytes,
                       static_cast<std::size_t>(box.shape[0]) * row_bytes);
}

ManifestInfo info_of(const Manifest& manifest, const ReshardOptions& options, std::string state) {
  ManifestInfo info;
  static_cast<Provenance&>(info) = manifest;
  info.writer = options.writer;
  info.layout = options.layout;
  info.state = std::move(state);
  for (const TensorEntry& tensor : manifest.tensors)
    info.expected.push_back({tensor.item, tensor.name, tensor.shape});
  info.keep = std::numeric_limits<int>::max();  // other checkpoints there are not ours to remove
  return info;
}

Expected<std::vector<ShardReport>> write_shards(Reader& reader, std::span<const Share> shares,
                                                const ReshardOptions& options,
                                                const fs::path& partial, Disk& disk) {
  const Manifest& manifest = reader.manifest();
  std::vector<ShardReport> reports;
  LastTensor last;
  auto share = shares.begin();
  for (int rank = 0; rank < options.ranks; ++rank) {
    std::vector<std::vector<std::byte>> kept;
    std::vector<TensorRef> refs;
    for (; share != shares.end() && share->rank == rank; ++share) {
      if (options.progress) WEFT_TRY(options.progress(rank));
      const TensorEntry& tensor = manifest.tensors.at(share->tensor);
      if (last.index != share->tensor) {
        last.index = share->tensor;
        last.bytes.resize(bytes_of_tensor(tensor));
        WEFT_TRY(reader.read_bytes(tensor, last.bytes));
      }
      const auto part = bytes_in(tensor, share->box, last.bytes);
      kept.emplace_back(part.begin(), part.end());
      refs.push_back({tensor.item, tensor.name, share->box.shape, kept.back().data(),
                      share->box.offset, tensor.shape, tensor.dtype});
    }
    WEFT_TRY_ASSIGN(ShardReport report, write_shard(partial, rank, options.ranks, refs, disk));
    reports.push_back(std::move(report));
  }
  WEFT_CHECK(share == shares.end(), "shares of ranks that are not there");
  return reports;
}

}  // namespace

std::vector<Share> share_evenly(const Manifest& manifest, int ranks,
                                std::uint64_t piece_bytes_min) {
  WEFT_CHECK(ranks >= 1, "ranks to share over");
  std::map<std::string_view, std::vector<std::size_t>> items;
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i)
    items[manifest.tensors[i].item].push_back(i);
  std::vector<Share> shares;
  for (const auto& [item, tensors] : items)
    share_item(manifest, tensors, ranks, std::max<std::uint64_t>(piece_bytes_min, 1), shares);
  sort_by_rank(shares);
  return shares;
}

std::vector<Share> share_by_owner(
    const Manifest& manifest, int ranks,
    const std::function<std::vector<int>(const TensorEntry&)>& candidates) {
  std::vector<std::size_t> order(manifest.tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater(),
                           [&](std::size_t i) { return bytes_of_tensor(manifest.tensors[i]); });
  std::vector<std::uint64_t> load(static_cast<std::size_t>(ranks), 0);
  std::vector<Share> shares;
  for (const std::size_t i : order) {
    const TensorEntry& tensor = manifest.tensors[i];
    const std::vector<int> may = candidates(tensor);
    WEFT_CHECK(!may.empty(), "nobody may write " + tensor.name);
    const int rank = *std::ranges::min_element(
        may, {}, [&](int r) { return std::pair(load.at(static_cast<std::size_t>(r)), r); });
    load[static_cast<std::size_t>(rank)] += bytes_of_tensor(tensor);
    shares.push_back({i, rows(tensor.shape, 0, tensor.shape.empty() ? 1 : tensor.shape[0]), rank});
  }
  sort_by_rank(shares);
  return shares;
}

Expected<Committed> reshard(Reader& reader, std::span<const Share> shares,
                            const ReshardOptions& options, Disk& disk) {
  const Manifest& manifest = reader.manifest();
  const std::string name = directory_name(manifest.step);
  if (const auto there = load_manifest(options.output / name, disk);
      there || there.error().code != Code::NotFound)
    return fail(Code::Busy, (options.output / name).string() +
                                " exists already; name another directory, or remove it first");
  WEFT_TRY_ASSIGN(std::string state, reader.state());
  WEFT_TRY_ASSIGN(const fs::path partial,
                  prepare(options.output, manifest.step, manifest.attempt, disk));
  auto made = [&]() -> Expected<Committed> {
    WEFT_TRY_ASSIGN(const auto reports, write_shards(reader, shares, options, partial, disk));
    return commit(options.output, partial, info_of(manifest, options, std::move(state)), reports,
                  disk);
  }();
  // Nobody comes back to write the rest. What went wrong is told; that this fails too is not.
  if (!made) (void)disk.remove_tree(partial);
  return made;
}

}  // namespace weft::trainer::checkpoint
