// weft's own tokenizer as the files that Hugging Face's libraries read, so that they cut text as we
// do. Pure.
#pragma once

#include <string>
#include <vector>

#include "trainer/hf/export.h"
#include "trainer/tokenizer/bytes.h"

namespace weft::trainer::hf {

/// tokenizer.json: byte-level BPE without merges; numbers are cut out by a pattern and found whole
/// in the vocabulary, special tokens wherever their text stands. Any valid UTF-8 gives the ids that
/// Tokenizer::encode gives (other bytes cannot be asked of those libraries). The vocabulary is a
/// map, so a byte whose character is a number token too goes by the name "<0x37>"; encode never
/// produces it.
std::string tokenizer_json(const tokenizer::ByteVocabulary& bytes);

/// tokenizer_config.json: which tokens begin and end a text; nothing is added by itself.
std::string tokenizer_config_json(int max_length);

/// generation_config.json.
std::string generation_config_json(const TokenIds& ids);

/// All three. `max_length`: positions of the model.
std::vector<SideFile> byte_tokenizer_files(const tokenizer::ByteVocabulary& bytes, int max_length);

/// The pattern that cuts out, at each place, the longest run of digits that spells a whole number
/// up to `largest` without leading zeros.
std::string number_pattern(int largest);

}  // namespace weft::trainer::hf
