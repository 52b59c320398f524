// What steps of engines in threads take on this processor: their kernels, and the rest of a step.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <span>
#include <thread>

#include "runtime/cluster/kernel_rates.h"
#include "runtime/cluster/least_squares.h"
#include "runtime/cluster/probe.h"
#include "runtime/cluster/probe_world.h"
#include "scheduler/cluster/fields.h"
#include "scheduler/time/exchange.h"
#include "scheduler/time/step_end.h"
#include "trainer/kernels/fp8_linear.h"
#include "trainer/kernels/matmul.h"
#include "trainer/optimizer/adamw.h"

namespace weft::runtime {
namespace {

using Steady = std::chrono::steady_clock;
using scheduler::Cluster;
using scheduler::Figure;
using scheduler::Precision;
using scheduler::Unit;
using Talk = std::function<void(const std::string&)>;

double since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

/// Of one large product.
int size_of(double seconds) { return seconds < kQuickLook ? 64 : 512; }

/// `product` with a packed weight, the best of many: FLOP/s.
template <class Number, class Product>
double best_rate(double seconds, const Product& product) {
  const int size = size_of(seconds);
  const auto all = static_cast<std::size_t>(size) * static_cast<std::size_t>(size);
  trainer::kernels::Context context;
  std::vector<trainer::Real> weight(all, 0.01f), y(all);
  std::vector<Number> x(all, Number{});
  trainer::kernels::PackedCopy packed;
  const trainer::kernels::Weight view{weight.data(), size, size, 1, &packed};
  double best = 1e300;
  for (const auto begin = Steady::now(); since(begin) < seconds || best > 1e299;) {
    const auto start = Steady::now();
    product(context, x.data(), view, y.data());
    best = std::min(best, since(start));
  }
  return 2.0 * size * static_cast<double>(all) / best;
}

template <class Number>
double product_rate(double seconds) {
  return best_rate<Number>(seconds, [](auto& context, const Number* x, const auto& w, auto* y) {
    trainer::kernels::linear_forward(context, x, w.in, w, y);
  });
}

/// Rows are quantised as in a phase; the weight is, once.
double fp8_rate(double seconds) {
  return best_rate<Bf16>(seconds, [](auto& context, const Bf16* x, const auto& w, auto* y) {
    trainer::kernels::fp8_forward(context, x, w.in, w, trainer::kernels::Fp8Scale::Fp32, y);
  });
}

/// Bytes/s of the optimizer over a few megabytes: as many as a small rank holds.
double update_rate(double seconds) {
  constexpr std::size_t kHeld = 1 << 18;
  std::vector<trainer::Real> value(kHeld, 0.1f), gradient(kHeld, 0.01f), m(kHeld), v(kHeld);
  std::vector<double> times;
  for (const auto begin = Steady::now(); since(begin) < seconds || times.size() < 3;) {
    const auto start = Steady::now();
    trainer::optimizer::adamw(value, gradient, m, v, {.lr = 1e-6, .step = 1});
    times.push_back(since(start));
  }
  std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
  return kHeld * (4.0 + 4 + 4 + 16 + 4) / times[times.size() / 2];
}

/// Bytes/s of clearing a few megabytes.
double clear_rate() {
  std::vector<float> some(1 << 20, 1.0f);
  double best = 0;
  for (int round = 0; round < 8; ++round) {
    const auto start = Steady::now();
    std::fill(some.begin(), some.end(), 0.0f);
    best = std::max(best, 4.0 * static_cast<double>(some.size()) / std::max(since(start), 1e-9));
    some[static_cast<std::size_t>(round)] = 1;
  }
  return best;
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
    if (trainer::kernels::check_bf16_products())
      for (const Precision precision : {Precision::BF16, Precision::FP8})
        WEFT_TRY(narrow(precision));
    const bool runs_follow = !options_.program.empty();
    if (!runs_follow) WEFT_TRY(crowded());
    if (workers_ < 2) return {};
    WEFT_TRY(sums());
    return exchanges();
  }

 private:
  Expected<ProbeRun> probe(ProbeShape shape, int worlds) {
    shape.worlds = worlds;
    return run_probe(shape, cores_, options_.seconds);
  }

  /// Workers with a core each and nobody to wait for: phases, and what each step does to a rank's
  /// own parameters.
  Expected<void> alone() {
    std::vector<ProbeRun> runs;
    std::vector<Observation> rests;
    for (const ProbeShape& shape : shapes()) {
      WEFT_TRY_ASSIGN(const ProbeRun run, probe(shape, std::min(workers_, cores_)));
      alone_.push_back(run.step);
      // All shares of the optimizer are this rank's. A part goes with the phases: their mean above
      // their median.
      const double update = 8 * 4 * held(run) / cluster_.kernels.update;
      rests.push_back({{1, run.step - run.rest()}, run.rest() - update, 1 / run.step});
      runs.push_back(run);
    }
    set_rates(runs, Precision::F32, cluster_, talk_);
    cluster_.kernels.touch = touch_of(runs);
    cluster_.kernels.step = {least_squares(rests, {0, 0})[0],
                             "measured: steps of one rank beside their phases and the optimizer"};
    talk_("weights " + scheduler::rounded_text(Unit::Bandwidth, cluster_.kernels.touch) +
          " to clear and pack, " +
          scheduler::rounded_text(Unit::Bandwidth, cluster_.kernels.update) + " to update, " +
          scheduler::rounded_text(Unit::Time, cluster_.kernels.step) + " a step");
    return {};
  }

