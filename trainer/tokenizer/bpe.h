// Byte-level byte-pair encoding, put together from its parts. What reads files is in hf.h.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "trainer/tokenizer/added_tokens.h"
#include "trainer/tokenizer/merges.h"
#include "trainer/tokenizer/pre_tokenizer.h"
#include "trainer/tokenizer/tokenizer.h"
#include "trainer/tokenizer/vocabulary.h"

namespace weft::trainer::tokenizer {

/// Everything that a BPE tokenizer is. Ids inside are below vocabulary.size().
struct BpeParts {
  Vocabulary vocabulary;  // indexed
  Merges merges;
  std::array<std::int32_t, 256> byte_id;  // -1: no token; such bytes become `unknown`, or nothing
  std::optional<std::int32_t> unknown;
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
  bool compose = false;        // NFC first
  PreTokenizer pre_tokenizer;
  std::vector<AddedToken> added;
  std::vector<std::int32_t> prefix, suffix;
  std::optional<std::int32_t> bos, eos;
  Description description;  // without `added`
};

std::shared_ptr<const Model> make_bpe(BpeParts parts);

}  // namespace weft::trainer::tokenizer
