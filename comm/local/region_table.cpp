#include "comm/local/region_table.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/rng.h"
#include "comm/group_spec.h"

namespace weft::comm {
namespace {

constexpr std::chrono::seconds kNamingBound{10};

}  // namespace

Expected<std::uint64_t> RegionTable::place(const GroupSpec& spec) {
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

Expected<void> RegionTable::agree(GroupSlot& slot, const GroupSpec& spec, std::uint64_t offset) {
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

Expected<void> RegionTable::wait_until_filled(const GroupSlot& slot,
                                              const std::string& text) const {
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

}  // namespace weft::comm
