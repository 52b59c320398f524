// The spelling of bytes in byte-level vocabularies: every byte is one printable character, so that
// any byte string has a name in JSON. Source: GPT-2's bytes_to_unicode.
#pragma once

#include <string>
#include <string_view>

namespace weft::trainer::tokenizer {

/// Bytes to their spelling: "a b\n" becomes "aĠbĊ".
std::string spell(std::string_view bytes);

/// Appends what `spelling` stands for. False, and nothing appended, when a character of it stands
/// for no byte.
bool unspell(std::string_view spelling, std::string& bytes);

}  // namespace weft::trainer::tokenizer
