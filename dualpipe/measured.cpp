#include "dualpipe/measured.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "dualpipe/flow.h"
#include "dualpipe/messages_matched.h"

namespace weft::dualpipe {
namespace {

using What = Record::What;

constexpr double kMicroseconds = 1e-3;  // of a nanosecond

double duration_us(std::int64_t ns) { return static_cast<double>(ns) * kMicroseconds; }

/// What to add to a rank's times so that they are the first rank's.
std::int64_t clock_offset(const RingInfo& info, const RingInfo& first) {
  if (info.clock == first.clock) return 0;
  return (info.wall_ns - info.monotonic_ns) - (first.wall_ns - first.monotonic_ns);
}

void shift(RecordedStep& step, std::int64_t offset) {
  if (offset == 0) return;
  step.begin_ns += offset;
  step.end_ns += offset;
  for (Record& record : step.records) {
    record.begin_ns += offset;
    record.end_ns += offset;
  }
}

bool same_schedule(const RingInfo& a, const RingInfo& b) {
  return a.kind == b.kind && a.ranks == b.ranks && a.micro_batches == b.micro_batches &&
         a.chunks == b.chunks && a.world == b.world;
}

/// How long the compute lane waited for messages inside [begin, end].
class MessageWaits {
 public:
  explicit MessageWaits(const RecordedStep& step) {
    for (const Record& record : step.records)
      if (record.what == What::Receive || record.what == What::Send)
        waits_.push_back({record.end_ns - record.tail_ns, record.end_ns});
    std::ranges::sort(waits_);
    double sum = 0;
    for (const auto& [begin, end] : waits_) sums_.push_back(sum += duration_us(end - begin));
  }
  /// One thread waits for one thing at a time, so the waits do not overlap.
  double inside(std::int64_t begin, std::int64_t end) const {
    const auto at = [&](std::int64_t time) {
      const auto after = std::ranges::lower_bound(waits_, std::pair(time, std::int64_t{-1}));
      return static_cast<std::size_t>(after - waits_.begin());
    };
    const std::size_t first = at(begin), last = at(end);
    const auto before = [&](std::size_t n) { return n == 0 ? 0.0 : sums_[n - 1]; };
    return last > first ? before(last) - before(first) : 0.0;
  }

