// What faults do to workers, steps and the control plane, and the pace that they need.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "runtime/rehearse/rehearsal_impl.h"

namespace weft::runtime {
namespace {

constexpr double kWakeBefore = 10;  // seconds before a fault that agents must notice
constexpr int kSigsegv = 11;

/// `bound`: of every wait, in seconds.
bool stops_a_run(const Fault& fault, double bound) {
  return fault.kind == FaultKind::NodeDeath || fault.kind == FaultKind::WorkerCrash ||
         fault.kind == FaultKind::Hang ||
         (fault.kind == FaultKind::LinkFlap && fault.seconds >= bound);
}

}  // namespace

void Rehearsal::plan_faults() {
  for (const Fault& fault : options_.faults) {
    events_.at(at(fault.at), [this, fault] { happen(fault); });
    if (!stops_a_run(fault, job_.control.wait_bound_s)) continue;
    wake_.push_back(at(fault.at));
    events_.at(at(std::max(0.0, fault.at - kWakeBefore)), [this] { settle_pace(); });
  }
}

/// Heartbeats are needed while something happens to the control plane, or is about to.
void Rehearsal::settle_pace() {
  const Instant soon = events_.now() + from_seconds(kWakeBefore + kCalmAfter);
  const bool due = std::ranges::any_of(wake_, [&](Instant w) { return w <= soon; });
  const bool settled =
      stepping_ && events_.now() - stepping_since_ >= from_seconds(kCalmAfter) && !stop_asked_;
  set_calm(settled && !due && events_.now() < at(options_.horizon));
}

void Rehearsal::happen(const Fault& fault) {
  if (stops_a_run(fault, job_.control.wait_bound_s)) std::erase(wake_, at(fault.at));
  const int rank = rank_at(fault.node, fault.device);
  // Who wrote a script wants to know why nothing came of it.
  const auto misses = [&](const std::string& why) {
    event("fault_without_effect",
          fmt::format("[synthetic] {} at n{:03}/{} meets nobody: {}", to_string(fault.kind),
                      fault.node, fault.device, why));
  };
  const bool everywhere =
      fault.kind == FaultKind::CorruptCheckpoint || fault.kind == FaultKind::Imbalance;
  if (!everywhere && !world_.is_up(fault.node)) return misses("the host is off");
  const std::string where = fmt::format("n{:03}/{}{}", fault.node, fault.device,
                                        rank >= 0 ? ", rank " + std::to_string(rank) : ", a spare");
  const auto say = [&](const std::string& what) {
    ++faults_;
    event("fault", "[synthetic] " + what,
          {{"fault", std::string(to_string(fault.kind))},
           {"node", fmt::format("n{:03}", fault.node)},
           {"device", fault.device},
           {"rank", rank},
           {"seconds", fault.seconds},
           {"factor", fault.factor}});
  };
  switch (fault.kind) {
    case FaultKind::NodeDeath: {
      say(fmt::format("host n{:03} dies; back in {}", fault.node,
                      format_duration(from_seconds(fault.seconds))));
      world_.inject({sim::Fault::Kind::LoseNode, world_.now(), fault.node,
                     from_seconds(fault.seconds), Code::Internal});
      events_.after(from_seconds(fault.seconds), [this, node = fault.node] {
        event("node_back", fmt::format("[synthetic] host n{:03} is back", node));
      });
      return;
    }
    case FaultKind::WorkerCrash:
      if (rank < 0) return misses("a spare has no workers");
      say("worker process dies at " + where);
      tell(rank, WorkerExited{workers_[rank].generation, rank, 0, kSigsegv, ""});
      workers_[rank].phase = Worker::Phase::None;
      return halt(Loss::Restart);
    case FaultKind::Hang:
      if (rank < 0) return misses("a spare has no workers");
      if (!stepping_) return misses("no step is under way");
      say("worker stops without a word at " + where);
      hung_rank_ = rank;
      return halt(Loss::Hang);
    case FaultKind::Straggler:
      if (rank < 0) return misses("a spare has no workers");
      say(fmt::format("{} computes {:.2f} times as long for {}", where, fault.factor,
                      format_duration(from_seconds(fault.seconds))));
      slow_.push_back({fault.node, fault.device, fault.factor,
                       events_.now() + from_seconds(fault.seconds), false});
      return;
    case FaultKind::LinkFlap:
      if (rank < 0) return misses("a spare has no workers");
      if (!stepping_) return misses("no step is under way");
      say(fmt::format("the network port of {} is gone for {:.1f} s", where, fault.seconds));
      return flap(fault);
    case FaultKind::CorruptCheckpoint:
      say("the next checkpoint will be damaged on storage");
      ++corrupt_next_;
      return;
    case FaultKind::Imbalance:
      say(fmt::format("the busiest experts get {:.2f} times their share for {}", fault.factor,
                      format_duration(from_seconds(fault.seconds))));
      imbalances_.push_back({events_.now() + from_seconds(fault.seconds), fault.factor});
      return;
  }
}

/// Messages are repeated until the port is back; beyond the bound of every wait a rank gives up.
void Rehearsal::flap(const Fault& fault) {
  if (!stepping_) return;
  const int rank = rank_at(fault.node, fault.device);
  if (fault.seconds < job_.control.wait_bound_s) {
    step_end_ += from_seconds(fault.seconds);
    step_lost_[static_cast<int>(Loss::Network)] += fault.seconds;
    return;
  }
  const std::int64_t generation = generation_;
  halt(Loss::Hang);
  events_.after(from_seconds(job_.control.wait_bound_s), [this, rank, generation] {
    const int peer = (rank + job_.parallel.data) % layout().world();
    if (workers_[peer].generation != generation || workers_[peer].node < 0) return;
    WorkerFailed failed;
    failed.generation = generation;
    failed.rank = peer;
    failed.blames = rank;
    failed.error = {Code::DeadlineExceeded, "[synthetic] no message from rank " +
                                                std::to_string(rank) + " within the bound"};
    tell(peer, failed);
  });
}

/// Steps end here: one rank is gone, and every other waits for it sooner or later.
void Rehearsal::halt(Loss until_noticed) {
  set_calm(false);
  if (!stepping_) return;
  stepping_ = false;
  ++epoch_;
  goodput_.lose(Loss::LostWork, seconds(events_.now() - step_begin_));
  down_as_ = until_noticed;
  down_since_ = events_.now();
}

void Rehearsal::lose_until_now() {
  if (stepping_) goodput_.lose(Loss::LostWork, seconds(events_.now() - step_begin_));
  if (!stepping_) goodput_.lose(down_as_, seconds(events_.now() - down_since_));
  down_since_ = step_begin_ = events_.now();
}

}  // namespace weft::runtime
