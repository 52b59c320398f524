#include "trainer/data/text.h"

#include <algorithm>

#include "base/check.h"
#include "base/files.h"
#include "base/rng.h"

namespace weft::trainer::data {
namespace {

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

/// Where the held-out part begins. At most three bytes are skipped: what is not UTF-8 is cut
/// where the fraction says.
std::size_t cut(std::string_view text, double validation_fraction) {
  const auto wanted =
      static_cast<std::size_t>(static_cast<double>(text.size()) * (1.0 - validation_fraction));
  std::size_t at = wanted;
  while (at < text.size() && at < wanted + 3 && continues_character(text[at])) ++at;
  return std::min(at, text.size());
}

}  // namespace

std::int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return !continues_character(c); });
}

Expected<TextCorpus> TextCorpus::load(const std::filesystem::path& path, double validation_fraction,
                                      int context, const Tokenizer* tokenizer) {
  WEFT_TRY_ASSIGN(std::string text, read_file(path));
  return from_text(std::move(text), validation_fraction, context, path.string(), tokenizer);
}

Expected<TextCorpus> TextCorpus::from_text(std::string text, double validation_fraction,
                                           int context, std::string_view name,
                                           const Tokenizer* tokenizer) {
  if (!(validation_fraction > 0.0 && validation_fraction < 1.0))
    return fail(Code::InvalidArgument, "data.validation_fraction is " +
                                           std::to_string(validation_fraction) +
                                           "; it must be above 0 and below 1, such as 0.1");
  if (context < 1)
    return fail(Code::InvalidArgument,
                "data.context is " + std::to_string(context) + "; it must be at least 1");
  TextCorpus corpus;
  corpus.context_ = context;
  corpus.train_bytes_ = cut(text, validation_fraction);
  corpus.text_ = std::move(text);
  corpus.train_tokens_ = corpus.train_bytes_;
  if (tokenizer != nullptr) corpus.encode(*tokenizer);
  WEFT_TRY(corpus.check_length(name));
  return corpus;
}

void TextCorpus::encode(const Tokenizer& tokenizer) {
  const std::string_view text = text_;
  ids_ = tokenizer.encode(text.substr(0, train_bytes_), tokenizer::Trust::Plain);
  train_tokens_ = ids_.size();
  const auto held_out = tokenizer.encode(text.substr(train_bytes_), tokenizer::Trust::Plain);
  if (!held_out.empty()) first_token_bytes_ = tokenizer.decode(held_out.front()).size();
  ids_.insert(ids_.end(), held_out.begin(), held_out.end());
}

Expected<void> TextCorpus::check_length(std::string_view name) const {
  const std::size_t window = static_cast<std::size_t>(context_) + 1;
  const std::size_t held_out = num_tokens() - train_tokens_;
  if (train_tokens_ >= window && held_out >= window) return {};
  const char* unit = ids_.empty() ? " bytes " : " tokens ";
  return fail(Code::InvalidArgument,
              std::string(name) + " is too short: of its " + std::to_string(num_tokens()) + unit +
                  std::to_string(train_tokens_) + " are for training and " +
                  std::to_string(held_out) + " held out, and each part needs " +
                  std::to_string(window) +
                  " (data.context + 1): give a longer text, a smaller data.context or another "
                  "data.validation_fraction");
}

std::vector<std::int32_t> TextCorpus::tokens(std::size_t begin, std::size_t end) const {
  if (!ids_.empty())
    return {ids_.begin() + static_cast<std::ptrdiff_t>(begin),
            ids_.begin() + static_cast<std::ptrdiff_t>(end)};
  std::vector<std::int32_t> ids;
  ids.reserve(end - begin);
  for (std::size_t i = begin; i < end; ++i) ids.push_back(static_cast<unsigned char>(text_[i]));
  return ids;
}

std::vector<std::int32_t> TextCorpus::window(std::uint64_t seed, std::uint64_t step,
                                             std::uint64_t index) const {
  const std::size_t length = static_cast<std::size_t>(context_) + 1;
  Rng rng(seed, "text/window", step, index);
  const std::size_t begin = rng.below(static_cast<std::uint32_t>(train_tokens_ - length + 1));
  return tokens(begin, begin + length);
}

std::int64_t TextCorpus::validation_bytes() const {
  return static_cast<std::int64_t>(text_.size() - train_bytes_);
}

int TextCorpus::num_validation_windows() const {
  const auto predicted = static_cast<std::int64_t>(num_tokens() - train_tokens_) - 1;
  return static_cast<int>((predicted + context_ - 1) / context_);
}

std::vector<std::int32_t> TextCorpus::validation_window(int index) const {
  WEFT_CHECK(index >= 0 && index < num_validation_windows(), std::to_string(index));
  const std::size_t context = static_cast<std::size_t>(context_);
  const std::size_t begin = train_tokens_ + static_cast<std::size_t>(index) * context;
  return tokens(begin, std::min(begin + context + 1, num_tokens()));
}

std::int64_t TextCorpus::predicted_bytes() const {
  return validation_bytes() - static_cast<std::int64_t>(first_token_bytes_);
}

double TextCorpus::validation_bytes_per_character() const {
  const std::string_view predicted =
      std::string_view(text_).substr(train_bytes_ + first_token_bytes_);
  const std::int64_t characters = std::max<std::int64_t>(count_characters(predicted), 1);
  return static_cast<double>(predicted.size()) / static_cast<double>(characters);
}

}  // namespace weft::trainer::data
