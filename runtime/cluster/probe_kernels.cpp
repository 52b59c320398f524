// Rates of the trainer's kernels on this processor.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "base/rng.h"
#include "comm/communicator.h"
#include "runtime/cluster/probe.h"
#include "runtime/plan/work_of_job.h"
#include "scheduler/cluster/fields.h"
#include "scheduler/time/phase_work.h"
#include "trainer/kernels/matmul.h"
#include "trainer/model/stage_model.h"

namespace weft::runtime {
namespace {

using Steady = std::chrono::steady_clock;
using dualpipe::Part;
using dualpipe::PhaseKind;
using scheduler::Figure;
using scheduler::PhaseWork;
using scheduler::Unit;
using trainer::StageModel;

double since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

constexpr int kUnknowns =
    6;  // seconds of a FLOP of gemm, grouped, attention F and B; of a byte; constant
using Row = std::array<double, kUnknowns>;

struct Sample {
  Row work;
  double seconds;
};

struct Shape {
  int hidden, heads, sequences, tokens;
};

trainer::ModelConfig config_of(const Shape& shape) {
  trainer::ModelConfig c;
  c.hidden_size = shape.hidden;
  c.intermediate_size = 2 * shape.hidden;
  c.moe_intermediate_size = 3 * shape.hidden / 4;
  c.num_attention_heads = shape.heads;
  c.num_hidden_layers = 2;
  c.first_k_dense_replace = 1;
  c.qk_rope_head_dim = 16;
  c.max_position_embeddings = std::max(256, shape.tokens);
  return c;
}

trainer::MicroBatch batch_of(const Shape& shape, int vocab) {
  trainer::MicroBatch batch;
  batch.sequence_begin = {0};
  Rng rng(1, "probe");
  for (int s = 0; s < shape.sequences; ++s) {
    for (int t = 0; t < shape.tokens; ++t) {
      batch.tokens.push_back(static_cast<int>(rng.below(static_cast<std::uint32_t>(vocab))));
      batch.positions.push_back(t);
      batch.targets.push_back(static_cast<int>(rng.below(static_cast<std::uint32_t>(vocab))));
      batch.weight.push_back(1.0f);
    }
    batch.sequence_begin.push_back(batch.num_tokens());
    batch.sequence_id.push_back(s);
  }
  return batch;
}

/// Every phase of one forward and backward through two blocks, timed.
class Pass {
 public:
  Pass(const Shape& shape, trainer::Precision precision)
      : config_(config_of(shape)), batch_(batch_of(shape, config_.vocab_size)) {
    const std::vector<comm::GroupSpec> specs = {{"experts", {0}}};
    group_ = std::move(transport_->make_groups(specs).value()[0]);
    model_ = std::make_unique<StageModel>(config_, trainer::StageSpec{0, 2, true, true, 0}, *group_,
                                          context_, batch_.num_tokens(), trainer::Recompute::None,
                                          comm::ExchangeOptions{}, precision);
    model_->initialize(1);
    batches_ = {batch_};
  }

  /// Seconds by (kind, part, layer), the least of `rounds`.
  Expected<void> run(double seconds) {
    int round = 0;
    for (const auto begin = Steady::now(); round < 3 || since(begin) < seconds; ++round) {
      model_->set_micro_batches(batches_);
      WEFT_TRY(forward());
      WEFT_TRY(backward());
      model_->release(0);
    }
    return {};
  }

  struct Timed {
    dualpipe::PhaseStep step;
    double seconds = 1e300;
  };
  const std::vector<Timed>& timed() const { return timed_; }
  const trainer::ModelConfig& config() const { return config_; }

 private:
  template <class Body>
  void time(bool backward, PhaseKind kind, Part part, int layer, const Body& body) {
    const dualpipe::PhaseStep step{backward, {kind, layer, part}};
    const auto begin = Steady::now();
    body();
    const double seconds = since(begin);
    for (Timed& one : timed_)
      if (one.step == step) {
        one.seconds = std::min(one.seconds, seconds);
        return;
      }
    timed_.push_back({step, seconds});
  }

  Expected<void> forward() {
    StageModel& m = *model_;
    m.embed(0);
    for (int layer = 0; layer < 2; ++layer) {
      time(false, PhaseKind::Attention, Part::Whole, layer, [&] { m.attention(0, layer); });
      if (layer == 1) {
        WEFT_TRY(m.begin_dispatch(0, layer));
        WEFT_TRY(m.end_dispatch(0, layer));
      }
      time(false, PhaseKind::Experts, Part::Whole, layer, [&] { m.experts(0, layer); });
      if (layer == 1) {
        WEFT_TRY(m.begin_combine(0, layer));
        WEFT_TRY(m.end_combine(0, layer));
      }
    }
    time(false, PhaseKind::Head, Part::Whole, 1, [&] { m.head(0); });
    return {};
  }

