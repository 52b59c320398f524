// A pattern of a tokenizer.json, which is written for Oniguruma, run by PCRE2 with its JIT.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/expected.h"

struct pcre2_real_code_8;

namespace weft::trainer::tokenizer {

/// The same pattern in PCRE2's words. What both read alike is copied; what they read differently is
/// spelled out or, where that is not worth it, refused by name:
///   \s \S      White_Space spelled out (PCRE2 counts U+180E among them)
///   \v         a vertical tab (PCRE2: any vertical space);  \uHHHH, {,n}  PCRE2's own spelling
///   \p{Han}    the script (PCRE2 means Script_Extensions)
///   refused    \w \W \b \B \h \H \R \X, back references, nested and intersected classes, POSIX
///              classes, x{n,m}+ (greedy there, possessive in PCRE2), x{n}?, (?i) inside a pattern,
///              (?m), named groups, conditionals, verbs
/// Errors: InvalidArgument, with the construct and its place.
Expected<std::string> to_pcre2(std::string_view pattern);

/// A compiled pattern. Threads: any; each keeps its own scratch memory.
class Regex {
 public:
  /// Errors: InvalidArgument, those of to_pcre2 and PCRE2's own.
  static Expected<Regex> compile(std::string_view pattern);

  /// The first match of `text` that begins at `from` or later. `text` must be valid UTF-8 and
  /// `from` a character's start. False: none, or the pattern needs more steps or memory on this
  /// text than a match is given.
  bool find(std::string_view text, std::size_t from, std::size_t& begin, std::size_t& end) const;

 private:
  Regex() = default;
  std::shared_ptr<const pcre2_real_code_8> code_;
  bool jit_ = false;
};

}  // namespace weft::trainer::tokenizer
