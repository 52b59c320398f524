// A step as it was: what the ranks recorded, what its operations took, and how it compares with the
// same schedule on the timeline. Pure.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/expected.h"
#include "dualpipe/ring.h"
#include "dualpipe/schedule.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {

struct RankStep {
  RingInfo info;
  RecordedStep recorded;  // times as the first rank's clock tells them
  Here here;
  std::size_t ring_bytes = 0;
};

struct MeasuredStep {
  long long step = 0;
  std::string stage;
  Kind kind = Kind::OneFOneB;
  Size size;
  std::vector<RankStep> ranks;  // ascending rank
  std::int64_t begin_ns = 0;    // over the ranks
  std::int64_t end_ns = 0;
  std::int64_t begin_wall_ns = 0;

  double seconds() const { return static_cast<double>(end_ns - begin_ns) * 1e-9; }
  /// Every rank that should be there is, and none was still at it.
  bool closed = true;
};

/// What the rings know of each step, ascending. Recordings of an older attempt than the newest are
/// left out; so are those that do not agree with the first on the schedule. A step that was done
/// twice (never within an attempt) counts once, as it was last.
/// `lane`: only this replica's ranks; -1: all.
std::vector<MeasuredStep> measured_steps(std::span<const RankRecording> recordings, int lane = -1);

/// Microseconds. Per position: the mean duration of each operation in the step's last training
/// pass, without its waits for messages, over the lanes. send: the median time from posting to
/// arrival of the messages for which the receiver was waiting already; 0 without such.
/// Errors: NotFound when the step has no training pass.
Expected<Costs> measured_costs(const MeasuredStep& step);

/// The same schedule on the timeline. Errors: as measured_costs, generate and timeline.
struct Prediction {
  Schedule schedule;
  Timeline times;     // in microseconds
  std::string basis;  // where the costs come from
};
Expected<Prediction> predict(const MeasuredStep& step, const Costs& costs, std::string basis);

/// Of the last training pass, in microseconds; a position's figures are means over its lanes.
struct PositionSummary {
  double busy = 0;      // in compute actions, without their waits for messages
  double bubble = 0;    // pipeline - busy
  double exchange = 0;  // between begin and end of expert exchanges
  double exposed = 0;   // of that, what the compute lane stood in begin and finish for
};
struct StepSummary {
  double pipeline = 0;  // from the first compute action of any rank to the end of the last
  double step_end = 0;  // reductions and update, of the slowest rank
  std::vector<PositionSummary> positions;
  std::size_t records = 0;
  std::uint64_t missing = 0, damaged = 0;
};
StepSummary summarize(const MeasuredStep& step);

/// The step's last training pass: its number, or -1.
int training_pass(const MeasuredStep& step);

/// A Chrome trace: one process a rank with its compute lane, exchanges and messages, arrows for
/// messages, and beside them, where a prediction is given, one a position for that.
std::string to_chrome_trace(const MeasuredStep& step, const Prediction* prediction);

}  // namespace weft::dualpipe
