// Rates of the trainer's kernels on this processor, from small real steps.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "runtime/cluster/least_squares.h"
#include "runtime/cluster/probe.h"
#include "runtime/cluster/probe_world.h"
#include "scheduler/cluster/fields.h"
#include "scheduler/time/exchange.h"
#include "scheduler/time/step_end.h"
#include "trainer/kernels/matmul.h"
#include "trainer/optimizer/adamw.h"

namespace weft::runtime {
namespace {

using Steady = std::chrono::steady_clock;
using scheduler::Cluster;
using scheduler::Figure;
using scheduler::PhaseWork;
using scheduler::Unit;
using Talk = std::function<void(const std::string&)>;

double since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

// Seconds of a FLOP of gemm, grouped, attention F and B; of a byte of row-wise kernels, of
// weights and of logits; of a phase.
constexpr std::size_t kUnknowns = 8;

void add_samples(const ProbeRun& run, std::vector<Observation>& out) {
  for (const ProbeRun::Phase& one : run.phases) {
    if (one.step.phase.kind == dualpipe::PhaseKind::Embed) continue;  // microseconds
    const PhaseWork w = scheduler::work_of(run.work, run.stage, one.step, 1);
    const double f32_rows = 2;  // the constants are of BF16 rows
    out.push_back({{w.gemm + w.wide, w.grouped, w.core_forward, w.core_backward, w.bytes * f32_rows,
                    4 * w.weights, w.softmax * f32_rows, 1},
                   one.seconds,
                   1 / one.seconds});
  }
}

/// The rate of one large product with packed weights: FLOP/s.
template <class Number>
double product_rate(double seconds) {
  constexpr int kSize = 512;
  trainer::kernels::Context context;
  std::vector<trainer::Real> weight(kSize * kSize, 0.01f), y(kSize * kSize);
  std::vector<Number> x(kSize * kSize, Number{});
  trainer::kernels::PackedCopy packed;
  const trainer::kernels::Weight view{weight.data(), kSize, kSize, 1, &packed};
  double best = 1e300;
  for (const auto begin = Steady::now(); since(begin) < seconds || best > 1e299;) {
    const auto start = Steady::now();
    trainer::kernels::linear_forward(context, x.data(), kSize, view, y.data());
    best = std::min(best, since(start));
  }
  return 2.0 * kSize * kSize * kSize / best;
}

/// Bytes/s of the optimizer over a few megabytes: as many as a small rank holds.
double update_rate(double seconds) {
  constexpr std::size_t kSize = 1 << 18;
  std::vector<trainer::Real> value(kSize, 0.1f), gradient(kSize, 0.01f), m(kSize), v(kSize);
  std::vector<double> times;
  for (const auto begin = Steady::now(); since(begin) < seconds || times.size() < 3;) {
    const auto start = Steady::now();
    trainer::optimizer::adamw(value, gradient, m, v, {.lr = 1e-6, .step = 1});
    times.push_back(since(start));
  }
  std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
  return kSize * (4.0 + 4 + 4 + 16 + 4) / times[times.size() / 2];
}

/// Runs `body` while the other cores are as busy as in a real run.
template <class Body>
auto loaded(int cores, const Body& body) {
  std::atomic<bool> stop{false};
  std::vector<std::jthread> others;
  for (int i = 1; i < cores; ++i)
    others.emplace_back([&stop] {
      while (!stop) product_rate<trainer::Real>(0.01);
    });
  auto result = body();
  stop = true;
  return result;
}

/// What a world of ranks costs beside its phases.
class StepParts {
 public:
  StepParts(const ProbeOptions& options, Cluster& cluster, const Talk& talk)
      : options_(options),
        cluster_(cluster),
        talk_(talk),
        workers_(options.workers),
        cores_(static_cast<int>(cluster.node.cores.value)) {}

  Expected<void> run() {
    WEFT_TRY(alone());
    const bool runs_follow = !options_.program.empty();
    if (!runs_follow) WEFT_TRY(crowded());
    if (workers_ < 2) return {};
    WEFT_TRY(sums());
    return exchanges();
  }
  const std::vector<Observation>& samples() const { return samples_; }

 private:
  Expected<ProbeRun> probe(ProbeShape shape, int worlds) {
    shape.worlds = worlds;
    return run_probe(shape, cores_, options_.seconds);
  }

