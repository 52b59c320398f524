// One message to and one from each rank of a list that holds this rank too; its own message stays
// where it was written. Reused from exchange to exchange. Internal to comm.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/exchange/byte_buffer.h"

namespace weft::comm {

class MessageSet {
 public:
  /// Positions below are those in `ranks`, which must be equal on all of them.
  MessageSet(Communicator& group, std::vector<int> ranks);

  int size() const { return static_cast<int>(ranks_.size()); }
  int rank(int i) const { return ranks_[static_cast<std::size_t>(i)]; }

  /// Where the message to position i is to be written: `bytes` from here (aligned to 64).
  std::byte* write(int i, std::size_t bytes);
  std::size_t bytes_to(int i) const { return messages_[static_cast<std::size_t>(i)].out_bytes; }
  /// What will come from position i: its size, or a bound (see `receive`).
  void expect(int i, std::size_t bytes) { messages_[static_cast<std::size_t>(i)].in_bytes = bytes; }

  void start(Tag tag);
  /// Has everything come? Makes progress; never sleeps.
  bool arrived();
  /// Waits for all that comes; afterwards `from` is readable. `exact`: what was expected is the
  /// length and not a bound. Errors: the group's; Corrupt.
  Expected<void> receive(bool exact);
  ConstBytes from(int i) const;
  /// Waits until all that was sent is away; the set may then start again.
  Expected<void> finish_sends();

  /// Of its messages, both ways, as far as they have grown.
  std::size_t memory_bytes() const;

 private:
  struct Message {
    ByteBuffer out, in;
    Request send, receive;
    std::size_t out_bytes = 0, in_bytes = 0;
  };

  Communicator& group_;
  std::vector<int> ranks_;
  std::vector<Message> messages_;
  int own_ = 0;
};

/// "group 'ep0': rank 1 got from rank 0, for F mb 3 stage 1: why".
tl::unexpected<Error> corrupt_from(const Communicator& group, int from, const std::string& why);

}  // namespace weft::comm
