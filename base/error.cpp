#include <cstdio>
#include <cstdlib>

#include "base/check.h"
#include "base/expected.h"

namespace weft {

const char* to_string(Code code) {
  switch (code) {
    case Code::InvalidArgument:
      return "InvalidArgument";
    case Code::Unavailable:
      return "Unavailable";
    case Code::DeadlineExceeded:
      return "DeadlineExceeded";
    case Code::Corrupt:
      return "Corrupt";
    case Code::Unsupported:
      return "Unsupported";
    case Code::NotFound:
      return "NotFound";
    case Code::Busy:
      return "Busy";
    case Code::Io:
      return "Io";
    case Code::Internal:
      return "Internal";
  }
  return "?";
}

tl::unexpected<Error> fail_in(std::string_view context, const Error& error) {
  return fail(error.code, std::string(context) + ": " + error.message);
}

void check_failed(const char* expression, const char* file, int line, const std::string& detail) {
  std::fprintf(stderr, "weft: internal error at %s:%d: %s does not hold%s%s\n", file, line,
               expression, detail.empty() ? "" : ": ", detail.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace weft
