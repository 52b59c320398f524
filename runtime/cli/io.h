// What a verb may touch: its streams and what is known about them. stdout is data, stderr is talk.
// Handed in, so that every verb runs inside a test.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"

namespace weft::cli {

struct Io {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  const Clock& clock;
  bool out_tty = false;
  bool err_tty = false;
  int width = 100;         // columns of the terminal
  bool color_out = false;  // decided by --color, NO_COLOR, TERM and the tty
  bool color_err = false;
  /// NAME=value of WEFT__… variables.
  std::vector<std::pair<std::string, std::string>> environment = {};
};

/// Exit codes, documented by `weft help`.
enum Exit : int {
  kOk = 0,
  kNotSo = 1,           // what was asked about is not so (verify, status --expect)
  kUsage = 2,           // the command line is wrong
  kBadData = 65,        // data or checkpoint unreadable, damaged or missing
  kUnavailable = 69,    // somebody who is needed is not there, or holds what is needed
  kInternal = 70,       // we are wrong
  kRequeue = 75,        // checkpointed; please start again
  kPermission = 77,     // the file system refused: not allowed, read-only, full
  kConfiguration = 78,  // the job cannot run as it is written; do not requeue
  kTimeout = 124,
  kInterrupted = 130
};

/// The one place where an error becomes an exit code.
int exit_code(Code code);
/// "weft: error: <message>" on err; the exit code.
int report(const Error& error, Io& io);

}  // namespace weft::cli
