// One copy instead of two: a receiver fetches a long message out of its sender's memory, where the
// kernel allows that (process_vm_readv). Internal to comm/local.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace weft::comm {

/// Who a rank is, for those who read its memory; lies in the shared world. A process id may be
/// given to another process after its owner's death, the nonce at its address is nobody else's.
struct RankCard {
  std::atomic<std::uint32_t> reads_others;  // 1: this rank may read what its peers point at
  std::uint32_t pid;
  std::uint64_t nonce_address;
  std::uint64_t nonce;
};
static_assert(sizeof(RankCard) == 24);

/// A number that no other process has, for a card.
std::uint64_t draw_nonce();

/// Copies n bytes at `address` of the card's process to `to`. Returns "" or why not: the process is
/// gone, is another one by now, or cannot be read; `to` may then hold anything.
std::string read_directly(const RankCard& card, std::uint64_t address, std::byte* to,
                          std::size_t n);

}  // namespace weft::comm
