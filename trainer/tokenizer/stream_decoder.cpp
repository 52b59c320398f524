#include "trainer/tokenizer/stream_decoder.h"

#include <utility>

#include "trainer/tokenizer/utf8.h"

namespace weft::trainer::tokenizer {

std::string StreamDecoder::push(std::int32_t id) {
  std::string text = std::exchange(waiting_, {}) + tokenizer_.decode(id);
  const std::size_t tail = unfinished_tail(text);
  waiting_ = text.substr(text.size() - tail);
  text.resize(text.size() - tail);
  return text;
}

std::string StreamDecoder::finish() { return std::exchange(waiting_, {}); }

}  // namespace weft::trainer::tokenizer
