// The one progress line: rewritten in place on a terminal, else a plain line now and then, so that
// a batch log stays readable.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "runtime/cli/io.h"

namespace weft::cli {

/// Writes to io.err. Threads: one. Ends its line when destroyed.
class Progress {
 public:
  /// Off a terminal a line is printed at most every `plain_every`; on one, at most ten a second.
  Progress(Io& io, bool quiet, Duration plain_every = std::chrono::seconds(30));
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// How things stand now; replaces what was shown before.
  void show(const std::string& line);
  /// A line that stays: a new stage, an evaluation, a checkpoint.
  void note(const std::string& line);

 private:
  void erase();

  Io& io_;
  const bool quiet_;
  const Duration every_;
  std::optional<Instant> shown_;
  bool open_ = false;  // the cursor stands at the end of a progress line
};

}  // namespace weft::cli
