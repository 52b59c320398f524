// All that the corpus asks of a tokenizer.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer::corpus {

/// A tokenizer with what a corpus needs beside it. Threads: any; never changes.
class Coder {
 public:
  /// Special tokens by their spelling. The byte tokenizer has no fill-in-the-middle sentinels of
  /// its own: they are the three ids after its last one. Errors: those of reading the tokenizer's
  /// file.
  static Expected<std::unique_ptr<Coder>> make(const tokenizer::Tokenizer& tokenizer);

  struct Ids {
    std::int32_t bos = -1, eos = -1;
    std::int32_t think_open = -1, think_close = -1, answer_open = -1, answer_close = -1;
    std::int32_t fim_begin = -1, fim_hole = -1, fim_end = -1;  // -1: it has none
  };

  /// Appends the tokens of ordinary text: the spelling of a special token gives none, so that a
  /// document cannot inject one.
  void encode(std::string_view text, std::vector<std::int32_t>& out) const;
  std::string decode(std::span<const std::int32_t> ids) const { return tokenizer_.decode(ids); }
  /// The text of a special token, "" for any other: to make boundaries visible.
  std::string special_text(std::int32_t id) const;

  const Ids& ids() const { return ids_; }
  /// Ids are below this, those of the fill-in-the-middle sentinels included.
  int vocab_size() const { return vocab_size_; }
  /// Ids that encode() gives are below this.
  int text_ids() const { return text_ids_; }
  /// Two coders of the same identity give the same tokens.
  const std::string& identity() const { return identity_; }

 private:
  explicit Coder(const tokenizer::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  tokenizer::Tokenizer tokenizer_;
  Ids ids_;
  int vocab_size_ = 0, text_ids_ = 0;
  std::string identity_;
  std::map<std::int32_t, std::string> specials_;
};

}  // namespace weft::trainer::corpus
