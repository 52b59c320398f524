// Text cut into the pieces that BPE merges inside of: a chain of splits by patterns, each applied
// to every piece that the one before it left, as if the piece were a text of its own.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "trainer/tokenizer/regex.h"

namespace weft::trainer::tokenizer {

/// What becomes of a match. Names and meaning: Hugging Face's SplitDelimiterBehavior.
enum class Behavior { Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous };

struct Split {
  Regex pattern;
  Behavior behavior = Behavior::Isolated;
  bool invert = false;  // what lies between the matches is the match
};

/// Threads: any; never changes.
class PreTokenizer {
 public:
  /// A space before every piece that does not begin with one; applied after the splits.
  void add_prefix_space() { steps_.push_back({Step::PrefixSpace, {}}); }
  void add(Split split) { steps_.push_back({Step::Split, {std::move(split)}}); }

  using Sink = std::function<void(std::string_view piece)>;
  /// Calls `sink` with each piece, in order; a piece lives until the call returns. `text` is valid
  /// UTF-8.
  void run(std::string_view text, const Sink& sink) const { run(0, text, sink); }

 private:
  struct Step {
    enum Kind { Split, PrefixSpace } kind;
    std::vector<tokenizer::Split> split;  // one for Split
  };
  void run(std::size_t step, std::string_view text, const Sink& sink) const;

  std::vector<Step> steps_;
};

}  // namespace weft::trainer::tokenizer
