#include "scheduler/plan/search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>

#include "scheduler/plan/legal.h"
#include "scheduler/time/exchange.h"

namespace weft::scheduler {

using dualpipe::Kind;

namespace {

constexpr std::array kKinds = {Kind::DualPipe,   Kind::DualPipeV, Kind::ZBV,
                               Kind::ZeroBubble, Kind::OneFOneB,  Kind::Interleaved};
constexpr std::array kRecomputes = {Recompute::None, Recompute::MlaUp, Recompute::Full};

std::vector<int> divisors(int n, int most) {
  std::vector<int> out;
  for (int d = 1; d <= std::min(n, most); ++d)
    if (n % d == 0) out.push_back(d);
  return out;
}

/// `work` with another number of lanes and micro-batch size, the global batch unchanged; false when
/// it does not divide.
bool set_batch(Work& work, double sequences, int data, int micro_batch_sequences) {
  const double count = sequences / data / micro_batch_sequences;
  if (count < 1 || count != std::floor(count)) return false;
  work.layout.data = data;
  work.micro_batch_sequences = micro_batch_sequences;
  work.layout.micro_batches = static_cast<int>(count);
  return true;
}

/// Seconds of compute of the busiest position: what no schedule can beat.
double compute_bound(const Work& work, const Cluster& cluster, const TimeAssumptions& assumptions) {
  // The positions share the layers' compute at best evenly.
  double pass = 0;
  const auto add = [&](const StageBlocks& stage, double times) {
    for (const auto way : {dualpipe::Pass::Forward, dualpipe::Pass::Backward})
      for (const dualpipe::Phase& phase : stage_phases(work, stage, way))
        if (!dualpipe::communicates(phase))
          pass +=
              times * phase_seconds(work, cluster, stage, {way == dualpipe::Pass::Backward, phase},
                                    true, assumptions);
  };
  const int moe = work.model.experts > 0 ? work.model.layers - work.model.dense_layers : 0;
  if (work.model.layers > moe) add({.dense = 1}, work.model.layers - moe);
  if (moe > 0) add({.moe = 1}, moe);
  return pass * work.layout.micro_batches / work.layout.pipeline;
}

/// Weights, gradients and optimizer state of the average rank: what no recomputation makes smaller.
double state_bound(const Work& work, const Cluster& cluster) {
  const ModelShape& m = work.model;
  const Layout& l = work.layout;
  const double copies = dualpipe::num_directions(l.kind);
  double dense = 0, experts = 0;
  for (int layer = 0; layer < m.layers; ++layer) {
    dense += m.block_dense(m.is_moe(layer));
    experts += m.block_experts(m.is_moe(layer));
  }
  const double weight = work.precision == Precision::F32 || !(cluster.gpu.sms > 0) ? 4 : 2;
  return (dense + experts / l.expert) * copies / l.pipeline * (weight + 4);
}

struct Bounded {
  Work work;
  double bound;
};

std::vector<Precision> precisions(const Work& work, const Cluster& cluster) {
  if (work.precision == Precision::F32) return {Precision::F32};
  if (cluster.gpu.fp8 > 0) return {Precision::FP8, Precision::BF16};
  return {Precision::BF16};
}

class Search {
 public:
  Search(const Work& work, const Cluster& cluster, const TimeAssumptions& assumptions,
         const SearchOptions& options)
      : base_(work), cluster_(cluster), assumptions_(assumptions), options_(options) {}

  Expected<SearchResult> run() {
    enumerate();
    std::ranges::stable_sort(candidates_, {}, &Bounded::bound);
    for (const Bounded& candidate : candidates_) {
      if (full() && candidate.bound > result_.best.back().step_seconds) {
        ++result_.too_slow;
        continue;
      }
      look_at(candidate.work);
    }
    result_.considered = static_cast<int>(candidates_.size()) + ruled_out_;
    result_.too_large += ruled_out_;
    if (result_.best.empty())
      return fail(Code::InvalidArgument, "no layout of " + std::to_string(gpus()) + " " +
                                             cluster_.gpu.name +
                                             " holds the model: the smallest needs " +
                                             gigabytes(smallest_) + " a GPU; take more GPUs");
    mark_dominated();
    add_notes();
    return std::move(result_);
  }

 private:
  static std::string gigabytes(double bytes) {
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), "%.3g GB", bytes / 1e9);
    return text.data();
  }
  int gpus() const { return options_.gpus > 0 ? options_.gpus : base_.layout.world(); }
  bool full() const { return static_cast<int>(result_.best.size()) >= options_.keep; }

