// The table of started operations of one communicator: per peer one FIFO of sends and one of
// receives, and the matching of a rank's messages to itself. Shared by the transports that move
// bytes themselves; internal to comm. Slots are reused: no allocation in the steady state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"

namespace weft::comm {

struct Operation {
  bool is_send = false;
  bool begun = false;   // its header has been written or read
  bool direct = false;  // a send whose bytes the receiver fetches; done when it says so
  bool done = false;
  bool orphan = false;  // a send to oneself whose wait has returned; owns its bytes in `kept`
  int peer = 0;
  int next = -1;  // the same FIFO, or the free list
  Tag tag = 0;
  std::byte* data = nullptr;  // a send's bytes are only read
  std::size_t length = 0;     // of the message; for a receive that has not begun, of the buffer
  std::size_t moved = 0;
  std::uint32_t check = 0;  // of a receive that has begun: what the sender says of the bytes
  std::vector<std::byte> kept;
};

class Operations {
 public:
  explicit Operations(int num_peers) : sends_(num_peers), receives_(num_peers) {}

  Request start_send(int to, Tag tag, ConstBytes data);
  Request start_receive(int from, Tag tag, Bytes into);

  Operation& at(Request request);
  /// The oldest unfinished operation, or null.
  Operation* first_send(int to) { return front(sends_[to]); }
  Operation* first_receive(int from) { return front(receives_[from]); }
  void finish_first_send(int to) { finish_first(sends_[to]); }
  void finish_first_receive(int from) { finish_first(receives_[from]); }
  bool any_send() const { return num_sends_ > 0; }
  bool any_receive() const { return num_receives_ > 0; }

  /// Frees the slot; every request is released once.
  void release(Request request);

  /// Moves messages from this rank to itself, oldest first.
  struct OwnMatches {
    bool moved = false;
    const Operation* wrong = nullptr;  // the receive that does not fit the message it meets
    std::string why;                   // it does not
  };
  OwnMatches match_own(int rank);
  /// Lets a send to oneself that nobody receives yet end: its bytes are copied.
  void keep_own_send(Request request);

 private:
  struct Queue {
    int first = -1;
    int last = -1;
  };
  Operation* front(const Queue& queue) {
    return queue.first < 0 ? nullptr : &table_[static_cast<std::size_t>(queue.first)];
  }
  Request start(Queue& queue, Operation&& filled);
  void finish_first(Queue& queue);
  void free_slot(int index);

  std::deque<Operation> table_;  // stable addresses
  std::vector<Queue> sends_, receives_;
  int free_ = -1;
  int num_sends_ = 0, num_receives_ = 0;
};

/// Why a message (its tag and length) cannot end this receive, or "".
std::string mismatch(const Operation& receive, Tag found_tag, std::size_t found_length);

/// "group 'ep0': rank 1 receiving from rank 0, tag 0x7, 64 bytes, for F mb 3 dir 0 stage 1: why".
Error operation_error(const Communicator& group, const Operation& operation, Code code,
                      std::string_view why);

}  // namespace weft::comm
