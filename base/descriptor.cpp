#include "base/descriptor.h"

#include <unistd.h>

#include <cerrno>

#include "base/files.h"

namespace weft {
namespace {

struct Closer {
  int descriptor;
  ~Closer() { ::close(descriptor); }
};

}  // namespace

Expected<std::string> read_descriptor(int descriptor, std::string_view what,
                                      std::size_t max_bytes) {
  const Closer closer{descriptor};
  std::string content;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(descriptor, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("read", what, errno);
    if (n == 0) return content;
    content.append(buffer, static_cast<std::size_t>(n));
    if (content.size() > max_bytes)
      return fail(Code::InvalidArgument,
                  std::string(what) + ": longer than " + std::to_string(max_bytes) + " bytes");
  }
}

}  // namespace weft
