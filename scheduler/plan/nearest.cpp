#include "scheduler/plan/nearest.h"

#include <algorithm>
#include <cmath>

#include "scheduler/plan/legal.h"
#include "scheduler/plan/plan.h"

namespace weft::scheduler {

using dualpipe::Kind;

namespace {

// Layouts whose memory is worked out before giving up; each takes up to a few milliseconds.
constexpr int kTriesMax = 400;
// A decision that changes the numbers (precision) or the batch weighs more than one that does not.
constexpr double kSchedule = 2, kPrecision = 2.5, kBatchLeast = 0.5, kBatchMost = 3;

double steps_apart(double a, double b) { return std::abs(std::log2(a / b)); }

/// How much of a plan a change touches: decisions first, then how far each goes.
double size_of_change(const Work& from, const Work& to) {
  const Layout &a = from.layout, &b = to.layout;
  double size = 0;
  const auto number = [&](double x, double y, double weight) {
    if (x != y) size += weight + 0.1 * steps_apart(x, y);
  };
  number(a.pipeline, b.pipeline, 1.2);
  // Lanes follow from the positions where all GPUs stay in use.
  number(a.data, b.data, a.world() == b.world() ? 0.2 : 1);
  number(a.expert, b.expert, 1);
  number(from.micro_batch_sequences, to.micro_batch_sequences, 1);
  number(a.micro_batches, b.micro_batches, 0.2);
  if (const double x = from.step_sequences(), y = to.step_sequences(); x != y)
    size += std::min(kBatchMost, kBatchLeast + 10 * steps_apart(x, y));
  if (a.kind != b.kind) size += kSchedule;
  if (from.recompute != to.recompute) size += 1;
  if (from.precision != to.precision) size += kPrecision;
  return size;
}

struct Option {
  Work work;
  double size;
};

class Nearest {
 public:
  Nearest(const Inputs& inputs, const Work& work) : inputs_(inputs), work_(work) {}

  std::optional<Work> run() {
    // Near ones first: other schedules and precisions are looked at when no size helps.
    for (const bool wide : {false, true}) {
      options_.clear();
      enumerate(wide);
      std::ranges::stable_sort(options_, {}, &Option::size);
      int tries = 0;
      for (const Option& option : options_) {
        if (!could_fit(option.work)) continue;
        if (++tries > kTriesMax) break;
        if (fits(option.work)) return option.work;
      }
    }
    return std::nullopt;
  }

 private:
  void enumerate(bool wide) {
    const std::vector<Kind> kinds = wide ? all_kinds() : std::vector<Kind>{work_.layout.kind};
    for (const int pipeline : pipelines(wide))
      for (const int expert : expert_sizes())
        for (const int data : lanes(pipeline, expert))
          for (const double together : sequences_together())
            for (const Kind kind : kinds) {
              Work work = work_;
              work.layout = {kind, pipeline, data, expert, 1};
              work.micro_batch_sequences = together;
              for (const int count : micro_batches(work)) {
                work.layout.micro_batches = count;
                add(work, wide);
              }
            }
  }

  void add(Work work, bool wide) {
    if (!legal(work)) return;
    for (const Recompute recompute : {Recompute::None, Recompute::MlaUp, Recompute::Full})
      if (recompute >= work_.recompute) {
        work.recompute = recompute;
        work.precision = work_.precision;
        work.dispatch = work_.dispatch;
        keep(work);
        if (!wide) continue;
        for (const Precision lower : {Precision::BF16, Precision::FP8})
          if (lower > work_.precision && has_precision(lower, inputs_.cluster)) {
            work.precision = work.dispatch = lower;
            keep(work);
          }
      }
  }
  void keep(const Work& work) { options_.push_back({work, size_of_change(work_, work)}); }

