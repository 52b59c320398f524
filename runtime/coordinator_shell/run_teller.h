// What a run's people read of what was decided: events, run.json, who waited for whom, how far it
// is from its plan. Nothing depends on it, and nothing is forced to the disk here.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/coordinator_shell/report_pace.h"
#include "runtime/coordinator_shell/status_pipe.h"
#include "runtime/drift/drift_watch.h"
#include "runtime/store/run_store.h"
#include "runtime/watch/diagnose.h"

namespace weft::runtime {

/// Threads: one, that of the store.
class RunTeller {
 public:
  /// `drift` null: no cluster is known. All are used while this lives.
  RunTeller(RunStore& store, const StatusPipe& status, std::int64_t term, const Clock& clock,
            std::unique_ptr<DriftWatch> drift)
      : store_(store), status_(status), term_(term), clock_(clock), drift_(std::move(drift)) {}

  /// Into the log, the events and to the agent's terminal. `asked`: the request that it answers.
  void publish(std::int64_t generation, const std::string& kind, const std::string& reason,
               const std::string& asked = "");
  /// From the ranks' rings, told once a generation; asks nobody, takes milliseconds.
  Expected<RunDiagnosis> tell_who_waited(std::int64_t generation);
  bool told_who_waited(std::int64_t generation) const { return diagnosed_ == generation; }
  /// How far the first steps were from what was planned, where the run knows its cluster.
  void tell_drift(long long last_step);

  /// Something of run.json is no longer so, somebody was refused since, or it is time to tell when
  /// each node was heard last.
  bool should_describe(long long num_refused) const;
  void describe(const CoordinatorState& state, long long num_refused, const ReportPace& pace);

 private:
  RunStore& store_;
  const StatusPipe& status_;
  const std::int64_t term_;
  const Clock& clock_;
  std::unique_ptr<DriftWatch> drift_;  // null as well once it has been said
  bool should_describe_ = false;
  long long told_refused_ = 0;
  Instant next_signs_{};
  std::int64_t diagnosed_ = 0;  // the generation of which it was told who waited
};

}  // namespace weft::runtime
