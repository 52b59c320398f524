#include "runtime/cli/gzip.h"

#include <zlib.h>

#include <algorithm>

namespace weft::cli {

Expected<std::string> gzip(std::string_view text) {
  constexpr int kGzip = 15 + 16;  // the largest window, and gzip's own header
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) !=
      Z_OK)
    return fail(Code::Internal, "zlib cannot start packing");
  std::string packed;
  char buffer[1 << 16];
  int state = Z_OK;
  while (state == Z_OK) {
    const std::size_t part = std::min(text.size(), std::size_t{1} << 30);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(part);
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof buffer;
    state = deflate(&stream, part == text.size() ? Z_FINISH : Z_NO_FLUSH);
    text.remove_prefix(part - stream.avail_in);
    packed.append(buffer, sizeof buffer - stream.avail_out);
  }
  deflateEnd(&stream);
  if (state != Z_STREAM_END) return fail(Code::Internal, "zlib stopped half way");
  return packed;
}

}  // namespace weft::cli