  static std::vector<Kind> all_kinds() {
    return {Kind::DualPipe,   Kind::DualPipeV, Kind::ZBV,
            Kind::ZeroBubble, Kind::OneFOneB,  Kind::Interleaved};
  }
  std::vector<int> pipelines(bool wide) const {
    const int now = work_.layout.pipeline;
    const int most = std::min({inputs_.work.model.layers, inputs_.cluster.num_gpus(), 1024});
    std::vector<int> out;
    for (int p = 1; p <= most; ++p)
      if (p == now || (p & (p - 1)) == 0 || (!wide && p <= 128) || std::abs(p - now) <= 1)
        out.push_back(p);
    return out;
  }
  std::vector<int> expert_sizes() const {
    std::vector<int> out = {1};
    for (int e = 2; e <= work_.model.experts; ++e)
      if (work_.model.experts % e == 0) out.push_back(e);
    return out;
  }
  /// As many as there are, as many as the cluster has room for, and what divides the batch.
  std::vector<int> lanes(int pipeline, int expert) const {
    const int most = inputs_.cluster.num_gpus() / pipeline / expert * expert;
    if (most < 1) return {};
    std::vector<int> out = {most};
    const auto consider = [&](int lanes) {
      if (lanes >= 1 && lanes <= most && lanes % expert == 0 && !std::ranges::count(out, lanes))
        out.push_back(lanes);
    };
    const int now = work_.layout.data;
    consider(now);
    consider(std::max(now / expert, 1) * expert);
    if (work_.layout.world() % pipeline == 0) consider(work_.layout.world() / pipeline);
    const double batch = work_.step_sequences();
    for (int lanes = std::min(most, now); lanes >= expert; lanes -= expert)
      if (std::fmod(batch, lanes) == 0) {
        consider(lanes);
        break;
      }
    return out;
  }
  /// What --what-if can say: as it is, or a whole number.
  std::vector<double> sequences_together() const {
    std::vector<double> out = {work_.micro_batch_sequences};
    for (const double other :
         {1.0, 2.0, std::floor(work_.micro_batch_sequences / 2), 2 * work_.micro_batch_sequences})
      if (other >= 1 && other <= kLayoutMax && other == std::floor(other) &&
          !std::ranges::count(out, other))
        out.push_back(other);
    return out;
  }
  /// The same batch, the same count, and the nearest counts that the schedule takes.
  std::vector<int> micro_batches(const Work& work) const {
    std::vector<int> out;
    const auto consider = [&](double count) {
      if (count >= 1 && count <= kLayoutMax && count == std::floor(count) &&
          !std::ranges::count(out, static_cast<int>(count)))
        out.push_back(static_cast<int>(count));
    };
    const int now = work_.layout.micro_batches, ranks = work.layout.pipeline;
    const double same = work_.step_sequences() / work.layout.data / work.micro_batch_sequences;
    for (const double count : {same, std::ceil(same), std::ceil(same) + 1}) consider(count);
    for (const int count : {now, now + 1, now - 1, 2 * ranks}) consider(count);
    return out;
  }

  /// Weights, gradients and optimizer state of an average rank, which nothing makes smaller.
  bool could_fit(const Work& work) const {
    const ModelShape& m = work.model;
    const Layout& l = work.layout;
    double dense = 0, experts = 0;
    for (int layer = 0; layer < m.layers; ++layer) {
      dense += m.block_dense(m.is_moe(layer));
      experts += m.block_experts(m.is_moe(layer));
    }
    const double copies = dualpipe::num_directions(l.kind);
    const double weight =
        work.precision == Precision::F32 || !(inputs_.cluster.gpu.sms > 0) ? 4 : 2;
    return (dense + experts / l.expert) * copies / l.pipeline * (weight + 4) <=
           inputs_.cluster.gpu.memory;
  }
  bool fits(const Work& work) const {
    const auto memory = rank_bytes(work, inputs_.cluster);
    if (!memory || std::ranges::any_of(*memory, [&](const RankBytes& rank) {
          return rank.total() > inputs_.cluster.gpu.memory;
        }))
      return false;
    const auto plan = predict(work, inputs_.cluster, inputs_.assumptions);
    return plan && plan->fits;
  }

  const Inputs& inputs_;
  const Work& work_;
  std::vector<Option> options_;
};

}  // namespace

std::optional<Work> nearest_layout(const Inputs& inputs, const Work& from) {
  return Nearest(inputs, from).run();
}

}  // namespace weft::scheduler