 private:
  std::vector<std::pair<std::int64_t, std::int64_t>> waits_;
  std::vector<double> sums_;
};

bool computes(const Record& record, int pass) {
  return record.what == What::Action && record.pass == pass &&
         is_compute(static_cast<Op>(record.op));
}

struct Mean {
  double sum = 0;
  int count = 0;
  double value() const { return count > 0 ? sum / count : 0; }
};

double message_latency(const MeasuredStep& step) {
  std::vector<double> latencies;
  for (const MatchedMessage& message : matched_messages(step)) {
    const Record& sent = *message.send;
    const Record& received = *message.receive;
    if (received.end_ns - received.tail_ns <= sent.begin_ns)
      latencies.push_back(duration_us(received.end_ns - sent.begin_ns));
  }
  if (latencies.empty()) return 0;
  const auto middle = latencies.begin() + static_cast<std::ptrdiff_t>(latencies.size() / 2);
  std::ranges::nth_element(latencies, middle);
  return std::max(0.0, *middle);
}

}  // namespace

std::vector<MeasuredStep> measured_steps(std::span<const RankRecording> recordings, int lane) {
  const RankRecording* first = nullptr;
  for (const RankRecording& one : recordings)
    if (first == nullptr || one.info.attempt > first->info.attempt ||
        (one.info.attempt == first->info.attempt && one.info.rank < first->info.rank))
      first = &one;
  if (first == nullptr) return {};

  std::map<long long, MeasuredStep> steps;
  for (const RankRecording& one : recordings) {
    if (one.info.attempt != first->info.attempt || !same_schedule(one.info, first->info)) continue;
    if (lane >= 0 && one.info.lane != lane) continue;
    for (const RecordedStep& recorded : one.steps) {
      RankStep rank{one.info, recorded, one.here, one.bytes};
      shift(rank.recorded, clock_offset(one.info, first->info));
      rank.here.since_ns += clock_offset(one.info, first->info);
      auto& ranks = steps[recorded.step].ranks;
      if (!ranks.empty() && ranks.back().info.rank == one.info.rank)
        ranks.back() = std::move(rank);
      else
        ranks.push_back(std::move(rank));
    }
  }
  std::vector<MeasuredStep> result;
  for (auto& [number, step] : steps) {
    std::ranges::stable_sort(step.ranks, {}, [](const RankStep& rank) { return rank.info.rank; });
    step.step = number;
    step.stage = step.ranks.front().recorded.stage;
    step.kind = first->kind;
    step.size = {first->info.ranks, first->info.micro_batches, first->info.chunks};
    step.begin_ns = std::numeric_limits<std::int64_t>::max();
    step.end_ns = std::numeric_limits<std::int64_t>::min();
    for (const RankStep& rank : step.ranks) {
      step.begin_ns = std::min(step.begin_ns, rank.recorded.begin_ns);
      step.end_ns = std::max(step.end_ns, rank.recorded.end_ns);
      step.closed &= rank.recorded.closed;
    }
    step.begin_wall_ns = step.begin_ns - first->info.monotonic_ns + first->info.wall_ns;
    const int lanes = first->info.world / std::max(1, first->info.ranks);
    const std::size_t wanted =
        static_cast<std::size_t>(lane >= 0 ? first->info.ranks : first->info.ranks * lanes);
    step.closed &= step.ranks.size() == wanted;
    result.push_back(std::move(step));
  }
  return result;
}

int training_pass(const MeasuredStep& step) {
  int pass = -1;
  for (const RankStep& rank : step.ranks)
    for (const Record& record : rank.recorded.records)
      if (record.program == Program::Train) pass = std::max(pass, record.pass);
  return pass;
}

Expected<Costs> measured_costs(const MeasuredStep& step) {
  const int pass = training_pass(step);
  if (pass < 0)
    return fail(Code::NotFound,
                "step " + std::to_string(step.step) + " has no recorded training pass");
  using ByOp = std::array<Mean, 5>;  // F, B, BI, W, FB
  std::vector<ByOp> means(static_cast<std::size_t>(step.size.ranks));
  for (const RankStep& rank : step.ranks) {
    const MessageWaits waits(rank.recorded);
    for (const Record& record : rank.recorded.records) {
      if (!computes(record, pass)) continue;
      Mean& mean = means[static_cast<std::size_t>(rank.info.position)][record.op];
      mean.sum += duration_us(record.end_ns - record.begin_ns) -
                  waits.inside(record.begin_ns, record.end_ns);
      ++mean.count;
    }
  }
  Costs costs;
  for (const ByOp& mean : means)
    costs.per_rank.push_back(
        {mean[0].value(), mean[1].value(), mean[2].value(), mean[3].value(), mean[4].value()});
  costs.send = message_latency(step);
  return costs;
}

Expected<Prediction> predict(const MeasuredStep& step, const Costs& costs, std::string basis) {
  if (static_cast<double>(step.size.ranks) * step.size.micro_batches * step.size.chunks > 2e6)
    return fail(Code::Corrupt, "the schedule of the recorded step is too large to be true");
  Prediction prediction{{}, {}, std::move(basis)};
  WEFT_TRY_ASSIGN(prediction.schedule, generate(step.kind, step.size));
  WEFT_TRY_ASSIGN(prediction.times, timeline(prediction.schedule, costs));
  return prediction;
}

StepSummary summarize(const MeasuredStep& step) {
  const int pass = training_pass(step);
  StepSummary summary;
  summary.positions.resize(static_cast<std::size_t>(step.size.ranks));
  std::vector<int> lanes(summary.positions.size(), 0);
  std::int64_t begin = std::numeric_limits<std::int64_t>::max(), end = 0;
  for (const RankStep& rank : step.ranks) {
    const auto p = static_cast<std::size_t>(rank.info.position);
    PositionSummary& position = summary.positions[p];
    ++lanes[p];
    summary.records += rank.recorded.records.size();
    summary.missing += rank.recorded.missing;
    summary.damaged += rank.recorded.damaged;
    const MessageWaits waits(rank.recorded);
    double step_end = 0;
    for (const Record& record : rank.recorded.records) {
      if (record.pass != pass || pass < 0) continue;
      const double lasted = duration_us(record.end_ns - record.begin_ns);
      if (computes(record, pass)) {
        begin = std::min(begin, record.begin_ns);
        end = std::max(end, record.end_ns);
        position.busy += lasted - waits.inside(record.begin_ns, record.end_ns);
      } else if (record.what == What::Action) {
        step_end += lasted;
      } else if (record.what == What::Exchange) {
        position.exchange += lasted;
        position.exposed += duration_us(record.head_ns + record.tail_ns);
      }
    }
    summary.step_end = std::max(summary.step_end, step_end);
  }
  summary.pipeline = end > begin ? duration_us(end - begin) : 0;
  for (std::size_t p = 0; p < summary.positions.size(); ++p) {
    PositionSummary& position = summary.positions[p];
    for (double* value : {&position.busy, &position.exchange, &position.exposed})
      *value /= std::max(1, lanes[p]);
    position.bubble = summary.pipeline - position.busy;
  }
  return summary;
}

}  // namespace weft::dualpipe
