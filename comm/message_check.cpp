#include "comm/message_check.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace weft::comm {
namespace {

std::atomic<bool> wanted_here = false;
thread_local bool changes_next = false;

}  // namespace

void check_messages(bool wanted) { wanted_here = wanted; }
bool checks_messages() { return wanted_here; }

std::uint32_t message_check(ConstBytes bytes) {
  const std::uint64_t hash = XXH3_64bits(bytes.data(), bytes.size());
  return std::max(static_cast<std::uint32_t>(hash ^ (hash >> 32)), std::uint32_t{1});
}

void change_next_message() { changes_next = true; }
bool take_change() { return std::exchange(changes_next, false); }

}  // namespace weft::comm
