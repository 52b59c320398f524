#include "runtime/cli/progress.h"

#include <ostream>

namespace weft::cli {
namespace {

/// A longer line would wrap, and a wrapped line cannot be rewritten.
std::string fitted(const std::string& line, int width) {
  int columns = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool starts = (static_cast<unsigned char>(line[i]) & 0xC0) != 0x80;
    if (starts && ++columns >= width) return line.substr(0, i);
  }
  return line;
}

}  // namespace

Progress::Progress(Io& io, bool quiet, Duration plain_every)
    : io_(io), quiet_(quiet), every_(io.err_tty ? std::chrono::milliseconds(100) : plain_every) {}

Progress::~Progress() {
  if (open_) io_.err << "\n" << std::flush;
}

void Progress::show(const std::string& line) {
  const Instant now = io_.clock.now();
  if (quiet_ || (shown_ && now - *shown_ < every_)) return;
  shown_ = now;
  if (!io_.err_tty) {
    io_.err << line << "\n" << std::flush;
    return;
  }
  io_.err << "\r\x1b[K" << fitted(line, io_.width) << std::flush;
  open_ = true;
}

void Progress::note(const std::string& line) {
  if (quiet_) return;
  erase();
  io_.err << line << "\n" << std::flush;
}

void Progress::erase() {
  if (open_) io_.err << "\r\x1b[K";
  open_ = false;
}

}  // namespace weft::cli
