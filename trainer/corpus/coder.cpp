#include "trainer/corpus/coder.h"

namespace weft::trainer::corpus {
namespace {

class ByteCoder final : public Coder {
 public:
  explicit ByteCoder(const data::Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    using T = data::Tokenizer;
    const std::int32_t next = tokenizer.vocab_size();
    ids_ = {T::bos(),          T::eos(), T::think_open(), T::think_close(), T::answer_open(),
            T::answer_close(), next,     next + 1,        next + 2};
    vocab_size_ = next + 3;
    text_ids_ = tokenizer.numbers() == 0 ? 256 : next;
    identity_ = "byte, numbers to " + std::to_string(tokenizer.numbers());
    for (std::int32_t id = T::bos(); id <= T::answer_close(); ++id)
      specials_.emplace_back(T::special_text(id));
  }

  void encode(std::string_view text, std::vector<std::int32_t>& out) const override {
    if (tokenizer_.numbers() == 0) {
      for (const char c : text) out.push_back(static_cast<unsigned char>(c));
      return;
    }
    // A special token's spelling is cut behind its first byte, so that it is not recognised.
    while (!text.empty()) {
      const std::size_t length = plain_length(text);
      const std::vector<std::int32_t> ids = tokenizer_.encode(text.substr(0, length));
      out.insert(out.end(), ids.begin(), ids.end());
      text.remove_prefix(length);
    }
  }

  std::string decode(std::span<const std::int32_t> ids) const override {
    return tokenizer_.decode(ids);
  }

  std::string special_text(std::int32_t id) const override {
    if (id == ids_.fim_begin) return "<｜fim▁begin｜>";
    if (id == ids_.fim_hole) return "<｜fim▁hole｜>";
    if (id == ids_.fim_end) return "<｜fim▁end｜>";
    return std::string(data::Tokenizer::special_text(id));
  }

 private:
  std::size_t plain_length(std::string_view text) const {
    for (std::size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1))
      for (const std::string& special : specials_)
        if (text.substr(at).starts_with(special)) return at + 1;
    return text.size();
  }

  data::Tokenizer tokenizer_;
  std::vector<std::string> specials_;
};

}  // namespace

std::unique_ptr<Coder> make_coder(const data::Tokenizer& tokenizer) {
  return std::make_unique<ByteCoder>(tokenizer);
}

}  // namespace weft::trainer::corpus
