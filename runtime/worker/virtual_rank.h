// One rank of a virtual run: the real placement, groups, schedule and executor over stages that
// take time and compute nothing. Knows no control plane; runs on any transport and clock, so also
// whole worlds in one process on simulated time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dualpipe/executor.h"
#include "runtime/worker/virtual_device.h"
#include "runtime/worker/virtual_stage.h"
#include "runtime/worker/virtual_times.h"

namespace weft::runtime {

struct VirtualOptions {
  scheduler::Layout layout;
  VirtualTimes times;
  bool overlap = true;
  std::chrono::milliseconds wait_bound{60'000};
  /// A step begins so long after the last rank has come to it: time for the agreement to be heard.
  Duration start_margin = std::chrono::milliseconds(2);
};

/// What one rank did in a step; crosses the wire as it is.
struct VirtualRankStep {
  std::int64_t end_ns = 0;  // end of its last phase, counted from the step's begin
  std::int64_t compute_ns = 0, exchange_ns = 0, exposed_ns = 0;
  std::int64_t pair_exchange_ns = 0, pair_exposed_ns = 0;
  std::int64_t late_ns = 0;
  std::int64_t step_end_ns = 0;  // after reduction and update
  std::int64_t stop = 0;
  std::int64_t busy_ns() const { return compute_ns + exposed_ns; }  // as dualpipe::Timeline counts
};

struct VirtualStep {
  std::vector<VirtualRankStep> ranks;
  bool stop_requested = false;
  std::int64_t makespan_ns() const;  // of all ranks, from the common begin to the last phase's end
  std::int64_t step_ns() const;      // reduction and update included
};

/// Threads: one. The ranks' clocks show the same time (one host, or one simulation).
class VirtualRank {
 public:
  /// Collective. Errors: those of the transport; InvalidArgument for an illegal size or when the
  /// ranks are not of one build and one schedule.
  static Expected<std::unique_ptr<VirtualRank>> create(comm::Transport& transport, Clock& clock,
                                                       const VirtualOptions& options);
  ~VirtualRank();

  /// Collective; every rank gets every rank's figures. `stop`: this rank was asked to stop.
  Expected<VirtualStep> step(bool stop);

  int rank() const { return place_.rank; }
  comm::Communicator& world() { return *world_; }
  const VirtualPlan& plan() const { return plan_; }
  dualpipe::Executor& executor() { return *executor_; }
  const scheduler::RankPlace& place() const { return place_; }

  /// Steps go there from now on; null: nowhere. Must outlive the steps. `begin_step` and
  /// `end_step` are the caller's.
  void set_recorder(dualpipe::StepRecorder* recorder);
  std::size_t step_records() const;

 private:
  class StepEnd;
  explicit VirtualRank(Clock& clock, const VirtualOptions& options);
  Expected<void> build(comm::Transport& transport);
  void build_stages(const scheduler::Placement& placement);
  Expected<Instant> agree_on_begin();

  Clock& clock_;
  VirtualOptions options_;
  VirtualPlan plan_;
  scheduler::RankPlace place_;
  std::map<std::string, std::unique_ptr<comm::Communicator>> groups_;
  comm::Communicator* world_ = nullptr;
  VirtualDevice device_;
  std::unique_ptr<WatchedCommunicator> pipeline_, lanes_;
  std::vector<std::unique_ptr<VirtualStage>> stages_;  // null where another rank holds it
  std::unique_ptr<StepEnd> step_end_;
  std::unique_ptr<dualpipe::Executor> executor_;
  dualpipe::StepRecorder* recorder_ = nullptr;
};

}  // namespace weft::runtime
