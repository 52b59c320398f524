#include "comm/tcp/tcp_stream.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "comm/copy_bytes.h"

namespace weft::comm {

TcpStream::TcpStream(std::size_t window)
    : window_(window), buffer_(std::make_unique_for_overwrite<std::byte[]>(window)) {
  WEFT_CHECK((window & (window - 1)) == 0 && window >= kRingUnit, "a window is a power of two");
}

Expected<void> TcpStream::announce(std::size_t count) {
  if (announced_ + count > told_ + window_)
    return fail(Code::Corrupt, "a frame of " + std::to_string(count) + " bytes where " +
                                   std::to_string(told_ + window_ - announced_) + " were allowed");
  announced_ += count;
  return {};
}

Bytes TcpStream::place(std::size_t most, Operation* receive) {
  if (receive != nullptr && receive->begun && waiting() == 0)
    return {receive->data + receive->moved, std::min(most, receive->length - receive->moved)};
  // Only the header of a message that is waited for: the rest then goes to its place directly.
  if (receive != nullptr && !receive->begun && waiting() < kRingUnit)
    most = std::min(most, kRingUnit - waiting());
  const auto at = static_cast<std::size_t>(tail_ & (window_ - 1));
  return {buffer_.get() + at, std::min({most, window_ - at, window_ - waiting()})};
}

void TcpStream::placed(std::size_t count, Operation* receive) {
  if (receive != nullptr && receive->begun && waiting() == 0) {
    receive->moved += count;
    used_ += count;
  } else {
    tail_ += count;
  }
}

void TcpStream::take(void* to, std::size_t count) {
  auto* out = static_cast<std::byte*>(to);
  while (count > 0) {
    const auto at = static_cast<std::size_t>(head_ & (window_ - 1));
    const std::size_t piece = std::min(count, window_ - at);
    std::memcpy(out, buffer_.get() + at, piece);
    out += piece;
    count -= piece;
    head_ += piece;
    used_ += piece;
  }
}

Expected<void> TcpStream::credit(std::uint64_t used) {
  if (used < granted_ || used > sent_)
    return fail(Code::Corrupt, "it says it has received " + std::to_string(used) + " bytes of " +
                                   std::to_string(sent_) + " after " + std::to_string(granted_));
  granted_ = used;
  return {};
}

}  // namespace weft::comm