  /// What phases take more that find their weights changed; and clearing gradients, which no phase
  /// records.
  Figure touch_of(const std::vector<ProbeRun>& runs) const {
    std::vector<Observation> packed;
    for (const ProbeRun& run : runs) {
      const double bytes = 4 * held(run);
      const double clear = bytes / clear_rate_;
      packed.push_back({{bytes}, run.packing + clear, 1 / std::max(run.packing + clear, 1e-9)});
    }
    return {1 / least_squares(packed, {1e-13})[0],
            "measured: a step's first phases beside its others, and clearing"};
  }

  /// The same in another precision. What a step costs that depends on nothing is as in F32.
  Expected<void> narrow(Precision precision) {
    std::vector<ProbeRun> runs;
    for (ProbeShape shape : shapes()) {
      shape.precision = precision;
      WEFT_TRY_ASSIGN(const ProbeRun run, probe(shape, std::min(workers_, cores_)));
      runs.push_back(run);
    }
    set_rates(runs, precision, cluster_, talk_);
    (precision == Precision::BF16 ? cluster_.bf16 : cluster_.fp8).touch = touch_of(runs);
    return {};
  }

  /// The same with all workers at once: what taking turns on a core costs.
  Expected<void> crowded() {
    if (workers_ <= cores_) return {};
    double sum = 0;
    for (std::size_t i = 0; i < shapes().size(); ++i) {
      WEFT_TRY_ASSIGN(const ProbeRun run, probe(shapes()[i], workers_));
      sum += run.step / alone_[i];
    }
    cluster_.node.crowding = {std::max(1.0, sum / static_cast<double>(shapes().size())),
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
      if (i == 1 && options_.seconds < kQuickLook) shape.hidden = 128;
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
    talk_("sums " + scheduler::rounded_text(Unit::Bandwidth, cluster_.node.nvlink_bandwidth) +
          " a worker, " + scheduler::rounded_text(Unit::Time, cluster_.kernels.step) + " a step");
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
    talk_("exchanges " + scheduler::rounded_text(Unit::Bandwidth, rate) + ", " +
          scheduler::rounded_text(Unit::Time, cluster_.kernels.exchange) + " each");
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
  /// Those that differ most come first.
  std::span<const ProbeShape> shapes() const {
    static constexpr ProbeShape kShapes[] = {{64, 4, 2, 48},  {128, 4, 6, 64},  {192, 8, 3, 48},
                                             {128, 8, 2, 24}, {128, 4, 2, 160}, {256, 8, 2, 64}};
    return std::span(kShapes).first(options_.seconds < kQuickLook ? 2 : std::size(kShapes));
  }
  const ProbeOptions& options_;
  Cluster& cluster_;
  const Talk& talk_;
  int workers_, cores_;
  double clear_rate_ = clear_rate();
  std::vector<double> alone_;  // steps, by shape
};

}  // namespace

Expected<void> probe_kernels(const ProbeOptions& options, Cluster& c, const Talk& talk) {
  const int cores = std::min(static_cast<int>(c.node.cores.value), options.workers);
  const std::string how = "a product of 512 x 512 x 512, the other cores busy";
  const auto peak = [&](const auto& rate) {
    return Figure{loaded(cores, [&] { return rate(options.seconds); }), "measured: " + how};
  };
  c.gpu.bf16 = c.gpu.fp32 = peak(product_rate<trainer::Real>);
  if (trainer::kernels::check_bf16_products()) {
    c.gpu.bf16 = peak(product_rate<Bf16>);
    c.gpu.fp8 = peak(fp8_rate);
  }
  talk("products " + scheduler::rounded_text(Unit::Flops, c.gpu.fp32) + " in F32, " +
       scheduler::rounded_text(Unit::Flops, c.gpu.bf16) + " in BF16" +
       (c.gpu.fp8.given() ? ", " + scheduler::rounded_text(Unit::Flops, c.gpu.fp8) + " in FP8"
                          : ""));
  c.kernels.update = {loaded(cores, [&] { return update_rate(options.seconds / 4); }),
                      "measured: AdamW over 1 MiB, the other cores busy"};
  return StepParts(options, c, talk).run();
}

}  // namespace weft::runtime
