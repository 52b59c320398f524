// From documents to windows of a fixed length, each a pure function of (seed, epoch, index).
//
//   stream   documents in the epoch's order, one after another, cut every `context` tokens.
//            Attention and positions run through a window from one document into the next, as in
//            DeepSeek-V3's pre-training. Every token but an epoch's first is predicted once an
//            epoch; the last window may be shorter. Documents may be rewritten for
//            fill-in-the-middle first.
//   sample   whole documents packed best-fit into windows; nothing sees across a document's edge.
//            What is longer than a window becomes several pieces, an answer to a prompt is cut
//            off. Which documents share a window is the same in every epoch (nothing depends on
//            it); the windows' order is not.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/expected.h"
#include "trainer/corpus/coder.h"
#include "trainer/corpus/index.h"
#include "trainer/data/example.h"

namespace weft::trainer::corpus {

enum class Packing { Stream, Sample };

struct PackOptions {
  Packing packing = Packing::Stream;
  int context = 64;  // a window holds context + 1 tokens, of which context predict the next
  bool bos = true, eos = true;
  double fim_rate = 0;  // stream only: share of the documents
  bool shuffle = true;
  bool whole = true;  // sample: a prompt is learned too
  std::uint64_t seed = 1;
  std::uint64_t stream = 0;  // tells sources of one data set apart in every draw
};

/// One sequence of a window.
struct Shape {
  int tokens = 0;
  int prompt_length = 1;  // no loss on the first so many
  friend bool operator==(const Shape&, const Shape&) = default;
};

/// Threads: any; never changes for the caller.
class Packer {
 public:
  virtual ~Packer() = default;
  /// Of every epoch.
  virtual std::uint64_t windows() const = 0;
  /// The sequences of a window; no token is read for it. Errors: Io, Corrupt.
  virtual Expected<std::vector<Shape>> shape(std::uint64_t epoch, std::uint64_t window) const = 0;
  /// Sequence `part` of a window. Errors: Io, Corrupt.
  virtual Expected<data::Example> read(std::uint64_t epoch, std::uint64_t window,
                                       int part) const = 0;
  /// Documents left out because their prompt leaves no room for an answer.
  virtual std::uint64_t left_out() const { return 0; }
  /// Pieces that were cut off at the end of a window (answers to prompts).
  virtual std::uint64_t truncated() const { return 0; }
};

/// Errors: InvalidArgument when a part holds nothing to learn from; Io, Corrupt.
Expected<std::unique_ptr<Packer>> make_packer(std::shared_ptr<const Index> index, Part part,
                                              const Coder& coder, const PackOptions& options);

// The two kinds; make_packer chooses.
Expected<std::unique_ptr<Packer>> make_stream_packer(std::shared_ptr<const Index> index, Part part,
                                                     const Coder& coder,
                                                     const PackOptions& options);
Expected<std::unique_ptr<Packer>> make_sample_packer(std::shared_ptr<const Index> index, Part part,
                                                     const Coder& coder,
                                                     const PackOptions& options);

}  // namespace weft::trainer::corpus
