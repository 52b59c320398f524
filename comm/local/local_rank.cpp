#include "comm/local/local_rank.h"

#include <sched.h>
#include <unistd.h>

#include "comm/local/local_group.h"

namespace weft::comm {
namespace {

/// Cores that this process may run on.
unsigned usable_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return static_cast<unsigned>(CPU_COUNT(&allowed));
}

}  // namespace

LocalRank::LocalRank(std::shared_ptr<LocalWorld::Mapping> world, int world_rank)
    : world_(std::move(world)),
      bell_(&world_->header().bells[world_rank]),
      slab_(world_->memory + world_->slab_offset(world_rank), world_->slab_bytes()),
      patience_((world_->header().world_size + usable_cores() - 1) / usable_cores()) {
  write_card(world_->header().cards[world_rank]);
}

bool LocalRank::progress() {
  bool moved = far_ != nullptr && far_->progress();
  for (LocalCommunicator* const group : groups_) moved |= group->progress();
  return moved;
}

void LocalRank::write_card(RankCard& card) {
  card.pid = static_cast<std::uint32_t>(::getpid());
  card.nonce_address = reinterpret_cast<std::uint64_t>(&nonce_);
  card.nonce = nonce_;
  const RankCard& creator = world_->header().creator;
  std::byte byte{};
  const bool allowed = read_directly(creator, creator.nonce_address, &byte, 1).empty();
  card.reads_others.store(allowed ? 1 : 0, std::memory_order_seq_cst);
}

}  // namespace weft::comm
