#include "trainer/tokenizer/bytes.h"

#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer::tokenizer {
namespace {

using namespace byte_ids;

/// The special token that `text` starts with, or -1. None is a prefix of another.
int special_at(std::string_view text) {
  for (std::size_t i = 0; i < kSpecials.size(); ++i)
    if (text.starts_with(kSpecials[i])) return static_cast<int>(i);
  return -1;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct NumberPrefix {
  int value = 0;
  std::size_t length = 0;  // 0: not even the first digit is a number token
};

NumberPrefix longest_number(std::string_view text, int largest) {
  NumberPrefix best;
  int value = 0;
  for (std::size_t i = 0; i < text.size() && is_digit(text[i]); ++i) {
    value = value * 10 + (text[i] - '0');
    if (value > largest) break;
    best = {value, i + 1};
    if (value == 0) break;  // a leading zero stands alone
  }
  return best;
}

class Bytes final : public Model {
 public:
  explicit Bytes(int numbers) : numbers_(numbers) {}

  void encode(std::span<const Part> parts, std::vector<std::int32_t>& ids) const override {
    for (const Part& part : parts) encode(part.text, part.trust, ids);
  }

  void decode(std::int32_t id, std::string& bytes) const override {
    if (id < kBos)
      bytes += static_cast<char>(static_cast<unsigned char>(id));
    else if (id < kFirstNumber)
      bytes += kSpecials[static_cast<std::size_t>(id - kBos)];
    else
      bytes += std::to_string(id - kFirstNumber);
  }

  int vocab_size() const override {
    return numbers_ == 0 ? kFirstNumber : kFirstNumber + numbers_ + 1;
  }
  std::optional<std::int32_t> bos() const override { return kBos; }
  std::optional<std::int32_t> eos() const override { return kEos; }
  std::optional<std::int32_t> added(std::string_view content) const override {
    const int special = special_at(content);
    if (special < 0 || kSpecials[static_cast<std::size_t>(special)] != content) return {};
    return kBos + special;
  }
  std::span<const std::int32_t> prefix() const override { return {}; }
  std::span<const std::int32_t> suffix() const override { return {}; }

  Description describe() const override {
    Description out;
    out.kind = "byte";
    out.vocab_size = vocab_size();
    for (std::size_t i = 0; i < kSpecials.size(); ++i)
      out.added.push_back({kBos + static_cast<std::int32_t>(i), std::string(kSpecials[i]), true});
    out.components = {"bytes"};
    if (numbers_ > 0) out.components.push_back("whole numbers to " + std::to_string(numbers_));
    return out;
  }

 private:
  void encode(std::string_view text, Trust trust, std::vector<std::int32_t>& ids) const {
    ids.reserve(ids.size() + text.size());
    while (!text.empty()) {
      std::size_t taken = 1;
      const bool control = trust == Trust::Control && text[0] == '<';
      if (const int special = control ? special_at(text) : -1; special >= 0) {
        ids.push_back(kBos + special);
        taken = kSpecials[static_cast<std::size_t>(special)].size();
      } else if (const NumberPrefix prefix = longest_number(text, numbers_);
                 numbers_ > 0 && prefix.length > 0) {
        ids.push_back(kFirstNumber + prefix.value);
        taken = prefix.length;
      } else {
        ids.push_back(static_cast<unsigned char>(text[0]));
      }
      text.remove_prefix(taken);
    }
  }

  int numbers_;
};

}  // namespace

Expected<Tokenizer> Tokenizer::byte_level(int numbers) {
  if (numbers < 0 || numbers > kMaxNumbers)
    return fail(Code::InvalidArgument, "tokenizer.numbers is " + std::to_string(numbers) +
                                           "; it must be 0 (none) or up to " +
                                           std::to_string(kMaxNumbers));
  return Tokenizer(std::make_shared<Bytes>(numbers));
}

}  // namespace weft::trainer::tokenizer
