// WEFT_CHECK: "we are wrong" stops the process, in release builds too. Never for input: a peer's
// bytes, a file or a job description fail with an Error instead.
#pragma once

#include <string>

namespace weft {

[[noreturn]] void check_failed(const char* expression, const char* file, int line,
                               const std::string& detail);

}  // namespace weft

#define WEFT_CHECK(condition, ...)                                                      \
  do {                                                                                  \
    if (!(condition)) [[unlikely]]                                                      \
      ::weft::check_failed(#condition, __FILE__, __LINE__, ::std::string{__VA_ARGS__}); \
  } while (false)
