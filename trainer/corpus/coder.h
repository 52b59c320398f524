// All that the corpus asks of a tokenizer.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/data/tokenizer.h"

namespace weft::trainer::corpus {

/// Threads: any; never changes.
class Coder {
 public:
  struct Ids {
    std::int32_t bos = -1, eos = -1;
    std::int32_t think_open = -1, think_close = -1, answer_open = -1, answer_close = -1;
    std::int32_t fim_begin = -1, fim_hole = -1, fim_end = -1;  // -1: it has none
  };

  virtual ~Coder() = default;

  /// Appends the tokens of ordinary text: the spelling of a special token gives none, so that a
  /// document cannot inject one.
  virtual void encode(std::string_view text, std::vector<std::int32_t>& out) const = 0;
  virtual std::string decode(std::span<const std::int32_t> ids) const = 0;
  /// The text of a special token, "" for any other: to make boundaries visible.
  virtual std::string special_text(std::int32_t id) const = 0;

  const Ids& ids() const { return ids_; }
  /// Ids are below this, those of the fill-in-the-middle sentinels included.
  int vocab_size() const { return vocab_size_; }
  /// Ids that encode() gives are below this.
  int text_ids() const { return text_ids_; }
  /// Two coders of the same identity give the same tokens.
  const std::string& identity() const { return identity_; }

 protected:
  Ids ids_;
  int vocab_size_ = 0, text_ids_ = 0;
  std::string identity_;
};

/// The byte tokenizer. It has no fill-in-the-middle sentinels of its own: they are the three ids
/// after its last one.
std::unique_ptr<Coder> make_coder(const data::Tokenizer& tokenizer);

}  // namespace weft::trainer::corpus
