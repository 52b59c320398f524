// A BPE tokenizer from the files of a Hugging Face model.
#pragma once

#include <string_view>

#include "base/expected.h"
#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer::tokenizer {

/// What is read:
///   normalizer      null, NFC, or a Sequence of these
///   pre_tokenizer   Split (Regex or String, every behaviour, invert), Digits, ByteLevel, or a
///                   Sequence of these that ends in ByteLevel
///   model           BPE: vocab, merges (as texts or pairs), ignore_merges, unk_token
///   added_tokens    special, normalized, lstrip, rstrip, single_word
///   post_processor  null, ByteLevel, TemplateProcessing for one text, or a Sequence of these
///   decoder         ByteLevel, or a Sequence of it alone
/// Any other component, field or value that would change ids is refused by name and path.
/// `config` is the text of tokenizer_config.json or ""; names stand in messages.
/// Errors: Corrupt: the file contradicts itself. Unsupported: it asks for what weft does not have.
Expected<Tokenizer> parse_tokenizer(std::string_view json, std::string_view name,
                                    std::string_view config = "",
                                    std::string_view config_name = "");

}  // namespace weft::trainer::tokenizer
