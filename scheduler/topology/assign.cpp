#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/rng.h"
#include "scheduler/topology/assignment.h"
#include "scheduler/topology/seating.h"

namespace weft::scheduler {
namespace {

constexpr int kSearchedRanksMax = 64;  // worlds that are searched seat by seat
constexpr int kSearchedSeatsMax = 128;
constexpr int kShakenRanksMax = 16;  // and, smaller still, from several beginnings
constexpr int kShakes = 24;
constexpr int kPassesMax = 50;
// Spares under more leaves are worth this share of the cost.
constexpr double kSpreadWorth = 0.01;

struct Block {
  std::vector<int> ranks;  // one expert group
};

enum class Order { LaneFirst, PositionFirst, Folded };
enum class Fill { Packed, Spread };

/// Expert groups in the order in which they take seats: along a pipeline, stage by stage, or along
/// a pipeline folded so that DualPipe's two holders of a stage are neighbours.
std::vector<Block> blocks_in(const Layout& layout, Order order) {
  const int per_position = layout.data / layout.expert;
  std::vector<Block> blocks;
  const auto add = [&](int position, int index) {
    Block& block = blocks.emplace_back();
    for (int s = 0; s < layout.expert; ++s)
      block.ranks.push_back(position * layout.data + index * layout.expert + s);
  };
  if (order == Order::PositionFirst)
    for (int p = 0; p < layout.pipeline; ++p)
      for (int i = 0; i < per_position; ++i) add(p, i);
  else
    for (int i = 0; i < per_position; ++i)
      for (int k = 0; k < layout.pipeline; ++k)
        add(order == Order::LaneFirst ? k : k % 2 == 0 ? k / 2 : layout.pipeline - 1 - k / 2, i);
  return blocks;
}

struct Leaf {
  std::vector<int> hosts;
  int seats = 0;
  int blocks = 0;  // expert groups that it is to take
};

/// Leaves with the number of blocks each takes: as few leaves as will do, or with what remains free
/// spread over all of them.
std::vector<Leaf> quotas(const Topology& topology, int block, int num_blocks, Fill fill) {
  std::map<int, Leaf> by_number;
  for (int h = 0; h < std::ssize(topology.hosts); ++h) {
    if (!topology.hosts[h].healthy) continue;
    Leaf& leaf = by_number[topology.hosts[h].leaf];
    leaf.hosts.push_back(h);
    leaf.seats += topology.hosts[h].devices;
  }
  std::vector<Leaf> leaves;
  for (auto& [number, leaf] : by_number) leaves.push_back(std::move(leaf));
  std::ranges::stable_sort(leaves, [](const Leaf& a, const Leaf& b) { return a.seats > b.seats; });
  int room = 0;
  for (Leaf& leaf : leaves) room += leaf.blocks = leaf.seats / block;
  for (int slack = room - num_blocks; slack > 0; --slack) {
    Leaf* from = nullptr;
    for (Leaf& leaf : leaves) {
      if (leaf.blocks == 0) continue;
      const auto spare = [&](const Leaf& l) { return l.seats - l.blocks * block; };
      if (from == nullptr || fill == Fill::Packed || spare(leaf) < spare(*from)) from = &leaf;
    }
    --from->blocks;
  }
  return leaves;
}

/// The host for the next of `need` ranks of one block: the one they fit best, else the emptiest.
int host_for(const std::vector<int>& hosts, const Seating& seating, int need) {
  int best = -1;
  for (const int h : hosts) {
    const int free = seating.num_free(h);
    if (free == 0) continue;
    if (best < 0) {
      best = h;
      continue;
    }
    const int most = seating.num_free(best);
    if (most >= need ? free >= need && free < most : free > most) best = h;
  }
  return best;
}

void put_at_host(int rank, int host, const Topology& topology, Seating& seating) {
  for (int d = 0; d < topology.hosts[host].devices; ++d)
    if (seating.rank_at({host, d}) < 0) return seating.put(rank, {host, d});
}

/// False: no seat left under these hosts.
bool seat_block(const Block& block, const std::vector<int>& hosts, const Topology& topology,
                Seating& seating) {
  int need = static_cast<int>(block.ranks.size());
  int host = -1;
  for (const int rank : block.ranks) {
    if (seating.is_seated(rank)) {
      --need;
      continue;
    }
    if (host < 0 || seating.num_free(host) == 0) host = host_for(hosts, seating, need);
    if (host < 0) return false;
    put_at_host(rank, host, topology, seating);
    --need;
  }
  return true;
}

void seat_all(const std::vector<Block>& blocks, std::vector<Leaf> leaves, const Topology& topology,
              Seating& seating) {
  std::size_t next = 0;
  for (const Leaf& leaf : leaves)
    for (int b = 0; b < leaf.blocks && next < blocks.size(); ++b)
      seat_block(blocks[next++], leaf.hosts, topology, seating);
  // What no leaf takes whole fills what is left, the leaf with most of it first.
  for (; next < blocks.size(); ++next)
    for (bool done = false; !done;) {
      const auto free = [&](const Leaf& leaf) {
        int sum = 0;
        for (const int h : leaf.hosts) sum += seating.num_free(h);
        return sum;
      };
      const auto most = std::ranges::max_element(
          leaves, [&](const Leaf& a, const Leaf& b) { return free(a) < free(b); });
      done = seat_block(blocks[next], most->hosts, topology, seating);
    }
}

std::vector<Seat> healthy_seats(const Topology& topology) {
  std::vector<Seat> seats;
  for (int h = 0; h < std::ssize(topology.hosts); ++h)
    for (int d = 0; topology.hosts[h].healthy && d < topology.hosts[h].devices; ++d)
      seats.push_back({h, d});
  return seats;
}

/// Exchanges seats at random and improves again; keeps the best.
void search_further(Seating& seating, const std::vector<Seat>& places, const Traffic& traffic,
                    const Topology& topology) {
  Rng rng(1, "assignment");
  const auto pick = [&] { return places[rng.below(static_cast<std::uint32_t>(places.size()))]; };
  Seating best = seating;
  double least = score_of(seating.seats(), traffic, topology).cost;
  for (int shake = 0; shake < kShakes; ++shake) {
    Seating here = best;
    for (int i = 0; i < 1 + shake % 4; ++i) here.exchange(pick(), pick());
    here.improve(places, kPassesMax);
    const double cost = score_of(here.seats(), traffic, topology).cost;
    if (cost >= least * (1 - 1e-12)) continue;
    least = cost;
    best = here;
  }
  seating = best;
}

}  // namespace

void list_spares(Assignment& assignment, const Topology& topology) {
  std::vector<bool> used(topology.hosts.size(), false);
  for (const Seat& seat : assignment.seats) used[seat.host] = true;
  std::set<int> leaves;
  for (int h = 0; h < std::ssize(topology.hosts); ++h)
    if (topology.hosts[h].healthy && !used[h]) {
      assignment.spares.push_back(h);
      leaves.insert(topology.hosts[h].leaf);
    }
  assignment.spare_leaves = static_cast<int>(leaves.size());
}

Expected<Assignment> assign(const Placement& placement, const Topology& topology,
                            const TrafficBytes& bytes) {
  WEFT_TRY(check_topology(topology));
  const int world = placement.layout.world(), room = topology.num_seats();
  if (room < world)
    return fail(Code::InvalidArgument, "the job needs " + std::to_string(world) +
                                           " devices, the healthy hosts have " +
                                           std::to_string(room) + ": " +
                                           std::to_string(world - room) + " more are needed");
  const Traffic traffic = traffic_of(placement, bytes);
  Assignment best;
  for (const Order order : {Order::LaneFirst, Order::PositionFirst, Order::Folded})
    for (const Fill fill : {Fill::Packed, Fill::Spread}) {
      const std::vector<Block> blocks = blocks_in(placement.layout, order);
      Seating seating(topology, traffic);
      seat_all(blocks,
               quotas(topology, placement.layout.expert, static_cast<int>(blocks.size()), fill),
               topology, seating);
      if (world <= kSearchedRanksMax && room <= kSearchedSeatsMax) {
        const std::vector<Seat> places = healthy_seats(topology);
        seating.improve(places, kPassesMax);
        if (world <= kShakenRanksMax) search_further(seating, places, traffic, topology);
      }
      Assignment found;
      found.seats = seating.seats();
      found.score = score_of(found.seats, traffic, topology);
      list_spares(found, topology);
      const double worth = found.spare_leaves > best.spare_leaves   ? 1 + kSpreadWorth
                           : found.spare_leaves < best.spare_leaves ? 1 - kSpreadWorth
                                                                    : 1;
      if (best.seats.empty() || found.score.cost < best.score.cost * worth * (1 - 1e-12))
        best = std::move(found);
    }
  return best;
}

}  // namespace weft::scheduler
