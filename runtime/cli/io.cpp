#include "runtime/cli/io.h"

#include <ostream>

namespace weft::cli {

int exit_code(Code code) {
  switch (code) {
    case Code::InvalidArgument:
      return kConfiguration;
    case Code::Unavailable:
      return kUnavailable;
    case Code::DeadlineExceeded:
      return kTimeout;
    case Code::Corrupt:
      return kBadData;
    case Code::Unsupported:
      return kConfiguration;
    case Code::NotFound:
      return kBadData;
    case Code::Busy:
      return kUnavailable;
    case Code::Io:
      return kPermission;
    case Code::Internal:
      return kInternal;
  }
  return kInternal;
}

int report(const Error& error, Io& io) {
  io.err << (io.color_err ? "weft: \x1b[1;31merror:\x1b[0m " : "weft: error: ") << error.message
         << "\n";
  return exit_code(error.code);
}

}  // namespace weft::cli