  void enumerate() {
    const double sequences = base_.step_sequences();
    for (const int pipeline : divisors(gpus(), std::min(64, base_.model.layers)))
      for (const int expert : expert_sizes(gpus() / pipeline))
        for (const Kind kind : kKinds)
          for (const int together : {1, 2, 4})
            for (const Recompute recompute : kRecomputes)
              for (const Precision precision : precisions(base_, cluster_)) {
                Work work = base_;
                work.layout.pipeline = pipeline;
                work.layout.expert = expert;
                work.layout.kind = kind;
                work.recompute = recompute;
                work.precision = precision;
                work.dispatch = precision;
                if (!set_batch(work, sequences, gpus() / pipeline, together) || !legal(work))
                  continue;
                add(work);
              }
  }

  std::vector<int> expert_sizes(int lanes) const {
    std::vector<int> out;
    for (const int e : divisors(lanes, std::max(1, base_.model.experts)))
      if (base_.model.experts == 0 ? e == 1 : base_.model.experts % e == 0) out.push_back(e);
    return out;
  }

  void add(const Work& work) {
    const double state = state_bound(work, cluster_);
    if (state > cluster_.gpu.memory) {
      ++ruled_out_;
      smallest_ = std::min(smallest_, state);
      return;
    }
    const auto key = std::tuple(work.layout.pipeline, work.layout.expert, work.layout.data,
                                work.micro_batch_sequences, work.recompute, work.precision);
    const auto [found, is_new] = bounds_.try_emplace(key);
    if (is_new) found->second = compute_bound(work, cluster_, assumptions_);
    candidates_.push_back({work, found->second});
  }

  void look_at(const Work& work) {
    const auto memory = rank_bytes(work, cluster_);
    if (!memory) return;
    const double peak = std::ranges::max_element(*memory, {}, &RankBytes::total)->total();
    if (peak > cluster_.gpu.memory) {
      ++result_.too_large;
      smallest_ = std::min(smallest_, peak);
      note_large(work, peak);
      return;
    }
    const auto step = step_time(work, cluster_, assumptions_);
    if (!step) return;
    Candidate candidate{work,
                        step->total,
                        peak,
                        step->bubble / step->total,
                        step->exposed_exchange / step->total,
                        work.step_tokens() / step->total,
                        -1};
    auto& best = result_.best;
    const auto at =
        std::ranges::upper_bound(best, candidate.step_seconds, {}, &Candidate::step_seconds);
    best.insert(at, std::move(candidate));
    if (static_cast<int>(best.size()) > options_.keep) best.pop_back();
  }

  void note_large(const Work& work, double peak) {
    double& least = least_peak_[work.recompute];
    if (least == 0 || peak < least) least = peak;
    ++large_[work.recompute];
  }

  void mark_dominated() {
    auto& best = result_.best;
    for (std::size_t i = 0; i < best.size(); ++i)
      for (std::size_t k = 0; k < i && best[i].dominated_by < 0; ++k)
        if (best[k].peak_bytes <= best[i].peak_bytes) best[i].dominated_by = static_cast<int>(k);
  }

  void add_notes() {
    for (const auto& [recompute, count] : large_)
      result_.notes.push_back(
          std::to_string(count) + " layouts with recompute " + std::string(to_string(recompute)) +
          " do not fit; the smallest of them needs " + gigabytes(least_peak_[recompute]));
    if (ruled_out_ > 0)
      result_.notes.push_back(std::to_string(ruled_out_) +
                              " more hold too many parameters a GPU, whatever is recomputed");
    if (result_.too_slow > 0)
      result_.notes.push_back(std::to_string(result_.too_slow) +
                              " were left out as their compute alone takes longer than the last "
                              "of these");
  }

  const Work& base_;
  const Cluster& cluster_;
  const TimeAssumptions& assumptions_;
  const SearchOptions& options_;
  std::vector<Bounded> candidates_;
  std::map<std::tuple<int, int, int, double, Recompute, Precision>, double> bounds_;
  std::map<Recompute, double> least_peak_;
  std::map<Recompute, int> large_;
  SearchResult result_;
  int ruled_out_ = 0;
  double smallest_ = 1e300;
};

}  // namespace

Expected<SearchResult> search(const Work& work, const Cluster& cluster,
                              const TimeAssumptions& assumptions, const SearchOptions& options) {
  return Search(work, cluster, assumptions, options).run();
}

}  // namespace weft::scheduler
