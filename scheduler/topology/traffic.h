// Who sends how much to whom in a step: a placement's groups with the bytes that their ranks
// exchange. What an assignment of ranks to seats is scored by.
#pragma once

#include <vector>

#include "scheduler/placement.h"

namespace weft::scheduler {

enum class TrafficKind { Experts, Pipeline, Reduction };
constexpr int kNumTrafficKinds = 3;
const char* to_string(TrafficKind kind);

/// Bytes that one rank sends in a step, by what for. The defaults are DeepSeek-V3's orders of
/// magnitude with PP16 and EP64 (120 chunks of 4,096 tokens, hidden 7,168, four expert layers a
/// position, at most four nodes a token); what counts is their ratio.
struct TrafficBytes {
  double experts = 340e9;   // all dispatches and combines, forward and backward, to its group
  double pipeline = 14e9;   // to the next and the previous position together
  double reduction = 10e9;  // gradients and new values, to those who hold the same weights
};

/// Every pair of `ranks` exchanges bytes_per_pair in each direction.
struct TrafficGroup {
  TrafficKind kind = TrafficKind::Experts;
  std::vector<int> ranks;
  double bytes_per_pair = 0;
};

struct Traffic {
  int world = 0;
  std::vector<TrafficGroup> groups;
  std::vector<std::vector<int>> groups_of;  // [rank] indices into groups
};

/// Of the groups of `placement` those that move bytes: expert groups (all-to-all), neighbours of
/// each pipeline, dense and replica groups (every member to every other).
Traffic traffic_of(const Placement& placement, const TrafficBytes& bytes = {});

}  // namespace weft::scheduler