  Expected<void> backward() {
    StageModel& m = *model_;
    time(true, PhaseKind::Head, Part::Input, 1, [&] { m.head_backward_input(0); });
    time(true, PhaseKind::Head, Part::Weights, 1, [&] { m.head_backward_weights(0); });
    for (int layer = 1; layer >= 0; --layer) {
      if (layer == 1) {
        WEFT_TRY(m.begin_combine_backward(0, layer));
        WEFT_TRY(m.end_combine_backward(0, layer));
      }
      time(true, PhaseKind::Experts, Part::Input, layer,
           [&] { m.experts_backward_input(0, layer); });
      time(true, PhaseKind::Experts, Part::Weights, layer,
           [&] { m.experts_backward_weights(0, layer); });
      if (layer == 1) {
        WEFT_TRY(m.begin_dispatch_backward(0, layer));
        WEFT_TRY(m.end_dispatch_backward(0, layer));
      }
      time(true, PhaseKind::Attention, Part::Input, layer,
           [&] { m.attention_backward_input(0, layer); });
      time(true, PhaseKind::Attention, Part::Weights, layer,
           [&] { m.attention_backward_weights(0, layer); });
    }
    m.embed_backward(0);
    return {};
  }

  trainer::ModelConfig config_;
  trainer::MicroBatch batch_;
  std::vector<trainer::MicroBatch> batches_;
  std::unique_ptr<comm::Transport> transport_ = comm::make_self_transport();
  std::unique_ptr<comm::Communicator> group_;
  trainer::kernels::Context context_;
  std::unique_ptr<StageModel> model_;
  std::vector<Timed> timed_;
};

/// Minimises the relative errors over unknowns that cannot be negative, one at a time in turn.
Row solve(const std::vector<Sample>& samples) {
  std::array<Row, kUnknowns> products{};  // of the columns, each row divided by its time
  Row sums{};
  for (const Sample& s : samples)
    for (std::size_t k = 0; k < kUnknowns; ++k) {
      const double column = s.work[k] / s.seconds;
      sums[k] += column;
      for (std::size_t j = 0; j < kUnknowns; ++j) products[k][j] += column * s.work[j] / s.seconds;
    }
  Row x{};
  for (int sweep = 0; sweep < 20'000; ++sweep)
    for (std::size_t k = 0; k < kUnknowns; ++k) {
      double rest = sums[k];
      for (std::size_t j = 0; j < kUnknowns; ++j)
        if (j != k) rest -= products[k][j] * x[j];
      if (products[k][k] > 0) x[k] = std::max(0.0, rest / products[k][k]);
    }
  return x;
}

Expected<std::vector<Sample>> samples_of(double seconds, trainer::Precision precision) {
  constexpr Shape kShapes[] = {{128, 8, 2, 40}, {128, 8, 3, 64}, {128, 8, 8, 64}, {256, 8, 4, 128}};
  std::vector<Sample> out;
  for (const Shape& shape : kShapes) {
    Pass pass(shape, precision);
    WEFT_TRY(pass.run(seconds));
    scheduler::Work work;
    work.model = shape_of(pass.config());
    work.sequence = shape.tokens;
    work.micro_batch_sequences = shape.sequences;
    work.precision = precision == trainer::Precision::F32 ? scheduler::Precision::F32
                                                          : scheduler::Precision::BF16;
    const scheduler::StageBlocks stage{.dense = 1, .moe = 1, .first = true, .last = true};
    for (const Pass::Timed& one : pass.timed()) {
      const PhaseWork w = scheduler::work_of(work, stage, one.step, 1);
      const double width = precision == trainer::Precision::F32 ? 2 : 1;
      out.push_back(
          {{w.gemm + w.wide, w.grouped, w.core_forward, w.core_backward, w.bytes * width, 1},
           one.seconds});
    }
  }
  return out;
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

}  // namespace

Expected<void> probe_kernels(const ProbeOptions& options, scheduler::Cluster& c,
                             const std::function<void(const std::string&)>& talk) {
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
  auto samples =
      loaded(cores, [&] { return samples_of(options.seconds, trainer::Precision::F32); });
  WEFT_TRY_ASSIGN(const std::vector<Sample> taken, std::move(samples));
  const Row x = solve(taken);
  double worst = 0, sum = 0;
  for (const Sample& s : taken) {
    double predicted = 0;
    for (std::size_t k = 0; k < kUnknowns; ++k) predicted += s.work[k] * x[k];
    worst = std::max(worst, std::abs(predicted / s.seconds - 1));
    sum += std::abs(predicted / s.seconds - 1);
  }
  const std::string source = "measured: phases of small blocks, least squares";
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
  k.overhead = {x[5], source};
  talk("kernels: products " + scheduler::figure_text(Unit::Flops, k.gemm_fp32 * peak) +
       ", attention " + scheduler::figure_text(Unit::Flops, k.attention_forward * peak) +
       ", rows " + scheduler::figure_text(Unit::Bandwidth, rows) + ", " +
       scheduler::figure_text(Unit::Time, x[5]) + " a phase; " + std::to_string(taken.size()) +
       " phases, off by " +
       std::to_string(static_cast<int>(100 * sum / static_cast<double>(taken.size()))) +
       " % on average, " + std::to_string(static_cast<int>(100 * worst)) + " % at most");
  return {};
}

}  // namespace weft::runtime
