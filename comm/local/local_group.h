// One rank's end of a group in shared memory. Internal to comm/local.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "comm/communicator.h"
#include "comm/local/far_links.h"
#include "comm/local/patience.h"
#include "comm/local/ring.h"
#include "comm/local/shared_world.h"
#include "comm/local/slab.h"
#include "comm/message_check.h"
#include "comm/operations.h"

namespace weft::comm {

class LocalCommunicator;

/// Cores that this process may run on.
unsigned usable_cores();

/// What the groups of one transport share: whoever waits in one moves them all.
class LocalRank {
 public:
  LocalRank(std::shared_ptr<LocalWorld::Mapping> world, int world_rank)
      : world_(std::move(world)),
        bell_(&world_->header().bells[world_rank]),
        slab_(world_->memory + world_->slab_offset(world_rank), world_->slab_bytes()),
        patience_((world_->header().world_size + usable_cores() - 1) / usable_cores()) {
    write_card(world_->header().cards[world_rank]);
  }
  LocalRank(const LocalRank&) = delete;
  LocalRank& operator=(const LocalRank&) = delete;

  LocalWorld::Mapping& world() const { return *world_; }
  const std::shared_ptr<LocalWorld::Mapping>& shared_world() const { return world_; }
  Doorbell& bell() const { return *bell_; }
  Patience& patience() { return patience_; }
  Slab& slab() { return slab_; }

  std::uint32_t check_of(const Operation& send) const {
    return checks_ ? message_check({send.data, send.length}) : 0;
  }

  /// Links to ranks of other nodes, which waits move too; until set_far(nullptr).
  void set_far(FarLinks* far) { far_ = far; }
  void nudge(int world_rank_of_far) {
    if (far_ != nullptr) far_->nudge(world_rank_of_far);
  }
  /// Until something may have changed, at most `longest`; not when `ready()` holds.
  template <class Ready>
  void sleep(Duration longest, Ready ready) {
    if (far_ == nullptr) return bell_->sleep(longest, ready);
    bell_->sleep_by([&] { far_->sleep(longest); }, ready);
  }

  void add(LocalCommunicator* group) { groups_.push_back(group); }
  void remove(LocalCommunicator* group) { std::erase(groups_, group); }
  /// Moves whatever can move in any group; true when anything did.
  bool progress();

 private:
  /// Tells the peers where we are, and whether we may read them: what holds for the world's creator
  /// holds for its other children.
  void write_card(RankCard& card);

  std::shared_ptr<LocalWorld::Mapping> world_;
  const std::uint64_t nonce_ = draw_nonce();
  Doorbell* bell_;
  Slab slab_;
  Patience patience_;
  FarLinks* far_ = nullptr;
  const bool checks_ = checks_messages();
  std::vector<LocalCommunicator*> groups_;
};

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
  bool push(int to);
  bool pull(int from);
  /// Writes where a long message lies; the peer fetches it. False: no room.
  bool point_at(Operation& op, Peer& peer);
  bool goes_directly(const Operation& op, const Peer& peer) const;
  /// Fetches the message that `op` receives from where its sender has it: in the slab, or anywhere
  /// in its memory. False: a fault.
  bool fetch(Operation& op, Peer& peer, bool in_slab);
  Expected<void> read_slab(const Operation& op, std::uint64_t offset) const;
  static Expected<void> read_process(const Operation& op, const RankCard& card,
                                     std::uint64_t address);
  /// What peers may still want to fetch is about to change.
  void withdraw();
  /// Reads the header of the first receive's message. False: not there yet, or a fault.
  bool begin_receive(Operation& op, Peer& peer);
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
