// The two streams of bytes between us and one peer in one group: messages one after the other, each
// behind a MessageHeader. A sender is never more than a window ahead of its reader, who therefore
// has room for whatever comes and never has to leave it in the socket, where it would stand in the
// way of other groups. Pure. Internal to comm/tcp.
#pragma once

#include <memory>

#include "comm/local/ring.h"
#include "comm/operations.h"
#include "comm/tcp/tcp_frame.h"

namespace weft::comm {

/// A power of two, smaller for larger groups: a rank has one for each of its peers.
constexpr std::size_t stream_window(std::size_t group_size) {
  constexpr std::size_t kKiB = 1024;
  return group_size <= 8 ? 1024 * kKiB : group_size <= 64 ? 256 * kKiB : 64 * kKiB;
}

class TcpStream {
 public:
  /// `window`: a power of two. Its memory is touched only by what comes before it is received.
  explicit TcpStream(std::size_t window);

  // Receiving. `receive` is the first one started from this peer, or null.

  /// A data frame of `count` bytes has begun. Errors: Corrupt, when it is more than was allowed.
  Expected<void> announce(std::size_t count);
  /// Where the next at most `most` bytes go: to the receive that has begun, or what waits for one.
  Bytes place(std::size_t most, Operation* receive);
  /// They are there.
  void placed(std::size_t count, Operation* receive);
  /// Bytes that wait.
  std::size_t waiting() const { return static_cast<std::size_t>(tail_ - head_); }
  /// Moves waiting bytes; there must be as many.
  void take(void* to, std::size_t count);
  /// What the sender has not been told to have been used up is worth telling it.
  bool credit_due() const { return used_ - told_ >= window_ / 4; }
  /// To tell it.
  std::uint64_t tell() { return told_ = used_; }

  // Sending.

  std::size_t room() const { return static_cast<std::size_t>(granted_ + window_ - sent_); }
  void sent(std::size_t count) { sent_ += count; }
  /// The reader has used up `used` bytes. Errors: Corrupt, when that cannot be.
  Expected<void> credit(std::uint64_t used);

  std::uint64_t next_out = 0, next_in = 0;  // messages so far
  bool reset = false;                       // the peer has given up in the midst of a message

 private:
  std::size_t window_;
  std::unique_ptr<std::byte[]> buffer_;
  std::uint64_t head_ = 0, tail_ = 0;                  // positions in what went through the buffer
  std::uint64_t announced_ = 0, used_ = 0, told_ = 0;  // receiving
  std::uint64_t sent_ = 0, granted_ = 0;               // sending
};

}  // namespace weft::comm
