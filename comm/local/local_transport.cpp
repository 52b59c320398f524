#include "comm/local/local_transport.h"

#include <algorithm>

#include "comm/group_spec.h"
#include "comm/local/local_group.h"
#include "comm/local/region_table.h"
#include "comm/local/shared_world.h"

namespace weft::comm {
namespace {

std::vector<GroupMember> near_members(const std::vector<int>& world_ranks) {
  std::vector<GroupMember> members;
  for (std::size_t i = 0; i < world_ranks.size(); ++i)
    members.push_back({world_ranks[i], world_ranks[i], static_cast<int>(i)});
  return members;
}

class LocalTransport final : public Transport {
 public:
  LocalTransport(std::shared_ptr<LocalWorld::Mapping> world, int world_rank)
      : world_(world),
        world_rank_(world_rank),
        self_(std::make_shared<LocalRank>(world, world_rank)),
        regions_(std::move(world), world_rank) {}

  int world_rank() const override { return world_rank_; }
  int world_size() const override { return static_cast<int>(world_->header().world_size); }

  Expected<std::vector<std::unique_ptr<Communicator>>> make_groups(
      std::span<const GroupSpec> specs) override {
    std::vector<std::unique_ptr<Communicator>> groups;
    for (const GroupSpec& spec : specs) {
      WEFT_TRY(validate(spec, world_size()));
      WEFT_TRY_ASSIGN(const std::uint64_t offset, regions_.place(spec));
      const auto self = std::find(spec.ranks.begin(), spec.ranks.end(), world_rank_);
      groups.push_back(self == spec.ranks.end()
                           ? nullptr
                           : std::make_unique<LocalCommunicator>(
                                 self_, spec.name, near_members(spec.ranks),
                                 static_cast<int>(self - spec.ranks.begin()), offset));
    }
    return groups;
  }

 private:
  std::shared_ptr<LocalWorld::Mapping> world_;
  int world_rank_;
  std::shared_ptr<LocalRank> self_;
  RegionTable regions_;
};

}  // namespace

std::unique_ptr<Transport> make_local_transport(std::shared_ptr<LocalWorld::Mapping> world,
                                                int world_rank) {
  return std::make_unique<LocalTransport>(std::move(world), world_rank);
}

}  // namespace weft::comm
