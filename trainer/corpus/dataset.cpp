#include "trainer/corpus/dataset.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "trainer/checkpoint/hash.h"
#include "trainer/corpus/permutation.h"
#include "trainer/data/pack.h"

namespace weft::trainer::corpus {
namespace {

constexpr std::uint32_t kPattern = 4096;

}  // namespace

Expected<std::unique_ptr<Dataset>> Dataset::open(std::vector<std::shared_ptr<const Index>> sources,
                                                 Part part, const std::vector<double>& weights,
                                                 const Coder& coder, const PackOptions& options) {
  if (sources.empty()) return fail(Code::InvalidArgument, "a data set needs at least one source");
  if (!weights.empty() && weights.size() != sources.size())
    return fail(Code::InvalidArgument, "data.weights has " + std::to_string(weights.size()) +
                                           " numbers for " + std::to_string(sources.size()) +
                                           " sources: one each, in their order");
  for (const double weight : weights)
    if (!(weight > 0) || !std::isfinite(weight))
      return fail(Code::InvalidArgument, "data.weights: each must be above 0");
  std::unique_ptr<Dataset> set(new Dataset());
  std::vector<double> shares = weights;
  for (std::size_t s = 0; s < sources.size(); ++s) {
    PackOptions own = options;
    own.stream = options.stream * kPattern + s;
    WEFT_TRY_ASSIGN(std::unique_ptr<Packer> packer, make_packer(sources[s], part, coder, own));
    if (weights.empty()) shares.push_back(static_cast<double>(packer->windows()));
    set->packers_.push_back(std::move(packer));
  }
  set->sources_ = std::move(sources);
  set->make_pattern(shares, options.seed);
  return set;
}

/// Slots by largest remainder, at least one a source, shuffled once.
void Dataset::make_pattern(const std::vector<double>& weights, std::uint64_t seed) {
  const std::size_t count = weights.size();
  const auto size = count == 1 ? 1 : std::max(kPattern, static_cast<std::uint32_t>(count) * 64);
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  slots_.assign(count, 1);
  std::vector<double> missing(count);
  auto left = static_cast<std::int64_t>(size) - static_cast<std::int64_t>(count);
  for (std::size_t s = 0; s < count; ++s) {
    missing[s] = std::max(weights[s] / sum * size - 1, 0.0);
  }
  const double over = std::accumulate(missing.begin(), missing.end(), 0.0);
  const double scale = over > 0 ? static_cast<double>(left) / over : 0;
  for (std::size_t s = 0; s < count; ++s) {
    missing[s] *= scale;
    const auto whole = static_cast<std::uint32_t>(missing[s]);
    slots_[s] += whole;
    left -= whole;
    missing[s] -= whole;
  }
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](auto a, auto b) { return missing[a] > missing[b]; });
  for (std::size_t i = 0; left > 0; i = (i + 1) % count, --left) ++slots_[order[i]];

  std::vector<std::uint32_t> in_order;
  for (std::uint32_t s = 0; s < count; ++s) in_order.insert(in_order.end(), slots_[s], s);
  const Permutation shuffled(in_order.size(), true, seed, "corpus/mixture");
  std::vector<std::uint32_t> seen(count, 0);
  for (std::uint64_t i = 0; i < in_order.size(); ++i) {
    const std::uint32_t source = in_order[shuffled(i)];
    pattern_.push_back(source);
    earlier_.push_back(seen[source]++);
  }
}

double Dataset::share(std::size_t source) const {
  return static_cast<double>(slots_[source]) / static_cast<double>(pattern_.size());
}

std::uint64_t Dataset::windows() const {
  std::uint64_t sum = 0;
  for (const auto& packer : packers_) sum += packer->windows();
  return sum;
}

Expected<void> Dataset::append(std::uint32_t source, std::uint64_t epoch, std::uint64_t window,
                               std::vector<Planned>& out) const {
  WEFT_TRY_ASSIGN(const std::vector<Shape> shapes, packers_[source]->shape(epoch, window));
  for (std::size_t part = 0; part < shapes.size(); ++part)
    out.push_back({source, epoch, window, static_cast<int>(part), shapes[part]});
  return {};
}

Expected<std::vector<Planned>> Dataset::plan(std::uint64_t first, int count) const {
  std::vector<Planned> out;
  for (std::uint64_t i = first; i < first + static_cast<std::uint64_t>(count); ++i) {
    const std::uint64_t slot = i % pattern_.size(), round = i / pattern_.size();
    const std::uint32_t source = pattern_[slot];
    const std::uint64_t own = round * slots_[source] + earlier_[slot];
    const std::uint64_t windows = packers_[source]->windows();
    WEFT_TRY(append(source, own / windows, own % windows, out));
  }
  return out;
}

Expected<std::vector<Planned>> Dataset::spread(std::uint64_t count, std::uint64_t first,
                                               int some) const {
  std::vector<Planned> out;
  const std::uint64_t all = windows();
  for (std::uint64_t i = first; i < first + static_cast<std::uint64_t>(some); ++i) {
    std::uint64_t window = i % count * all / count;
    std::uint32_t source = 0;
    while (window >= packers_[source]->windows()) window -= packers_[source++]->windows();
    WEFT_TRY(append(source, 0, window, out));
  }
  return out;
}

Expected<data::Example> Dataset::read(const Planned& sequence) const {
  WEFT_TRY_ASSIGN(data::Example example,
                  packers_[sequence.source]->read(sequence.epoch, sequence.window, sequence.part));
  return example;
}

Expected<std::vector<MicroBatch>> Dataset::batch(std::span<const Planned> sequences,
                                                 int micro_batches, Mode mode,
                                                 const Wanted& wanted) const {
  std::vector<data::SequenceShape> shapes;
  for (const Planned& sequence : sequences)
    shapes.push_back({sequence.shape.tokens, sequence.shape.prompt_length});
  return data::pack_lazily(shapes, micro_batches, mode, wanted,
                           [&](int i) { return read(sequences[static_cast<std::size_t>(i)]); });
}

std::string Dataset::fingerprint() const {
  std::string text;
  for (const auto& source : sources_) text += source->fingerprint() + "\n";
  for (const std::uint32_t slots : slots_) text += std::to_string(slots) + " ";
  return checkpoint::to_hex(checkpoint::hash_of(std::string_view(text)));
}

}  // namespace weft::trainer::corpus
