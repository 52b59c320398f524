// Copies past the caches: the same bytes, at every alignment and length.
#include "comm/copy_bytes.h"

#include <gtest/gtest.h>

#include <vector>

namespace weft::comm {
namespace {

constexpr std::size_t kMargin = 80;

TEST(StreamBytes, CopiesEveryLengthAtEveryAlignmentAndNothingMore) {
  std::vector<std::byte> from(600);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + i / 256);
  for (const std::size_t n : {0, 1, 31, 63, 64, 65, 127, 128, 200, 257, 511}) {
    for (std::size_t to_offset = 0; to_offset < 65; ++to_offset) {
      for (const std::size_t from_offset : {0, 1, 32, 63}) {
        std::vector<std::byte> to(kMargin + n + kMargin, std::byte{0xee}), expected(to);
        stream_bytes(to.data() + to_offset, from.data() + from_offset, n);
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(from_offset), n,
                    expected.begin() + static_cast<std::ptrdiff_t>(to_offset));
        ASSERT_EQ(to, expected) << n << " bytes from " << from_offset << " to " << to_offset;
      }
    }
  }
}

}  // namespace
}  // namespace weft::comm
