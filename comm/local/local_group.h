// One rank's end of a group in shared memory. Internal to comm/local.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/local/local_rank.h"
#include "comm/local/ring.h"
#include "comm/operations.h"

namespace weft::comm {

/// What is written or freed at once: the other side starts on it while we go on.
inline constexpr std::size_t kPieceBytes = 64 << 10;

/// Who a rank of a group is.
struct GroupMember {
  int world_rank;
  int near_rank = -1;  // its rank in the shared memory; -1: it shares none with us
  int place = -1;      // its index among the near members
};

/// Members that share no memory with us are a derived class's to reach.
class LocalCommunicator : public Communicator {
 public:
  /// `offset`: of the group's region. members[i] is rank i of the group.
  LocalCommunicator(std::shared_ptr<LocalRank> self, std::string name,
                    std::vector<GroupMember> members, int rank, std::uint64_t offset);
  ~LocalCommunicator() override;
  LocalCommunicator(const LocalCommunicator&) = delete;
  LocalCommunicator& operator=(const LocalCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  std::string_view name() const override { return name_; }

  Request start_send(int to, Tag tag, ConstBytes data) override;
  Request start_receive(int from, Tag tag, Bytes into) override;
  Expected<std::size_t> wait(Request request) override;
  bool test(Request request) override;
  MessageMemory message_memory(std::size_t bytes) override;
  std::size_t transport_bytes() const override;

 protected:
  /// Move what can move to and from a member that is not near; true when anything did.
  virtual bool push_far(int /*to*/) { return false; }
  virtual bool pull_far(int /*from*/) { return false; }
  /// The group has failed: bytes of started sends are about to change.
  virtual void withdraw_far() {}

  void set_fault(const Operation& op, Code code, std::string_view why);
  /// Ends the first receive from this peer, which is complete. False: its bytes have changed.
  bool finish_receive(Operation& op);
  bool failed() const { return fault_.has_value(); }
  /// The next wait ends with this.
  void set_lost(Code code, std::string why) {
    if (!lost_) lost_ = Error{code, std::move(why)};
  }
  Operations& operations() { return operations_; }
  const std::vector<GroupMember>& members() const { return members_; }
  LocalRank& self() const { return *self_; }

 private:
  friend class LocalRank;
  struct Peer {
    RingWriter out;
    RingReader in;
    Doorbell* bell;
    const RankCard* card;
    int far_rank;  // where to nudge it; -1: it is not near
  };

  /// Moves whatever can move in this group; true when anything did.
  bool progress();
  bool progress_own();

  // local_send.cpp
  bool push(int to);
  bool goes_directly(const Operation& op, const Peer& peer) const;
  /// Writes where a long message lies; the peer fetches it. False: no room.
  bool point_at(Operation& op, Peer& peer);

  // local_receive.cpp
  bool pull(int from);
  /// Reads the header of the first receive's message. False: not there yet, or a fault.
  bool begin_receive(Operation& op, Peer& peer);
  /// Fetches the message that `op` receives from where its sender has it: in the slab, or anywhere
  /// in its memory. False: a fault.
  bool fetch(Operation& op, Peer& peer, bool in_slab);
  Expected<void> read_slab(const Operation& op, std::uint64_t offset) const;
  static Expected<void> read_process(const Operation& op, const RankCard& card,
                                     std::uint64_t address);

  /// What peers may still want to fetch is about to change.
  void withdraw();
  void wait_until_done(const Operation& op, Request request);
  void ring(const Peer& peer) const {
    if (peer.bell->ring()) self_->nudge(peer.far_rank);
  }

  std::shared_ptr<LocalRank> self_;
  std::string name_;
  std::vector<GroupMember> members_;
  int rank_;
  std::size_t ring_capacity_;
  std::vector<Peer> peers_;
  Operations operations_;
  std::optional<Error> fault_;  // the first one; ends the group
  std::optional<Error> lost_;   // becomes the fault of the operation that is waited for next
};

std::unique_ptr<Transport> make_local_transport(std::shared_ptr<LocalWorld::Mapping> world,
                                                int world_rank);

}  // namespace weft::comm
