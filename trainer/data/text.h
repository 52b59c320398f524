// A text file as a stream of tokens for language modelling, its end held out for validation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/data/tokenizer.h"

namespace weft::trainer::data {

/// Without a tokenizer every byte is one token (its own id; no special tokens, no numbers). With
/// one, the text is encoded as plain text, and both parts are held as tokens. A window holds
/// context + 1 tokens: each of the first `context` predicts the next one.
/// Threads: any; never changes.
class TextCorpus {
 public:
  /// Reads the whole file. The last `validation_fraction` of its bytes, moved forward to the start
  /// of a character, is held out. Errors: NotFound, Io; InvalidArgument for a fraction outside
  /// (0, 1), a context below 1, a part shorter than one window, or more than 1 GiB.
  static Expected<TextCorpus> load(const std::filesystem::path& path, double validation_fraction,
                                   int context, const Tokenizer* tokenizer = nullptr);
  /// The same from memory; `name` stands in error messages.
  static Expected<TextCorpus> from_text(std::string text, double validation_fraction, int context,
                                        std::string_view name,
                                        const Tokenizer* tokenizer = nullptr);

  /// A training window at an offset drawn for (seed, step, index).
  std::vector<std::int32_t> window(std::uint64_t seed, std::uint64_t step,
                                   std::uint64_t index) const;

  /// The held-out part as windows side by side, the last one possibly shorter: every token but the
  /// first is predicted exactly once.
  int num_validation_windows() const;
  std::vector<std::int32_t> validation_window(int index) const;

  int context() const { return context_; }
  std::int64_t train_bytes() const { return static_cast<std::int64_t>(train_bytes_); }
  std::int64_t validation_bytes() const;
  /// Held-out bytes that validation predicts: all but the first token's. Loss per byte is the whole
  /// loss over these, and means the same whatever the tokenizer.
  std::int64_t predicted_bytes() const;
  /// These over the characters among them. Loss per byte times this is loss per character; 1 for
  /// ASCII.
  double validation_bytes_per_character() const;

 private:
  TextCorpus() = default;
  std::vector<std::int32_t> tokens(std::size_t begin, std::size_t end) const;
  std::size_t num_tokens() const { return ids_.empty() ? text_.size() : ids_.size(); }
  void encode(const Tokenizer& tokenizer);
  Expected<void> check_length(std::string_view name) const;

  std::string text_;
  std::size_t train_bytes_ = 0;
  std::vector<std::int32_t> ids_;  // with a tokenizer: of both parts, each encoded apart
  std::size_t train_tokens_ = 0;
  std::size_t first_token_bytes_ = 1;  // of the held-out part
  int context_ = 0;
};

/// Characters of UTF-8 text: bytes that do not continue another's.
std::int64_t count_characters(std::string_view text);

}  // namespace weft::trainer::data
