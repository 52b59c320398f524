// The tokenizer as a GGUF file carries it: GPT-2's byte-level BPE, in which every byte is written
// as a printable character. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/tokenizer/bytes.h"

namespace weft::trainer::gguf {

/// As llama.cpp counts them.
enum class TokenType : std::int32_t { Normal = 1, Control = 3, UserDefined = 4, Unused = 5 };

struct Vocabulary {
  std::string pre;                  // how text is cut before merging: "deepseek-v3"
  std::vector<std::string> tokens;  // by id, all different
  std::vector<std::int32_t> types;  // TokenType of each
  std::vector<std::string> merges;  // "a b", best first
  int bos = -1, eos = -1;           // -1: none
  bool add_bos = false;
  std::string chat_template;         // "": none
  std::vector<std::string> caveats;  // where other tools will cut text differently than we do
};

/// The character that GPT-2's tokenizers write for a byte, as UTF-8.
std::string byte_character(unsigned char byte);

/// weft's own tokenizer for a model of `vocab_size` ids: bytes, the six special tokens, numbers.
/// There are no merges. The byte of a digit that is a number token as well is never produced by
/// encode, and since all texts must differ it is called "<0x37>"; ids beyond the tokenizer are
/// "[PAD…]". Without number tokens, or with 0 to 9 only, other tools tokenize equally; with more
/// they write every number digit by digit, which `caveats` says.
/// Errors: InvalidArgument when the model has fewer ids than the tokenizer.
Expected<Vocabulary> byte_vocabulary(const tokenizer::ByteVocabulary& bytes, int vocab_size);

/// From the texts of a Hugging Face tokenizer.json and tokenizer_config.json ("": there is none).
/// Errors: InvalidArgument, naming what is missing or not understood: another kind than byte-level
/// BPE, ids that are doubled or beyond `vocab_size`, merges that name no tokens.
Expected<Vocabulary> parse_vocabulary(std::string_view tokenizer_json,
                                      std::string_view tokenizer_config, int vocab_size);

}  // namespace weft::trainer::gguf
