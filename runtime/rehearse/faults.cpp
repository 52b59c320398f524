#include "runtime/rehearse/faults.h"

#include <algorithm>
#include <cmath>

#include "base/rng.h"

namespace weft::runtime {
namespace {

constexpr double kDay = 86400;
constexpr const char* kNames[kNumFaultKinds] = {"node_death", "worker_crash", "hang",
                                                "straggler",  "link_flap",    "corrupt_checkpoint",
                                                "imbalance"};

/// A draw with this mean, never below a tenth of it.
double spread(double mean, Rng& rng) { return mean * std::max(0.1, -std::log(1 - rng.uniform())); }

}  // namespace

std::string_view to_string(FaultKind kind) { return kNames[static_cast<int>(kind)]; }

double FaultRates::of(FaultKind kind) const {
  switch (kind) {
    case FaultKind::NodeDeath:
      return node_deaths;
    case FaultKind::WorkerCrash:
      return crashes;
    case FaultKind::Hang:
      return hangs;
    case FaultKind::Straggler:
      return stragglers;
    case FaultKind::LinkFlap:
      return link_flaps;
    case FaultKind::CorruptCheckpoint:
      return corrupt_checkpoints;
    case FaultKind::Imbalance:
      return imbalances;
  }
  return 0;
}

FaultRates rates_of(const scheduler::Cluster& cluster) {
  const double nodes = cluster.num_nodes();
  const double stops = cluster.node_mtbf > 0 ? nodes * kDay / cluster.node_mtbf : 0;
  FaultRates rates;
  rates.node_deaths = 0.78 * stops;
  rates.crashes = 0.13 * stops;
  rates.hangs = 0.09 * stops;
  rates.stragglers = nodes / 100;
  rates.link_flaps = nodes / 10;
  rates.corrupt_checkpoints = 1;
  rates.imbalances = 2;
  return rates;
}

Fault typical_fault(FaultKind kind) {
  Fault fault;
  fault.kind = kind;
  switch (kind) {
    case FaultKind::NodeDeath:
      fault.seconds = 4 * 3600;  // until the host is back, tested
      break;
    case FaultKind::Straggler:
      fault.seconds = 1800;
      fault.factor = 1.2;
      break;
    case FaultKind::LinkFlap:
      fault.seconds = 8;
      break;
    case FaultKind::Imbalance:
      fault.seconds = 900;
      fault.factor = 1.3;
      break;
    default:
      break;
  }
  return fault;
}

std::vector<Fault> draw_faults(const FaultRates& rates, const FaultGrid& grid, std::uint64_t seed) {
  std::vector<Fault> faults;
  for (int k = 0; k < kNumFaultKinds; ++k) {
    const auto kind = static_cast<FaultKind>(k);
    const double rate = rates.of(kind) / kDay;
    if (rate <= 0) continue;
    Rng rng(seed, "faults", static_cast<std::uint64_t>(k));
    for (double at = -std::log(1 - rng.uniform()) / rate; at < grid.horizon;
         at -= std::log(1 - rng.uniform()) / rate) {
      Fault fault = typical_fault(kind);
      fault.at = at;
      fault.node = static_cast<int>(rng.below(static_cast<std::uint32_t>(grid.nodes)));
      fault.device = static_cast<int>(rng.below(static_cast<std::uint32_t>(grid.devices)));
      if (fault.seconds > 0) fault.seconds = spread(fault.seconds, rng);
      if (fault.factor > 1) fault.factor = 1 + std::min(1.0, spread(fault.factor - 1, rng));
      faults.push_back(fault);
    }
  }
  std::ranges::stable_sort(faults, {}, &Fault::at);
  return faults;
}

}  // namespace weft::runtime
