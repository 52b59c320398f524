#include "comm/local/local_transport.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/rng.h"
#include "comm/group_spec.h"
#include "comm/local/local_group.h"
#include "comm/local/shared_world.h"

namespace weft::comm {
namespace {

constexpr std::chrono::seconds kNamingBound{10};

class LocalTransport final : public Transport {
 public:
  LocalTransport(std::shared_ptr<LocalWorld::Mapping> world, int world_rank)
      : world_(world),
        world_rank_(world_rank),
        self_(std::make_shared<LocalRank>(std::move(world), world_rank)) {}

  int world_rank() const override { return world_rank_; }
  int world_size() const override { return static_cast<int>(world_->header().world_size); }

  Expected<std::vector<std::unique_ptr<Communicator>>> make_groups(
      std::span<const GroupSpec> specs) override {
    std::vector<std::unique_ptr<Communicator>> groups;
    for (const GroupSpec& spec : specs) {
      WEFT_TRY(validate(spec, world_size()));
      WEFT_TRY_ASSIGN(const std::uint64_t offset, place(spec));
      const auto self = std::find(spec.ranks.begin(), spec.ranks.end(), world_rank_);
      groups.push_back(self == spec.ranks.end()
                           ? nullptr
                           : std::make_unique<LocalCommunicator>(
                                 self_, spec.name, spec.ranks,
                                 static_cast<int>(self - spec.ranks.begin()), offset));
    }
    return groups;
  }

 private:
  /// Gives the next group its region: the same on every rank because all count alike; checked
  /// against what the first rank to come here has written down.
  Expected<std::uint64_t> place(const GroupSpec& spec) {
    const GroupRegion region(spec.ranks.size());
    if (num_groups_ == kGroupsMax || next_region_ + region.bytes() > kRegionsBytes)
      return fail(Code::InvalidArgument,
                  "no room for group " + describe(spec) + " in the local world: too many groups");
    const std::uint64_t offset = next_region_;
    GroupSlot& slot = world_->header().groups[num_groups_];
    WEFT_TRY(agree(slot, spec, offset));
    ++num_groups_;
    next_region_ += region.bytes();
    return offset;
  }

  Expected<void> agree(GroupSlot& slot, const GroupSpec& spec, std::uint64_t offset) {
    const std::string text = describe(spec);
    std::uint32_t state = GroupSlot::kEmpty;
    if (slot.state.compare_exchange_strong(state, GroupSlot::kFilling)) {
      slot.named_by = static_cast<std::uint32_t>(world_rank_);
      slot.num_ranks = static_cast<std::uint32_t>(spec.ranks.size());
      slot.fingerprint = fnv1a(text);
      slot.offset = offset;
      slot.text_length = static_cast<std::uint32_t>(std::min(text.size(), sizeof slot.text));
      std::memcpy(slot.text, text.data(), slot.text_length);
      slot.state.store(GroupSlot::kFilled, std::memory_order_seq_cst);
      return {};
    }
    WEFT_TRY(wait_until_filled(slot, text));
    if (slot.fingerprint == fnv1a(text) && slot.offset == offset) return {};
    const std::string message = different_groups(
        num_groups_, text, world_rank_,
        std::string(slot.text, std::min<std::size_t>(slot.text_length, sizeof slot.text)),
        static_cast<int>(slot.named_by));
    world_->abort(message);  // the others would wait for a group that never comes
    return fail(Code::InvalidArgument, message);
  }

  Expected<void> wait_until_filled(const GroupSlot& slot, const std::string& text) const {
    const auto deadline = std::chrono::steady_clock::now() + kNamingBound;
    while (slot.state.load(std::memory_order_seq_cst) != GroupSlot::kFilled) {
      if (world_->aborted())
        return fail(Code::Unavailable,
                    "making group " + text + ": the world was ended: " + world_->abort_reason());
      if (std::chrono::steady_clock::now() > deadline)
        return fail(Code::Unavailable,
                    "making group " + text + ": the rank that began to name it has not finished");
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return {};
  }

  std::shared_ptr<LocalWorld::Mapping> world_;
  int world_rank_;
  std::shared_ptr<LocalRank> self_;
  int num_groups_ = 0;
  std::uint64_t next_region_ = LocalWorld::Mapping::first_region();
};

}  // namespace

std::unique_ptr<Transport> make_local_transport(std::shared_ptr<LocalWorld::Mapping> world,
                                                int world_rank) {
  return std::make_unique<LocalTransport>(std::move(world), world_rank);
}

}  // namespace weft::comm
