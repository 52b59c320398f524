#include "trainer/corpus/coder.h"

#include "base/files.h"
#include "base/rng.h"
#include "trainer/tokenizer/bytes.h"

namespace weft::trainer::corpus {
namespace {

namespace byte_ids = tokenizer::byte_ids;

constexpr const char* kFimBegin = "<｜fim▁begin｜>";
constexpr const char* kFimHole = "<｜fim▁hole｜>";
constexpr const char* kFimEnd = "<｜fim▁end｜>";
constexpr std::size_t kFileBytesMax = std::size_t{256} << 20;

}  // namespace

Expected<std::unique_ptr<Coder>> Coder::make(const tokenizer::Tokenizer& tokenizer) {
  std::unique_ptr<Coder> coder(new Coder(tokenizer));
  const tokenizer::Description description = tokenizer.describe();
  const auto added = [&](const char* content) { return tokenizer.added(content).value_or(-1); };
  Ids& ids = coder->ids_;
  ids = {tokenizer.bos().value_or(-1),
         tokenizer.eos(),
         added("<think>"),
         added("</think>"),
         added("<answer>"),
         added("</answer>"),
         added(kFimBegin),
         added(kFimHole),
         added(kFimEnd)};
  coder->vocab_size_ = coder->text_ids_ = tokenizer.vocab_size();
  for (const auto& one : description.added) coder->specials_[one.id] = one.content;
  if (description.kind == "byte") {
    const std::int32_t next = tokenizer.vocab_size();
    const int numbers = std::max(0, next - byte_ids::kFirstNumber - 1);
    if (numbers == 0) coder->text_ids_ = 256;
    coder->identity_ = "byte, numbers to " + std::to_string(numbers);
    std::int32_t sentinel = next;
    for (auto [id, text] : {std::pair{&ids.fim_begin, kFimBegin},
                            {&ids.fim_hole, kFimHole},
                            {&ids.fim_end, kFimEnd}}) {
      *id = sentinel++;
      coder->specials_[*id] = text;
    }
    coder->vocab_size_ = sentinel;
    return coder;
  }
  WEFT_TRY_ASSIGN(const std::string file, read_file(description.source, kFileBytesMax));
  coder->identity_ = description.kind + ", file of fingerprint " + std::to_string(fnv1a(file));
  return coder;
}

void Coder::encode(std::string_view text, std::vector<std::int32_t>& out) const {
  const std::vector<std::int32_t> ids = tokenizer_.encode(text, tokenizer::Trust::Plain);
  out.insert(out.end(), ids.begin(), ids.end());
}

std::string Coder::special_text(std::int32_t id) const {
  const auto found = specials_.find(id);
  return found == specials_.end() ? "" : found->second;
}

}  // namespace weft::trainer::corpus
