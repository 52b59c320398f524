// One process's end of a group over MPI. Internal to comm/mpi.
//
// MPI tags have 31 bits and ours 64, and MPI would match by tag where we want order; so every
// message begins with a header of ours on the MPI tag 2 * group, and MPI's own promise (the order
// of messages of one pair and tag) does the rest. Short payloads follow the header in the same MPI
// message; long ones are sent from and received into the callers' memory on the tag 2 * group + 1.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/mpi/mpi_world.h"
#include "comm/operations.h"

namespace weft::comm {

struct MpiHeader {
  std::uint64_t magic;
  std::uint64_t tag;
  std::uint64_t length;
  std::uint64_t sequence;  // counts the messages of this pair
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(std::shared_ptr<MpiWorld> world, GroupSpec spec, int rank, int index);
  ~MpiCommunicator() override;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(spec_.ranks.size()); }
  std::string_view name() const override { return spec_.name; }

  Request start_send(int to, Tag tag, ConstBytes data) override;
  Request start_receive(int from, Tag tag, Bytes into) override;
  Expected<std::size_t> wait(Request request) override;
  bool test(Request request) override;

  /// This group's part of MpiWorld::progress.
  bool progress();

 private:
  static constexpr std::size_t kInlineMax = 2048;
  struct Staging {
    alignas(MpiHeader) std::array<std::byte, sizeof(MpiHeader) + kInlineMax> bytes;
  };
  /// One send that MPI has been given, oldest first; as many as there are operations in the FIFO.
  struct Sent {
    std::unique_ptr<Staging> staging;
    std::vector<void*> requests;  // the header's, then the pieces'
  };
  struct Peer {
    std::deque<Sent> sent;
    std::uint64_t num_sent = 0, num_received = 0;
    std::unique_ptr<Staging> staging;  // of the header that is awaited
    void* header = nullptr;
    std::vector<void*> pieces;  // of the long payload that is awaited
  };

  int world_rank(int rank) const { return spec_.ranks[static_cast<std::size_t>(rank)]; }
  Peer& peer(int rank) { return peers_[static_cast<std::size_t>(rank)]; }
  void post(const Operation& op, Peer& peer);
  bool finish_sends(int to);
  bool pull(int from);
  /// Looks at the awaited header. True: the message has begun, or there is a fault.
  bool begin_receive(Operation& op, Peer& peer);
  void accept(Operation& op, Peer& peer, std::size_t bytes);
  /// Tests all, adding what has arrived to `moved`; true when none is left. An MPI error is a fault
  /// of `op`.
  bool all_done(std::vector<void*>& requests, const Operation& op, std::size_t& moved);
  bool match_own();
  /// True: a fault, or the request has become an orphan, so the wait ends.
  bool give_up(Operation& op, Request request, MpiPatience& patience);
  void take_world_fault(const Operation& op);
  void set_fault(const Operation& op, Code code, std::string_view why);
  /// After a fault, or at the end: nothing of ours may be touched by MPI again.
  void drop_requests();
  std::unique_ptr<Staging> new_staging();

  std::shared_ptr<MpiWorld> world_;
  GroupSpec spec_;
  int rank_;
  int header_tag_, payload_tag_;
  std::vector<Peer> peers_;
  std::vector<std::unique_ptr<Staging>> spare_;
  Operations operations_;
  std::optional<Error> fault_;  // the first one; ends the group
};

}  // namespace weft::comm
