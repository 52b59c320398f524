// One rank's end of a group in shared memory. Internal to comm/local.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "comm/communicator.h"
#include "comm/local/patience.h"
#include "comm/local/ring.h"
#include "comm/local/shared_world.h"
#include "comm/local/slab.h"
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
  Doorbell& bell() const { return *bell_; }
  Patience& patience() { return patience_; }
  Slab& slab() { return slab_; }

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
  std::vector<LocalCommunicator*> groups_;
};

class LocalCommunicator final : public Communicator {
 public:
  /// `offset`: of the group's region. world_ranks[i] is rank i of the group.
  LocalCommunicator(std::shared_ptr<LocalRank> self, std::string name, std::vector<int> world_ranks,
                    int rank, std::uint64_t offset);
  ~LocalCommunicator() override;
  LocalCommunicator(const LocalCommunicator&) = delete;
  LocalCommunicator& operator=(const LocalCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(world_ranks_.size()); }
  std::string_view name() const override { return name_; }

  Request start_send(int to, Tag tag, ConstBytes data) override;
  Request start_receive(int from, Tag tag, Bytes into) override;
  Expected<std::size_t> wait(Request request) override;
  bool test(Request request) override;
  MessageMemory message_memory(std::size_t bytes) override;

 private:
  friend class LocalRank;
  struct Peer {
    RingWriter out;
    RingReader in;
    Doorbell* bell;
    const RankCard* card;
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
  void set_fault(const Operation& op, Code code, std::string_view why);

  std::shared_ptr<LocalRank> self_;
  std::string name_;
  std::vector<int> world_ranks_;
  int rank_;
  std::size_t ring_capacity_;
  std::vector<Peer> peers_;
  Operations operations_;
  std::optional<Error> fault_;  // the first one; ends the group
};

std::unique_ptr<Transport> make_local_transport(std::shared_ptr<LocalWorld::Mapping> world,
                                                int world_rank);

}  // namespace weft::comm
