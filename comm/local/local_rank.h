// One rank in the shared memory of its host, whatever its groups. Internal to comm/local.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "comm/local/far_links.h"
#include "comm/local/patience.h"
#include "comm/local/shared_world.h"
#include "comm/local/slab.h"
#include "comm/message_check.h"
#include "comm/operations.h"

namespace weft::comm {

class LocalCommunicator;

/// What the groups of one transport share: whoever waits in one moves them all.
class LocalRank {
 public:
  LocalRank(std::shared_ptr<LocalWorld::Mapping> world, int world_rank);
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

}  // namespace weft::comm
