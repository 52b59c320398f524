// What each decision of a plan is worth: everything else kept, the best other choice.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "scheduler/plan/legal.h"
#include "scheduler/plan/search.h"

namespace weft::scheduler {

using dualpipe::Kind;

namespace {

struct Choice {
  std::string name;
  Work work;
};

/// The same GPUs and global batch with another pipeline depth.
bool set_pipeline(Work& work, int pipeline) {
  const int gpus = work.layout.world();
  const double sequences = work.step_sequences();
  if (pipeline < 1 || gpus % pipeline != 0) return false;
  const int data = gpus / pipeline;
  const double count = sequences / data / work.micro_batch_sequences;
  if (count < 1 || count != std::floor(count)) return false;
  work.layout.pipeline = pipeline;
  work.layout.data = data;
  work.layout.micro_batches = static_cast<int>(count);
  return true;
}

std::string number(double value) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.3g", value);
  return text.data();
}

class Decisions {
 public:
  Decisions(const Prediction& chosen, const Cluster& cluster, const TimeAssumptions& assumptions)
      : chosen_(chosen), cluster_(cluster), assumptions_(assumptions) {}

  std::vector<Alternative> run() {
    const Work& w = chosen_.work;
    decide("pipeline", std::to_string(w.layout.pipeline), pipelines());
    if (w.model.experts > 0)
      decide("experts over", std::to_string(w.layout.expert), expert_sizes());
    if (w.layout.pipeline > 1)
      decide("schedule", std::string(dualpipe::to_string(w.layout.kind)), schedules());
    decide("sequences a micro-batch", number(w.micro_batch_sequences), micro_batches());
    decide("recompute", std::string(to_string(w.recompute)), recomputes());
    if (w.precision != Precision::F32)
      decide("precision", std::string(to_string(w.precision)), precisions());
    return std::move(out_);
  }

 private:
  std::vector<Choice> pipelines() const {
    std::vector<Choice> out;
    for (const int p : {chosen_.work.layout.pipeline / 2, chosen_.work.layout.pipeline * 2}) {
      Work work = chosen_.work;
      if (set_pipeline(work, p)) out.push_back({std::to_string(p), work});
    }
    return out;
  }
  std::vector<Choice> expert_sizes() const {
    std::vector<Choice> out;
    for (const int e : {chosen_.work.layout.expert / 2, chosen_.work.layout.expert * 2}) {
      Work work = chosen_.work;
      work.layout.expert = e;
      if (e >= 1) out.push_back({std::to_string(e), work});
    }
    return out;
  }
  std::vector<Choice> schedules() const {
    std::vector<Choice> out;
    for (const Kind kind : {Kind::DualPipe, Kind::DualPipeV, Kind::ZBV, Kind::ZeroBubble,
                            Kind::OneFOneB, Kind::Interleaved}) {
      if (kind == chosen_.work.layout.kind) continue;
      Work work = chosen_.work;
      work.layout.kind = kind;
      out.push_back({std::string(dualpipe::to_string(kind)), work});
    }
    return out;
  }
  std::vector<Choice> micro_batches() const {
    std::vector<Choice> out;
    const double now = chosen_.work.micro_batch_sequences;
    const double together = now * chosen_.work.layout.micro_batches;
    for (const double other : {now / 2, now * 2}) {
      const double count = together / other;
      if (other < 1 || other != std::floor(other) || count != std::floor(count)) continue;
      Work work = chosen_.work;
      work.micro_batch_sequences = other;
      work.layout.micro_batches = static_cast<int>(count);
      out.push_back({number(other), work});
    }
    return out;
  }
  std::vector<Choice> recomputes() const {
    std::vector<Choice> out;
    for (const Recompute other : {Recompute::None, Recompute::MlaUp, Recompute::Full}) {
      if (other == chosen_.work.recompute) continue;
      Work work = chosen_.work;
      work.recompute = other;
      out.push_back({std::string(to_string(other)), work});
    }
    return out;
  }
  std::vector<Choice> precisions() const {
    std::vector<Choice> out;
    for (const Precision other : {Precision::BF16, Precision::FP8}) {
      if (other == chosen_.work.precision) continue;
      if (other == Precision::FP8 && !(cluster_.gpu.fp8 > 0)) continue;
      Work work = chosen_.work;
      work.precision = work.dispatch = other;
      out.push_back({std::string(to_string(other)), work});
    }
    return out;
  }

  Alternative judge(const std::string& decision, const std::string& now, const Choice& choice) {
    Alternative out{decision, now, choice.name, false, 0, 0, {}};
    if (const auto wrong = layout_problems(choice.work); !wrong.empty()) {
      out.why_not = wrong.front().substr(0, wrong.front().find(" Nearest legal"));
      return out;
    }
    const auto memory = rank_bytes(choice.work, cluster_);
    const auto step = step_time(choice.work, cluster_, assumptions_);
    if (!memory || !step) {
      out.why_not = memory ? step.error().message : memory.error().message;
      return out;
    }
    out.bytes = std::ranges::max_element(*memory, {}, &RankBytes::total)->total();
    out.slower = step->total / chosen_.step.total - 1;
    out.possible = out.bytes <= cluster_.gpu.memory && std::isfinite(out.slower);
    if (!out.possible) out.why_not = "does not fit";
    if (!std::isfinite(out.slower)) out.slower = 0;
    return out;
  }

  /// The best of those that fit; else the fastest that does not.
  void decide(const std::string& decision, const std::string& now,
              const std::vector<Choice>& choices) {
    const Alternative* best = nullptr;
    std::vector<Alternative> judged;
    for (const Choice& choice : choices) judged.push_back(judge(decision, now, choice));
    for (const Alternative& one : judged) {
      if (best == nullptr || (one.possible && !best->possible) ||
          (one.possible == best->possible && one.bytes > 0 &&
           (best->bytes == 0 || one.slower < best->slower)))
        best = &one;
    }
    if (best != nullptr) out_.push_back(*best);
  }

  const Prediction& chosen_;
  const Cluster& cluster_;
  const TimeAssumptions& assumptions_;
  std::vector<Alternative> out_;
};

}  // namespace

std::vector<Alternative> alternatives(const Prediction& chosen, const Cluster& cluster,
                                      const TimeAssumptions& assumptions) {
  return Decisions(chosen, cluster, assumptions).run();
}

}  // namespace weft::scheduler
