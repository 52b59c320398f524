// Several sources as one endless sequence of samples. Sample i is a function of i and the seed: any
// rank knows it, and a resumed run needs the number of samples that were used, nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/batch.h"
#include "trainer/corpus/packer.h"

namespace weft::trainer::corpus {

/// Where a sequence of a batch comes from.
struct Planned {
  std::uint32_t source = 0;
  std::uint64_t epoch = 0;  // of the source
  std::uint64_t window = 0;
  int part = 0;
  Shape shape;
};

/// Threads: any; never changes.
class Dataset {
 public:
  /// `weights`: how often a sample comes from each source, relative to the others; empty: as many
  /// as it has windows. Errors: those of make_packer; InvalidArgument for weights that are not one
  /// number above 0 a source.
  static Expected<std::unique_ptr<Dataset>> open(std::vector<std::shared_ptr<const Index>> sources,
                                                 Part part, const std::vector<double>& weights,
                                                 const Coder& coder, const PackOptions& options);

  /// The sequences of samples first .. first + count, as one batch. Reads no token.
  Expected<std::vector<Planned>> plan(std::uint64_t first, int count) const;
  /// The sequences of `count` windows spread evenly over all sources: for evaluations.
  Expected<std::vector<Planned>> spread(std::uint64_t count, std::uint64_t first, int some) const;
  Expected<data::Example> read(const Planned& sequence) const;

  /// A batch as micro-batches, of which only those that `wanted` names hold tokens; the others tell
  /// their sequences' lengths alone. Loss: mean over all tokens of the batch that have one.
  using Wanted = std::function<bool(int micro_batch)>;
  Expected<std::vector<MicroBatch>> batch(std::span<const Planned> sequences, int micro_batches,
                                          Mode mode, const Wanted& wanted) const;

  /// Windows that every source has together; of one.
  std::uint64_t windows() const;
  std::uint64_t windows(std::size_t source) const { return packers_[source]->windows(); }
  std::span<const std::shared_ptr<const Index>> sources() const { return sources_; }
  const Packer& packer(std::size_t source) const { return *packers_[source]; }
  /// Share of the samples that come from a source.
  double share(std::size_t source) const;
  /// Of everything that decides which tokens come: 32 hexadecimal digits.
  std::string fingerprint() const;

 private:
  Dataset() = default;
  void make_pattern(const std::vector<double>& weights, std::uint64_t seed);
  Expected<void> append(std::uint32_t source, std::uint64_t epoch, std::uint64_t window,
                        std::vector<Planned>& out) const;

  std::vector<std::shared_ptr<const Index>> sources_;
  std::vector<std::unique_ptr<Packer>> packers_;
  // Samples go round a pattern of sources: slot -> source, and how often it came before in it.
  std::vector<std::uint32_t> pattern_, earlier_;
  std::vector<std::uint32_t> slots_;  // of each source
};

}  // namespace weft::trainer::corpus
