// How bytes move between the ranks of one group. Knows nothing of models or schedules; transports
// (local, mpi, nccl, simulated) implement it and pass one conformance suite.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/expected.h"

namespace weft::comm {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

/// What a message is, so that a wrong one is an error that names both sides and never a silent
/// mix-up. Messages of one directed pair arrive in the order sent; the tag of each must equal the
/// tag that the receiver expects. Callers pack (kind, direction, stage, micro-batch) into it.
using Tag = std::uint64_t;

/// Marks the messages of the collectives below; callers' own tags leave this bit alone (checked).
inline constexpr Tag kCollectiveBit = Tag{1} << 63;

/// A started operation; wait on it exactly once. Index into the communicator's own table.
struct Request {
  int index = -1;
};

class TwoHopLine;  // comm/two_hop_line.h

/// Where messages are written; ends with its last owner.
using MessageMemory = std::shared_ptr<std::byte>;
MessageMemory heap_message_memory(std::size_t bytes);

/// One rank's end of a group. Every wait has a bound (`set_wait_bound`) and, when it ends unserved,
/// the error names the operation, the peer, the tag and the action served (`set_serving`).
/// Threads: one at a time, for all communicators of a transport together. All group members call
/// collectives in the same order.
/// Errors of every waiting call: Unavailable (a peer is known to be gone, or the group was
/// aborted), DeadlineExceeded (no answer in time), Corrupt (wrong tag or size). The first error
/// ends the group: started operations are dropped, their buffers are not touched again, and every
/// later wait returns the same error.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string_view name() const = 0;

  /// Starts sending; `data` must stay as it is until the wait returns.
  virtual Request start_send(int to, Tag tag, ConstBytes data) = 0;
  /// Starts receiving at most into.size() bytes.
  virtual Request start_receive(int from, Tag tag, Bytes into) = 0;
  /// Ends the operation; for a receive, returns how many bytes arrived. Makes progress on every
  /// started operation of every communicator of the same transport object meanwhile, so that no
  /// order of waits can deadlock. A fault found in another communicator ends that one alone.
  virtual Expected<std::size_t> wait(Request request) = 0;
  /// Has it ended? Makes progress; never sleeps. The request still has to be waited on.
  virtual bool test(Request request) = 0;

  /// `bytes` to write messages in: 64-byte aligned, contents undefined. A message sent from here
  /// takes the fewest copies that the transport knows how to make (local: one, by the receiver,
  /// without the kernel); any other memory may be sent from too. May outlive the communicator.
  virtual MessageMemory message_memory(std::size_t bytes) { return heap_message_memory(bytes); }

  /// What the transport keeps for messages that this rank sends in this group: of the rings that it
  /// has written to, all that they hold (local). 0: nothing, or not known.
  virtual std::size_t transport_bytes() const { return 0; }
  /// What the collectives have taken to work in.
  std::size_t workspace_bytes() const { return scratch_.capacity(); }

  void set_wait_bound(std::chrono::milliseconds bound) { wait_bound_ = bound; }
  std::chrono::milliseconds wait_bound() const { return wait_bound_; }
  /// What the coming waits serve, such as "F mb 3 dir 0 stage 1", for error messages. Cheap: the
  /// text is not copied and must outlive the waits.
  void set_serving(std::string_view action) { serving_ = action; }
  std::string_view serving() const { return serving_; }

 protected:
  /// Implementations call it first in start_*.
  void check_tag(Tag tag) const {
    WEFT_CHECK((tag & kCollectiveBit) == 0 || collective_depth_ > 0,
               "the top bit of a tag belongs to the collectives");
  }

 private:
  friend class CollectiveScope;  // what the collectives keep in a group between calls
  friend class TwoHopLine;       // the expert exchanges over two hops that are under way here

  std::chrono::milliseconds wait_bound_{60'000};
  std::string_view serving_;
  int collective_depth_ = 0;
  std::uint64_t collective_count_ = 0;
  std::vector<std::byte> scratch_;
  struct Pending {
    Request request;
    int from;  // -1 for a send
    std::size_t length;
  };
  std::vector<Pending> pending_;
  std::shared_ptr<TwoHopLine> two_hop_line_;
};

/// "tag 0x12", or the collective that a tag stands for, such as "all_reduce #7"; for messages.
std::string describe_tag(Tag tag);

/// Collectives, written once over send and receive; nothing is allocated once a group's workspace
/// has grown to the sizes in use (all_gather_text aside). Sums run in ascending rank order, so that
/// every rank sees the same bits, the same in every run.
Expected<void> send(Communicator& group, int to, Tag tag, ConstBytes data);
Expected<std::size_t> receive(Communicator& group, int from, Tag tag, Bytes into);
Expected<void> barrier(Communicator& group);
Expected<void> broadcast(Communicator& group, int root, Bytes data);
/// out holds size() equal parts, part r from rank r. `mine` may alias its own part.
Expected<void> all_gather(Communicator& group, ConstBytes mine, Bytes out);
/// Any lengths; result[r] is what rank r gave.
Expected<std::vector<std::string>> all_gather_text(Communicator& group, std::string_view mine);
Expected<void> all_reduce_sum(Communicator& group, std::span<float> values);
Expected<void> all_reduce_sum(Communicator& group, std::span<double> values);
/// `in` holds size() equal parts, as long as `out`; `out` becomes the sum over ranks of their part
/// rank(). It may be our own part of `in`; the rest of `in` stays as it is.
Expected<void> reduce_scatter_sum(Communicator& group, std::span<const float> in,
                                  std::span<float> out);
Expected<void> reduce_scatter_sum(Communicator& group, std::span<const double> in,
                                  std::span<double> out);
/// Rank `root` ends with the sum over ranks (ascending); the others' values stay as they are.
Expected<void> reduce_sum(Communicator& group, int root, std::span<float> values);
/// Part r of rank s's `out` is what rank r's `in` held for s. Lengths in bytes, one a rank.
Expected<void> all_to_all_v(Communicator& group, ConstBytes in,
                            std::span<const std::size_t> in_lengths, Bytes out,
                            std::span<const std::size_t> out_lengths);

/// A named subset of the world's ranks; ranks[i] becomes rank i of the group.
struct GroupSpec {
  std::string name;
  std::vector<int> ranks;
};

/// One process's access to a transport. All processes of the world name the same groups in the
/// same order. Communicators may end in any order and may outlive it. One that ends drops its
/// started operations: their buffers are not touched again.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int world_rank() const = 0;
  virtual int world_size() const = 0;
  /// Result[i] is this rank's end of specs[i], or null where it is not a member.
  virtual Expected<std::vector<std::unique_ptr<Communicator>>> make_groups(
      std::span<const GroupSpec> specs) = 0;
  /// The world rank that was the first to be gone while it was needed; -1: nobody is missed, or
  /// this transport cannot tell.
  virtual int lost_rank() const { return -1; }
};

/// The transport of a world of one rank: no shared memory, no system call.
std::unique_ptr<Transport> make_self_transport();

}  // namespace weft::comm
