#include "comm/tcp/tcp_transport.h"

#include <algorithm>
#include <cstring>

#include "base/rng.h"
#include "comm/group_spec.h"
#include "comm/local/region_table.h"
#include "comm/tcp/tcp_group.h"

namespace weft::comm {
namespace {

// All groups of one make_groups call, as every rank tells the others.
struct Named {
  std::uint64_t fingerprint;
  char text[248];  // perhaps cut
};

class TcpTransport final : public Transport {
 public:
  TcpTransport(std::shared_ptr<TcpRank> rank, std::vector<int> near,
               std::chrono::milliseconds bound)
      : rank_(std::move(rank)),
        near_(std::move(near)),
        bound_(bound),
        regions_(rank_->near()->shared_world(),
                 near_[static_cast<std::size_t>(rank_->world_rank())]) {}

  int world_rank() const override { return rank_->world_rank(); }
  int world_size() const override { return rank_->world_size(); }
  int lost_rank() const override { return rank_->lost_rank(); }

  // First the streams, then the agreement: nobody sends into a group before all know of it.
  Expected<std::vector<std::unique_ptr<Communicator>>> make_groups(
      std::span<const GroupSpec> specs) override {
    for (const GroupSpec& spec : specs) WEFT_TRY(validate(spec, world_size()));
    if (everybody_ == nullptr) {
      GroupSpec all{"the whole world", {}};
      for (int r = 0; r < world_size(); ++r) all.ranks.push_back(r);
      WEFT_TRY_ASSIGN(everybody_, make(all));
      everybody_->set_wait_bound(bound_);
    }
    std::vector<std::unique_ptr<Communicator>> groups;
    for (const GroupSpec& spec : specs) {
      WEFT_TRY_ASSIGN(auto group, make(spec));
      groups.push_back(std::move(group));
    }
    WEFT_TRY(agree(specs));
    return groups;
  }

 private:
  Expected<std::unique_ptr<Communicator>> make(const GroupSpec& spec) {
    GroupSpec near{spec.name, {}};
    std::vector<GroupMember> members;
    for (const int r : spec.ranks) {
      const int near_rank = near_[static_cast<std::size_t>(r)];
      members.push_back({r, near_rank, near_rank < 0 ? -1 : static_cast<int>(near.ranks.size())});
      if (near_rank >= 0) near.ranks.push_back(near_rank);
    }
    std::uint64_t offset = 0;
    if (!near.ranks.empty()) {
      WEFT_TRY_ASSIGN(offset, regions_.place(near));
    }
    const std::uint32_t index = num_groups_++;
    const auto own = std::find(spec.ranks.begin(), spec.ranks.end(), world_rank());
    if (own != spec.ranks.end())
      return std::make_unique<TcpCommunicator>(rank_, spec.name, std::move(members),
                                               static_cast<int>(own - spec.ranks.begin()), offset,
                                               index);
    for (int r = 0; r < world_size(); ++r)
      if (TcpLink* const link = rank_->link(r)) link->add_stream(index, nullptr, nullptr, -1);
    return nullptr;
  }

  Expected<void> agree(std::span<const GroupSpec> specs) {
    std::string text;
    for (const GroupSpec& spec : specs) text += (text.empty() ? "" : ", ") + describe(spec);
    Named mine{fnv1a(text), {}};
    std::memcpy(mine.text, text.data(), std::min(text.size(), sizeof mine.text));
    std::vector<Named> all(static_cast<std::size_t>(world_size()));
    everybody_->set_serving("naming groups");
    WEFT_TRY(all_gather(*everybody_, std::as_bytes(std::span(&mine, 1)),
                        std::as_writable_bytes(std::span(all))));
    for (std::size_t r = 0; r < all.size(); ++r)
      if (all[r].fingerprint != mine.fingerprint)
        return fail(Code::InvalidArgument,
                    different_groups(num_calls_, text, world_rank(),
                                     std::string(all[r].text, ::strnlen(all[r].text, 248)),
                                     static_cast<int>(r)));
    ++num_calls_;
    return {};
  }

  std::shared_ptr<TcpRank> rank_;
  std::vector<int> near_;
  std::chrono::milliseconds bound_;
  RegionTable regions_;
  std::unique_ptr<Communicator> everybody_;
  std::uint32_t num_groups_ = 0;
  int num_calls_ = 0;
};

}  // namespace

std::unique_ptr<Transport> make_tcp_transport(std::shared_ptr<TcpRank> rank, std::vector<int> near,
                                              std::chrono::milliseconds bound) {
  return std::make_unique<TcpTransport>(std::move(rank), std::move(near), bound);
}

}  // namespace weft::comm
