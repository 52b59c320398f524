#include "runtime/cli/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

namespace weft::cli {

Expected<Pattern> Pattern::compile(const std::string& text) {
  Pattern pattern;
  if (text.empty()) return pattern;
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                   PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &error, &offset, nullptr);
  if (code == nullptr) {
    std::array<PCRE2_UCHAR, 128> reason{};
    pcre2_get_error_message(error, reason.data(), reason.size());
    return fail(Code::InvalidArgument, "--grep '" + text + "' at character " +
                                           std::to_string(offset + 1) + ": " +
                                           reinterpret_cast<const char*>(reason.data()));
  }
  pattern.code_ = std::shared_ptr<void>(
      code, [](void* owned) { pcre2_code_free(static_cast<pcre2_code*>(owned)); });
  return pattern;
}

bool Pattern::found_in(std::string_view text) const {
  if (!code_) return true;
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  pcre2_match_data* match = pcre2_match_data_create_from_pattern(code, nullptr);
  const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0,
                                match, nullptr);
  pcre2_match_data_free(match);
  return found >= 0;
}

}  // namespace weft::cli
