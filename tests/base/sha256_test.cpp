#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace weft {
namespace {

std::string sum_of(std::string_view text, std::size_t piece) {
  Sha256 sum;
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size())))
    sum.add(std::as_bytes(std::span(text.substr(0, piece))));
  return sum.finish();
}

TEST(Sha256, GivesThePublishedSums) {  // FIPS 180-4's examples
  EXPECT_EQ(sum_of("", 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sum_of("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sum_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sum_of(std::string(1'000'000, 'a'), 4096),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesCome) {
  for (const std::size_t length : {55, 56, 63, 64, 65, 119, 120, 128, 1000}) {
    const std::string text(length, 'x');
    for (const std::size_t piece : {1, 7, 63, 64, 65, 200})
      EXPECT_EQ(sum_of(text, piece), sum_of(text, length)) << length << " in pieces of " << piece;
  }
}

}  // namespace
}  // namespace weft