  /// Workers with a core each and nobody to wait for: phases, and what each step does to a rank's
  /// own parameters.
  Expected<void> alone() {
    std::vector<Observation> rests;
    for (const ProbeShape& shape : kShapes) {
      WEFT_TRY_ASSIGN(const ProbeRun run, probe(shape, std::min(workers_, cores_)));
      alone_.push_back(run.step);
      add_samples(run, samples_);
      // All shares of the optimizer are this rank's.
      const double bytes = 4 * held(run);
      // A part goes with the phases: their mean above their median.
      rests.push_back({{bytes, 1, run.step - run.rest()},
                       run.rest() - 8 * bytes / cluster_.kernels.update,
                       1 / run.step});
    }
    const std::vector<double> x = least_squares(rests, {1e-13, 0, 0});
    const char* source = "measured: steps of one rank beside their phases and the optimizer";
    cluster_.kernels.touch = {1 / x[0], source};
    cluster_.kernels.step = {x[1], source};
    talk_("weights " + scheduler::figure_text(Unit::Bandwidth, cluster_.kernels.touch) +
          " to clear and pack, " +
          scheduler::figure_text(Unit::Bandwidth, cluster_.kernels.update) + " to update, " +
          scheduler::figure_text(Unit::Time, cluster_.kernels.step) + " a step");
    return {};
  }

  /// The same with all workers at once: what taking turns on a core costs.
  Expected<void> crowded() {
    if (workers_ <= cores_) return {};
    double sum = 0;
    for (std::size_t i = 0; i < std::size(kShapes); ++i) {
      WEFT_TRY_ASSIGN(const ProbeRun run, probe(kShapes[i], workers_));
      sum += run.step / alone_[i];
    }
    cluster_.node.crowding = {std::max(1.0, sum / static_cast<double>(std::size(kShapes))),
                              "measured: steps of all workers over those of one a core"};
    talk_("sharing cores costs " +
          std::to_string(static_cast<int>(std::lround(100 * (cluster_.node.crowding - 1)))) + " %");
    return {};
  }

  /// One world of all workers against as many that have nothing to do with each other: gradients
  /// summed, weights gathered, and what the ranks agree on each step.
  Expected<void> sums() {
    constexpr ProbeShape kSmall{.hidden = 64, .heads = 4, .sequences = 1, .tokens = 16},
        kLarge{.hidden = 256, .heads = 8, .sequences = 1, .tokens = 16};
    double seconds[2], bytes[2];
    for (const int i : {0, 1}) {
      ProbeShape shape = i == 0 ? kSmall : kLarge;
      WEFT_TRY_ASSIGN(const ProbeRun apart, probe(shape, workers_));
      shape.data = workers_;
      WEFT_TRY_ASSIGN(const ProbeRun together, probe(shape, 1));
      const double others = 1.0 - 1.0 / workers_;
      const double all = 4 * held(apart);
      seconds[i] = together.step - apart.step + 8 * all * others / cluster_.kernels.update;
      bytes[i] = 2 * all * others;  // gradients there, weights back
    }
    const double each = (seconds[1] - seconds[0]) / (bytes[1] - bytes[0]);
    cluster_.node.nvlink_bandwidth = {1 / std::max(each, 1e-12),
                                      "measured: gradients summed over all workers"};
    const double alone = cluster_.kernels.step;
    cluster_.kernels.step = {alone + std::max(0.0, seconds[0] - bytes[0] * each),
                             "measured: steps of one world over those of as many alone"};
    talk_("sums " + scheduler::figure_text(Unit::Bandwidth, cluster_.node.nvlink_bandwidth) +
          " a worker, " + scheduler::figure_text(Unit::Time, cluster_.kernels.step) + " a step");
    return {};
  }

  /// Experts over two workers, on a core each where there are two.
  Expected<void> exchanges() {
    constexpr ProbeShape kFew{.sequences = 1, .tokens = 16, .data = 2, .expert = 2},
        kMany{.sequences = 8, .tokens = 64, .data = 2, .expert = 2};
    double seconds[2], bytes[2];
    for (const int i : {0, 1}) {
      WEFT_TRY_ASSIGN(const ProbeRun run, probe(i == 0 ? kFew : kMany, 1));
      seconds[i] = run.exchange;
      bytes[i] =
          scheduler::exchange_cost(run.work, cluster_, scheduler::Direction::Dispatch, 1).bytes;
    }
    const double each = std::max((seconds[1] - seconds[0]) / (bytes[1] - bytes[0]), 1e-12);
    const Figure rate{1 / each, "measured: exchanges of two workers, without waiting"};
    cluster_.exchange = {{2, rate, rate}};
    cluster_.kernels.exchange = {std::max(0.0, seconds[0] - bytes[0] * each), rate.source};
    if (options_.program.empty()) WEFT_TRY(meetings());
    talk_("exchanges " + scheduler::figure_text(Unit::Bandwidth, rate) + ", " +
          scheduler::figure_text(Unit::Time, cluster_.kernels.exchange) + " each");
    return {};
  }

