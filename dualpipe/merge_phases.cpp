#include "dualpipe/merge_phases.h"

#include <algorithm>

namespace weft::dualpipe {
namespace {

using Phases = std::vector<Phase>;

/// The phases of each layer, in list order. What has no layer of its own goes with the layer that
/// it leads to or comes from: an embedding forward and a head backward with the next one, a head
/// forward and an embedding backward with the one before.
std::vector<Phases> by_layer(std::span<const Phase> phases, PhaseKind leads) {
  std::vector<Phases> groups;
  Phases leading;
  int layer = 0;
  for (const Phase& phase : phases) {
    const bool edge = phase.kind == PhaseKind::Embed || phase.kind == PhaseKind::Head;
    if (edge && (phase.kind == leads || groups.empty())) {
      leading.push_back(phase);
    } else if (edge) {
      groups.back().push_back(phase);
    } else if (groups.empty() || phase.layer != layer || !leading.empty()) {
      groups.push_back(std::move(leading));
      groups.back().push_back(phase);
      leading.clear();
      layer = phase.layer;
    } else {
      groups.back().push_back(phase);
    }
  }
  if (!leading.empty()) groups.push_back(std::move(leading));
  return groups;
}

/// One place in the order of a layer pair.
struct Place {
  bool backward;
  PhaseKind kind;
  Part part;
};

constexpr Place kOrder[] = {
    {true, PhaseKind::Head, Part::Input},        {true, PhaseKind::Head, Part::Weights},
    {true, PhaseKind::Attention, Part::Again},   {true, PhaseKind::Dispatch, Part::Again},
    {true, PhaseKind::Combine, Part::Input},     {false, PhaseKind::Embed, Part::Whole},
    {false, PhaseKind::Attention, Part::Whole},  {true, PhaseKind::Experts, Part::Again},
    {true, PhaseKind::Experts, Part::Input},     {false, PhaseKind::Dispatch, Part::Whole},
    {true, PhaseKind::Dispatch, Part::Input},    {true, PhaseKind::Experts, Part::Weights},
    {false, PhaseKind::Experts, Part::Whole},    {true, PhaseKind::Attention, Part::Input},
    {true, PhaseKind::Attention, Part::Weights}, {true, PhaseKind::Embed, Part::Input},
    {true, PhaseKind::Embed, Part::Weights},     {false, PhaseKind::Combine, Part::Whole},
    {false, PhaseKind::Head, Part::Whole},
};

/// Input and Whole stand at the same place.
bool same_place(Part a, Part b) {
  const auto plain = [](Part part) { return part == Part::Whole || part == Part::Input; };
  return a == b || (plain(a) && plain(b));
}

void merge_layer(const Phases& forward, const Phases& backward, std::vector<PhaseStep>& out) {
  for (const Place& place : kOrder) {
    for (const Phase& phase : place.backward ? backward : forward) {
      if (phase.kind == place.kind && same_place(phase.part, place.part)) {
        out.push_back({place.backward, phase});
      }
    }
  }
}

/// The steps of one pass that the other phases of the pass wait for: all but weight gradients.
Phases chain(const std::vector<PhaseStep>& steps, bool backward) {
  Phases phases;
  for (const PhaseStep& step : steps) {
    if (step.backward == backward && step.phase.part != Part::Weights) phases.push_back(step.phase);
  }
  return phases;
}

bool keeps_order(const std::vector<PhaseStep>& merged, std::span<const Phase> forward,
                 std::span<const Phase> backward) {
  std::vector<PhaseStep> plain;
  for (const Phase& phase : forward) plain.push_back({false, phase});
  for (const Phase& phase : backward) plain.push_back({true, phase});
  return merged.size() == plain.size() && chain(merged, false) == chain(plain, false) &&
         chain(merged, true) == chain(plain, true);
}

}  // namespace

std::vector<PhaseStep> merge_phases(std::span<const Phase> forward,
                                    std::span<const Phase> backward) {
  const auto forwards = by_layer(forward, PhaseKind::Embed);
  const auto backwards = by_layer(backward, PhaseKind::Head);
  std::vector<PhaseStep> merged;
  for (std::size_t i = 0; i < std::max(forwards.size(), backwards.size()); ++i) {
    merge_layer(i < forwards.size() ? forwards[i] : Phases(),
                i < backwards.size() ? backwards[i] : Phases(), merged);
  }
  if (keeps_order(merged, forward, backward)) return merged;
  // A list that is not made of such layers cannot be overlapped by their order.
  merged.clear();
  for (const Phase& phase : forward) merged.push_back({false, phase});
  for (const Phase& phase : backward) merged.push_back({true, phase});
  return merged;
}

}  // namespace weft::dualpipe
