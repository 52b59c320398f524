#include "comm/exchange/expert_placement.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace weft::comm {

ExpertPlacement ExpertPlacement::at_home(int num_experts, int num_ranks, int empty_seats_per_rank) {
  ExpertPlacement placement{
      num_experts, num_ranks, num_experts / num_ranks + empty_seats_per_rank, {}, {}};
  placement.expert_of.assign(static_cast<std::size_t>(placement.num_seats()), -1);
  placement.share_of.assign(placement.expert_of.size(), 0.0);
  for (int e = 0; e < num_experts; ++e) {
    const auto seat = static_cast<std::size_t>(placement.home_rank(e) * placement.seats_per_rank +
                                               e % placement.home_seats());
    placement.expert_of[seat] = e;
    placement.share_of[seat] = 1;
  }
  return placement;
}

Expected<void> check_placement(const ExpertPlacement& p) {
  const auto refuse = [](const std::string& why) {
    return fail(Code::InvalidArgument, "placement of experts: " + why);
  };
  if (p.num_ranks < 1 || p.num_experts < 1 || p.num_experts % p.num_ranks != 0)
    return refuse(std::to_string(p.num_experts) + " experts do not divide over " +
                  std::to_string(p.num_ranks) + " ranks");
  if (p.seats_per_rank < p.home_seats())
    return refuse(std::to_string(p.seats_per_rank) + " seats a rank for the " +
                  std::to_string(p.home_seats()) + " experts that are at home there");
  if (std::ssize(p.expert_of) != p.num_seats() || std::ssize(p.share_of) != p.num_seats())
    return refuse("not one expert and one share for each seat");
  std::vector<int> last_rank(static_cast<std::size_t>(p.num_experts), -1);
  std::vector<double> share(last_rank.size(), 0.0);
  for (int seat = 0; seat < p.num_seats(); ++seat) {
    const auto at = static_cast<std::size_t>(seat);
    const std::string where =
        "seat " + std::to_string(p.local_of(seat)) + " of rank " + std::to_string(p.rank_of(seat));
    const int expert = p.expert_of[at];
    const bool home = p.local_of(seat) < p.home_seats();
    if (home && expert != p.rank_of(seat) * p.home_seats() + p.local_of(seat))
      return refuse(where + " is expert " + std::to_string(expert) + "'s, not its home's");
    if (expert < -1 || expert >= p.num_experts)
      return refuse(where + " holds expert " + std::to_string(expert) + " of " +
                    std::to_string(p.num_experts));
    if (expert < 0) continue;
    const auto e = static_cast<std::size_t>(expert);
    if (last_rank[e] == p.rank_of(seat))
      return refuse(where + " holds expert " + std::to_string(expert) + " a second time");
    last_rank[e] = p.rank_of(seat);
    if (!(p.share_of[at] >= 0)) return refuse(where + " has no share from 0 to 1");
    share[e] += p.share_of[at];
  }
  for (std::size_t e = 0; e < share.size(); ++e)
    if (!(std::abs(share[e] - 1) < 1e-6))
      return refuse("the shares of expert " + std::to_string(e) + " add up to " +
                    std::to_string(share[e]) + ", not to 1");
  return {};
}

namespace {

/// How one expert's tokens go to its replicas, as parts of what one rank sends. `ranks` gives all
/// ranks equally many tokens; a tier (own rank, own node, everybody) serves as much as it can.
class Tiers {
 public:
  struct Replica {
    int rank;
    double left;  // of its share, as part of all ranks' tokens
    double part = 0;
  };

  Tiers(std::vector<Replica> replicas, const NodeMap& nodes, int num_ranks)
      : replicas_(std::move(replicas)), nodes_(nodes), num_ranks_(num_ranks) {}

