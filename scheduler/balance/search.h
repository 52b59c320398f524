// Local search over placements of one node's experts (or of all experts when groups are not kept on
// nodes): lowers the busiest GPU step by step, never putting two replicas of an expert on one GPU.
#pragma once

#include <span>
#include <vector>

namespace weft::scheduler {

/// GPUs that may hold any of `load`'s experts. slots[g]: the experts on GPU g, all GPUs equally
/// many; experts are counted from 0 inside the domain.
struct Domain {
  std::span<const double> load;
  std::vector<std::vector<int>> slots;
};

/// Every expert has a replica and no GPU has two of one.
bool is_sound(const Domain& domain);
double busiest(const Domain& domain);

/// A placement made from nothing: replicas to where the load per replica is largest (at most one a
/// GPU), then heaviest first to the lightest GPU. Requires experts <= gpus * slots_per_gpu and
/// slots_per_gpu <= experts.
Domain pack_fresh(std::span<const double> load, int gpus, int slots_per_gpu);

/// Makes `domain` sound: replaces second replicas of an expert on a GPU, and gives lost experts
/// a slot.
void repair(Domain& domain);

/// Swaps two replicas, or hands a slot from one expert to another, as long as the busiest GPU gets
/// lighter and no other becomes as heavy; stops at `good_enough`. Requires and keeps is_sound.
void improve(Domain& domain, double good_enough = 0);

/// Shakes and improves again, `rounds` times at most, until the busiest GPU carries no more than
/// `goal`; keeps the best placement seen. Deterministic. Requires and keeps is_sound.
void search_further(Domain& domain, double goal, int rounds);

}  // namespace weft::scheduler