  /// What it costs beside the bytes that all workers meet in each exchange, handing cores to each
  // other: a world with experts shared by pairs against one where everybody has all of them.
  Expected<void> meetings() {
    if (workers_ % 2 != 0) return {};
    ProbeShape shape{.sequences = 1, .tokens = 16, .data = workers_, .layers = 4};
    WEFT_TRY_ASSIGN(const ProbeRun whole, probe(shape, 1));
    shape.expert = 2;
    WEFT_TRY_ASSIGN(const ProbeRun cut, probe(shape, 1));
    const double moved =
        scheduler::exchange_cost(cut.work, cluster_, scheduler::Direction::Dispatch, 1).seconds;
    const double experts = exclusive(whole) - exclusive(cut);
    const int count = 4 * shape.micro_batches * (shape.layers - 1);
    const double more = std::max(0.0, (cut.step - whole.step + experts) / count - moved);
    const char* source =
        "measured: steps of all workers with experts over pairs of them, and without";
    if (workers_ > cores_)
      cluster_.node.handover = {more, source};
    else
      cluster_.kernels.exchange = {cluster_.kernels.exchange + more, source};
    return {};
  }

  /// A rank's own time at the end of a step.
  double exclusive(const ProbeRun& run) const {
    Cluster one = cluster_;
    one.node.cores = {};
    const auto end = scheduler::step_end(run.work, one, {run.stage});
    return end.reduce + end.gather + end.update;
  }

  static double held(const ProbeRun& run) {
    return scheduler::dense_parameters(run.work.model, run.stage) +
           scheduler::expert_parameters(run.work.model, run.stage) / run.work.layout.expert;
  }
  static constexpr ProbeShape kShapes[] = {
      {64, 4, 2, 48}, {128, 8, 2, 40}, {128, 4, 6, 64}, {192, 8, 3, 48}, {256, 8, 2, 64}};
  const ProbeOptions& options_;
  Cluster& cluster_;
  const Talk& talk_;
  int workers_, cores_;
  std::vector<Observation> samples_;
  std::vector<double> alone_;  // steps, by shape
};

void set_rates(const std::vector<Observation>& taken, Cluster& c, const Talk& talk) {
  const std::vector<double> x = least_squares(taken, std::vector<double>(kUnknowns));
  double worst = 0, sum = 0;
  for (const Observation& s : taken) {
    double predicted = 0;
    for (std::size_t k = 0; k < kUnknowns; ++k) predicted += s.work[k] * x[k];
    worst = std::max(worst, std::abs(predicted / s.value - 1));
    sum += std::abs(predicted / s.value - 1);
  }
  const std::string source = "measured: phases of small steps, least squares";
  const double peak = c.gpu.fp32;
  const auto share = [&](double per_flop) {
    return Figure{std::clamp(per_flop > 0 ? 1 / per_flop / peak : 1.0, 1e-6, 1.0), source};
  };
  scheduler::KernelRates& k = c.kernels;
  k.gemm_fp32 = k.gemm_bf16 = share(x[0]);
  k.grouped_gemm_fp32 = k.grouped_gemm_bf16 = share(x[1]);
  k.attention_forward = share(x[2]);
  k.attention_backward = share(x[3]);
  // Small rows may not be told apart from the phases' constant.
  const double rows = 1 / std::max(x[4], 1e-12);
  if (rows > c.gpu.memory_bandwidth) c.gpu.memory_bandwidth = {rows, source + " (rows in caches)"};
  k.memory = {rows / c.gpu.memory_bandwidth, source};
  k.weights = {1 / std::max(x[5], 1e-12), source};
  k.softmax = {1 / std::max(x[6], 1e-12), source};
  k.overhead = {x[7], source};
  talk("kernels: products " + scheduler::figure_text(Unit::Flops, k.gemm_fp32 * peak) +
       ", attention " + scheduler::figure_text(Unit::Flops, k.attention_forward * peak) +
       ", rows " + scheduler::figure_text(Unit::Bandwidth, rows) + ", " +
       scheduler::figure_text(Unit::Time, x[7]) + " a phase; " + std::to_string(taken.size()) +
       " phases, off by " +
       std::to_string(static_cast<int>(100 * sum / static_cast<double>(taken.size()))) +
       " % on average, " + std::to_string(static_cast<int>(100 * worst)) + " % at most");
}

}  // namespace

Expected<void> probe_kernels(const ProbeOptions& options, Cluster& c, const Talk& talk) {
  const int cores = std::min(static_cast<int>(c.node.cores.value), options.workers);
  const std::string how = "a product of 512 x 512 x 512, the other cores busy";
  double peak = loaded(cores, [&] { return product_rate<trainer::Real>(options.seconds); });
  double bf16 = peak;
  if (trainer::kernels::check_bf16_products())
    bf16 = loaded(cores, [&] { return product_rate<Bf16>(options.seconds); });
  c.gpu.fp32 = {peak, "measured: " + how};
  c.gpu.bf16 = {bf16, "measured: " + how};
  talk("products " + scheduler::figure_text(Unit::Flops, peak) + " in F32, " +
       scheduler::figure_text(Unit::Flops, bf16) + " in BF16");
  c.kernels.update = {loaded(cores, [&] { return update_rate(options.seconds / 4); }),
                      "measured: AdamW over 1 MiB, the other cores busy"};
  StepParts parts(options, c, talk);
  WEFT_TRY(parts.run());
  set_rates(parts.samples(), c, talk);
  return {};
}

}  // namespace weft::runtime
