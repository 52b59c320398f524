#include "comm/message_check.h"

#include <xxhash.h>

#include <algorithm>

namespace weft::comm {

std::uint32_t message_check(ConstBytes bytes) {
  const std::uint64_t hash = XXH3_64bits(bytes.data(), bytes.size());
  return std::max(static_cast<std::uint32_t>(hash ^ (hash >> 32)), std::uint32_t{1});
}

}  // namespace weft::comm
