// A word that tells a message whose bytes have changed on their way: in its header, made by the
// sender, compared by the receiver. Transports `local` and `tcp`.
#pragma once

#include <cstdint>

#include "comm/communicator.h"

namespace weft::comm {

/// From now on the ranks that join a world in this process send the word; receivers compare
/// whatever has one. Off at first. Workers turn it on; benchmarks of the bare transport do not.
/// Process-wide, because it belongs to the process's way to the others, not to one world.
void check_messages(bool wanted);
bool checks_messages();

/// Of the bytes; never 0, which stands for "not checked". Cost: one pass. Other bytes have the same
/// word once in four thousand million times. Source: XXH3 (xxHash).
std::uint32_t message_check(ConstBytes bytes);

/// For tests of what notices it: one byte of the next message that this thread receives changes.
void change_next_message();
/// Was that asked for? Once.
bool take_change();

}  // namespace weft::comm
