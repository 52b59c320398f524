#include "comm/sim/sim_network.h"

#include <algorithm>
#include <cmath>

#include "comm/group_spec.h"
#include "comm/sim/sim_group.h"

namespace weft::comm {
namespace {

Duration transfer_time(std::size_t bytes, const SimLink& link) {
  return Duration(std::llround(static_cast<double>(bytes) / link.bytes_per_second * 1e9));
}

std::string milliseconds_text(Duration d) {
  const auto microseconds = std::to_string(d.count() / 1000 % 1000);
  return std::to_string(d.count() / 1'000'000) + "." + std::string(3 - microseconds.size(), '0') +
         microseconds + " ms";
}

}  // namespace

SimNetwork::SimNetwork(int num_ranks, const SimOptions& options)
    : num_ranks_(num_ranks),
      eager_bytes_max_(options.eager_bytes_max),
      turns_(num_ranks),
      links_(static_cast<std::size_t>(num_ranks * num_ranks)),
      killed_at_(static_cast<std::size_t>(num_ranks)) {
  for (int from = 0; from < num_ranks; ++from)
    for (int to = 0; to < num_ranks; ++to) {
      if (!options.link || from == to) continue;
      const SimLink cost = options.link(from, to);
      WEFT_CHECK(cost.latency >= Duration{0} && cost.bytes_per_second > 0,
                 "a link has a latency of at least 0 and a positive bandwidth");
      link(from, to).cost = cost;
    }
}

Expected<SimGroup*> SimNetwork::group(std::size_t index, const GroupSpec& spec, int world_rank) {
  WEFT_TRY(validate(spec, num_ranks_));
  const std::string text = describe(spec);
  if (index == groups_.size()) {
    groups_.push_back({spec, text, world_rank, {}, {}});
    groups_.back().channels.resize(spec.ranks.size() * spec.ranks.size());
    groups_.back().members.resize(spec.ranks.size());
  }
  SimGroup& group = groups_[index];
  if (group.text == text) return &group;
  end_reason_ =
      different_groups(static_cast<int>(index), text, world_rank, group.text, group.named_by);
  turns_.wake_all();
  return fail(Code::InvalidArgument, end_reason_);
}

void SimNetwork::depart(SimGroup& group, int from, int to) {
  SimChannel& channel = group.channel(from, to);
  const int world_from = group.spec.ranks[static_cast<std::size_t>(from)];
  const int world_to = group.spec.ranks[static_cast<std::size_t>(to)];
  while (channel.num_departed < channel.num_sent) {
    const std::size_t bytes =
        channel.messages[channel.num_departed - channel.num_taken].bytes.size();
    const bool wanted = channel.num_receives > channel.num_departed && !turns_.halted(world_to);
    if (turns_.halted(world_from) || (bytes > eager_bytes_max_ && !wanted)) return;
    Link& way = link(world_from, world_to);
    way.free_at = std::max(way.free_at, turns_.now()) + transfer_time(bytes, way.cost);
    ++channel.num_departed;
    turns_.at(way.free_at, [&group, from, to] {
      ++group.channel(from, to).num_out;
      if (SimCommunicator* sender = group.members[static_cast<std::size_t>(from)])
        sender->sent_to(to);
    });
    turns_.at(way.free_at + way.cost.latency,
              [this, &group, from, to] { arrive(group, from, to); });
  }
}

void SimNetwork::arrive(SimGroup& group, int from, int to) {
  ++group.channel(from, to).num_arrived;
  SimCommunicator* const receiver = group.members[static_cast<std::size_t>(to)];
  if (receiver != nullptr && !turns_.halted(group.spec.ranks[static_cast<std::size_t>(to)]))
    receiver->take_from(from);
}

void SimNetwork::kill(int world_rank) {
  if (turns_.halted(world_rank) || turns_.ended(world_rank)) return;
  killed_at_[static_cast<std::size_t>(world_rank)] = turns_.now();
  turns_.halt(world_rank);
  turns_.wake_all();
}

void SimNetwork::stop(int world_rank) { turns_.halt(world_rank); }

std::string SimNetwork::end_reason(const SimGroup& group) const {
  if (!end_reason_.empty()) return "the group was ended: " + end_reason_;
  for (const int rank : group.spec.ranks)
    if (const auto& when = killed_at_[static_cast<std::size_t>(rank)])
      return "the group was ended: rank " + std::to_string(rank) + " was killed at " +
             milliseconds_text(*when) + " of simulated time";
  return {};
}

}  // namespace weft::comm