  /// The parts that tokens of `rank` take, in the order of the replicas.
  std::vector<Replica> parts_of(int rank) {
    const double each = 1.0 / num_ranks_;
    double mine = each;  // not given away yet
    std::vector<double> left_of_rank(static_cast<std::size_t>(num_ranks_), each);
    for (Replica& replica : replicas_) {  // every rank's own copy first
      const double taken = std::min(each, replica.left);
      left_of_rank[static_cast<std::size_t>(replica.rank)] -= taken;
      replica.left -= taken;
      if (replica.rank != rank) continue;
      replica.part += taken;
      mine -= taken;
    }
    for (int node = 0; node < nodes_.num_nodes(); ++node) {
      const auto here = [&](int r) { return nodes_.node_of(r) == node; };
      double wanted = 0;
      for (int r = 0; r < num_ranks_; ++r)
        if (here(r)) wanted += left_of_rank[static_cast<std::size_t>(r)];
      const double served = serve(wanted, here(rank) ? mine : 0, here);
      if (here(rank) && wanted > 0) mine -= mine * served / wanted;
    }
    double wanted = 0;
    for (const Replica& replica : replicas_) wanted += replica.left;
    serve(wanted, mine, [](int) { return true; });
    for (Replica& replica : replicas_) replica.part *= num_ranks_;
    return replicas_;
  }

 private:
  /// Gives up to `wanted` tokens to the replicas `in` the tier by what is left of their shares;
  /// `mine` of the wanted are the asking rank's. Returns how many were given.
  template <class In>
  double serve(double wanted, double mine, const In& in) {
    double room = 0;
    for (const Replica& replica : replicas_)
      if (in(replica.rank)) room += replica.left;
    const double served = std::min(wanted, room);
    if (served <= 0) return 0;
    for (Replica& replica : replicas_) {
      if (!in(replica.rank)) continue;
      const double given = served * replica.left / room;
      replica.part += mine * given / wanted;
      replica.left -= given;
    }
    return served;
  }

  std::vector<Replica> replicas_;
  const NodeMap& nodes_;
  int num_ranks_;
};

// A part below this is rounding.
constexpr double kPartMin = 1e-6;

}  // namespace

ReplicaPicker::ReplicaPicker(const ExpertPlacement& placement, int rank, const NodeMap& map) {
  const NodeMap nodes = map.empty() ? NodeMap::one_node(placement.num_ranks) : map;
  std::vector<std::vector<std::int32_t>> seats(static_cast<std::size_t>(placement.num_experts));
  for (int seat = 0; seat < placement.num_seats(); ++seat)
    if (const auto e = placement.expert_of[static_cast<std::size_t>(seat)]; e >= 0)
      seats[static_cast<std::size_t>(e)].push_back(seat);
  begin_.push_back(0);
  for (const auto& of_expert : seats) {
    std::vector<Tiers::Replica> replicas;
    for (const std::int32_t seat : of_expert)
      replicas.push_back(
          {placement.rank_of(seat), placement.share_of[static_cast<std::size_t>(seat)]});
    if (of_expert.size() > 1)
      replicas = Tiers(std::move(replicas), nodes, placement.num_ranks).parts_of(rank);
    else
      replicas[0].part = 1;
    const std::size_t first = options_.size();
    for (std::size_t i = 0; i < of_expert.size(); ++i)
      if (replicas[i].part > kPartMin) options_.push_back({of_expert[i], replicas[i].part, 0});
    begin_.push_back(static_cast<std::int32_t>(options_.size()));
    // Ranks start at different places, so that their first tokens do not meet at one replica.
    if (options_.size() - first > 1)
      for (int i = 0; i < rank; ++i) next(static_cast<std::int32_t>(begin_.size()) - 2);
  }
}

std::int32_t ReplicaPicker::next(std::int32_t expert) {
  const auto begin = options_.begin() + begin_[static_cast<std::size_t>(expert)];
  const auto end = options_.begin() + begin_[static_cast<std::size_t>(expert) + 1];
  if (end - begin == 1) return begin->seat;
  for (auto option = begin; option != end; ++option) option->due += option->part;
  const auto chosen =
      std::max_element(begin, end, [](const Option& a, const Option& b) { return a.due < b.due; });
  chosen->due -= 1;
  return chosen->seat;
}

double ReplicaPicker::part(std::int32_t seat) const {
  for (const Option& option : options_)
    if (option.seat == seat) return option.part;
  return 0;
}

}  // namespace weft::comm
