// Tokens per second of a training step and of cached decoding at the main job's shape, as a ratio
// to the floating-point limit: dnnl_sgemm over the same products, measured in the same run.
//
//   model_bench [threads] [f32|bf16]
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "base/rng.h"
#include "comm/communicator.h"
#include "tests/bench/limit.h"
#include "trainer/model/stage_model.h"
#include "trainer/optimizer/adamw.h"

namespace weft::trainer {
namespace {

/// Seconds of this process's processor time: with one thread, what the work costs however busy the
/// machine is. With more threads: wall time, to be read on a quiet machine only.
bool use_wall_time = false;
Precision precision = Precision::F32;
double now() {
  timespec t{};
  clock_gettime(use_wall_time ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Seconds of the fastest of `repeats` calls.
template <class Run>
double best_of(int repeats, const Run& run) {
  double best = 1e9;
  for (int i = 0; i < repeats; ++i) {
    const double begin = now();
    run();
    best = std::min(best, now() - begin);
  }
  return best;
}

using bench::Limit;

MicroBatch make_batch(const ModelConfig& c, int sequences, int length, std::uint64_t seed) {
  MicroBatch b;
  b.sequence_begin = {0};
  Rng rng(seed, "bench");
  for (int s = 0; s < sequences; ++s) {
    for (int p = 0; p < length; ++p) {
      b.tokens.push_back(static_cast<int>(rng.below(static_cast<std::uint32_t>(c.vocab_size))));
      b.targets.push_back(static_cast<int>(rng.below(static_cast<std::uint32_t>(c.vocab_size))));
      b.positions.push_back(p);
      b.weight.push_back(1e-3f);
    }
    b.sequence_begin.push_back(b.num_tokens());
    b.sequence_id.push_back(s);
    b.cache_row.push_back(s);
  }
  return b;
}

struct Timer {
  double attention = 0, experts = 0, exchange = 0, head = 0, weights = 0;
};

template <class Run>
void timed(double& sum, const Run& run) {
  const double begin = now();
  run();
  sum += now() - begin;
}

void must(const Expected<void>& result) {
  if (result) return;
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

void forward(StageModel& model, int slot, Timer& t) {
  timed(t.head, [&] { model.embed(slot); });
  for (int l = 0; l < model.spec().num_layers; ++l) {
    const bool moe = model.config().is_moe(l);
    timed(t.attention, [&] { model.attention(slot, l); });
    if (moe) {
      timed(t.exchange, [&] {
        must(model.begin_dispatch(slot, l));
        must(model.end_dispatch(slot, l));
      });
    }
    timed(t.experts, [&] { model.experts(slot, l); });
    if (moe) {
      timed(t.exchange, [&] {
        must(model.begin_combine(slot, l));
        must(model.end_combine(slot, l));
      });
    }
  }
  if (model.spec().head) timed(t.head, [&] { model.head(slot); });
}

void again(StageModel& model, int slot, int layer, bool moe, Timer& t) {
  timed(t.attention, [&] { model.attention_again(slot, layer); });
  if (moe) {
    timed(t.exchange, [&] {
      must(model.begin_dispatch_again(slot, layer));
      must(model.end_dispatch_again(slot, layer));
    });
  }
  timed(t.experts, [&] { model.experts_again(slot, layer); });
}

void backward(StageModel& model, int slot, Timer& t) {
  if (model.spec().head) {
    timed(t.head, [&] { model.head_backward_input(slot); });
    timed(t.weights, [&] { model.head_backward_weights(slot); });
  }
  for (int l = model.spec().num_layers - 1; l >= 0; --l) {
    const bool moe = model.config().is_moe(l);
    if (model.recompute() == Recompute::Full) again(model, slot, l, moe, t);
    if (moe) {
      timed(t.exchange, [&] {
        must(model.begin_combine_backward(slot, l));
        must(model.end_combine_backward(slot, l));
      });
    }
    timed(t.experts, [&] { model.experts_backward_input(slot, l); });
    timed(t.weights, [&] { model.experts_backward_weights(slot, l); });
    if (moe) {
      timed(t.exchange, [&] {
        must(model.begin_dispatch_backward(slot, l));
        must(model.end_dispatch_backward(slot, l));
      });
    }
    timed(t.attention, [&] { model.attention_backward_input(slot, l); });
    timed(t.weights, [&] { model.attention_backward_weights(slot, l); });
  }
  timed(t.weights, [&] { model.embed_backward(slot); });
}

void bench_training(const ModelConfig& c, int threads, int sequences, int length, int slots) {
  auto transport = comm::make_self_transport();
  const std::vector<comm::GroupSpec> specs = {{"experts", {0}}};
  auto groups = std::move(transport->make_groups(specs).value());
  kernels::Context context(threads);
  const int m = sequences * length;
  StageModel model(c, {0, c.num_hidden_layers, true, true}, *groups[0], context, m, Recompute::None,
                   {}, precision);
  model.initialize(1);
  std::vector<MicroBatch> batches;
  for (int i = 0; i < slots; ++i) {
    batches.push_back(make_batch(c, sequences, length, static_cast<std::uint64_t>(i)));
  }
  auto& set = model.parameters();
  std::vector<float> first(set.values().size()), second(first);
  optimizer::AdamWOptions options;
  Timer timer;
  const auto step = [&] {
    model.set_micro_batches(batches);
    for (int slot = 0; slot < slots; ++slot) {
      forward(model, slot, timer);
      backward(model, slot, timer);
      model.release(slot);
    }
    optimizer::adamw(set.values(), set.gradients(), first, second, options);
    set.touch();
    set.zero_gradients();
  };
  for (int warm = 0; warm < 5; ++warm) step();
  timer = {};
  constexpr int kRepeats = 20;
  const double began = now();
  const double best = best_of(kRepeats, step);
  const double mean = (now() - began) / kRepeats;
  Limit limit(c, m);
  omp_set_num_threads(threads);
  limit.run_step();
  const double bound = slots * best_of(2 * kRepeats, [&] { limit.run_step(); });
  std::printf(
      "train  %d x %-3d tokens x %d, hidden %d, %d layers: %8.0f tokens/s, limit %8.0f, "
      "ratio %.2f  (%.1f GFLOP/s of %.1f)\n",
      sequences, length, slots, c.hidden_size, c.num_hidden_layers, slots * m / best,
      slots * m / bound, bound / best, slots * limit.flops() / best * 1e-9,
      slots * limit.flops() / bound * 1e-9);
  const double all = mean * kRepeats;
  std::printf(
      "       attention %.0f %%  experts %.0f %%  exchange %.0f %%  head %.0f %%  weight "
      "gradients %.0f %%  rest %.0f %%\n",
      100 * timer.attention / all, 100 * timer.experts / all, 100 * timer.exchange / all,
      100 * timer.head / all, 100 * timer.weights / all,
      100 * (all - timer.attention - timer.experts - timer.exchange - timer.head - timer.weights) /
          all);
}

/// The three modes side by side, `in_flight` micro-batches at once as a pipeline's first rank holds
/// them. Bytes are counted, not measured.
void bench_recomputation(const ModelConfig& c, int sequences, int length, int in_flight) {
  auto transport = comm::make_self_transport();
  const std::vector<comm::GroupSpec> specs = {{"experts", {0}}};
  auto groups = std::move(transport->make_groups(specs).value());
  kernels::Context context(1);
  const int m = sequences * length, slots = 2 * in_flight;
  std::vector<MicroBatch> batches;
  for (int i = 0; i < slots; ++i) {
    batches.push_back(make_batch(c, sequences, length, static_cast<std::uint64_t>(i)));
  }
  struct Run {
    std::unique_ptr<StageModel> model;
    std::size_t kept = 0;
    double best = 1e9;
  };
  std::vector<Run> runs;
  Timer timer;
  for (const Recompute mode : {Recompute::None, Recompute::MlaUp, Recompute::Full}) {
    runs.push_back(
        {std::make_unique<StageModel>(c, StageSpec{0, c.num_hidden_layers, true, false}, *groups[0],
                                      context, m, mode, comm::ExchangeOptions{}, precision)});
    StageModel& model = *runs.back().model;
    model.initialize(1);
    model.set_micro_batches(batches);
  }
  const auto step = [&](Run& run) {
    StageModel& model = *run.model;
    for (int slot = 0; slot < slots + in_flight; ++slot) {
      if (slot >= in_flight) {
        const auto gradient = model.output_gradient(slot - in_flight);
        std::fill(gradient.begin(), gradient.end(), 1e-3f);
        backward(model, slot - in_flight, timer);
        model.release(slot - in_flight);
      }
      if (slot >= slots) continue;
      forward(model, slot, timer);
      if (slot == 0) run.kept = model.activation_bytes(0);
    }
  };
  for (int round = 0; round < 25; ++round) {
    for (Run& run : runs) {
      const double begin = now();
      step(run);
      if (round >= 3) run.best = std::min(run.best, now() - begin);
    }
  }
  std::printf("recompute, %d x %d tokens, %d in flight, hidden %d, %d layers:\n", sequences, length,
              in_flight, c.hidden_size, c.num_hidden_layers);
  for (const Run& run : runs) {
    const ActivationBytes bytes = run.model->activation_bytes();
    const ActivationBytes none = runs[0].model->activation_bytes();
    const auto ratio = [](std::size_t a, std::size_t b) {
      return static_cast<double>(a) / static_cast<double>(b);
    };
    std::printf(
        "       %-6s  time %.3f  kept a micro-batch %7.0f KiB (%.2f)  peak %7.0f KiB (%.2f)  "
        "reserved %.2f of the peak\n",
        std::string(to_string(run.model->recompute())).c_str(), run.best / runs[0].best,
        static_cast<double>(run.kept) / 1024, ratio(run.kept, runs[0].kept),
        static_cast<double>(bytes.peak) / 1024, ratio(bytes.peak, none.peak),
        ratio(bytes.reserved, bytes.peak));
  }
}

void bench_decoding(const ModelConfig& c, int threads, int rows, int length) {
  auto transport = comm::make_self_transport();
  const std::vector<comm::GroupSpec> specs = {{"experts", {0}}};
  auto groups = std::move(transport->make_groups(specs).value());
  kernels::Context context(threads);
  StageModel model(c, {0, c.num_hidden_layers, true, true}, *groups[0], context, rows,
                   Recompute::None, {}, precision);
  model.initialize(1);
  std::vector<MicroBatch> batches = {make_batch(c, rows, 1, 1)};
  batches[0].mode = Mode::Decode;
  model.open_cache(0, rows, length);
  Timer timer;
  const auto run = [&] {
    for (int p = 0; p < length; ++p) {
      std::fill(batches[0].positions.begin(), batches[0].positions.end(), p);
      model.set_micro_batches(batches);
      forward(model, 0, timer);
      model.release(0);
    }
  };
  run();
  timer = {};
  const double best = best_of(5, run) / length;
  Limit limit(c, rows);
  omp_set_num_threads(threads);
  limit.run_forward();
  const double bound = best_of(40, [&] { limit.run_forward(); });
  std::printf("decode %d rows to length %d: %8.0f tokens/s, limit %8.0f, ratio %.2f\n", rows,
              length, rows / best, rows / bound, bound / best);
  const double all = 5 * best * length;
  std::printf("       attention %.0f %%  experts %.0f %%  exchange %.0f %%  head %.0f %%\n",
              100 * timer.attention / all, 100 * timer.experts / all, 100 * timer.exchange / all,
              100 * timer.head / all);
}

}  // namespace
}  // namespace weft::trainer

int main(int argc, char** argv) {
  using namespace weft::trainer;
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  use_wall_time = threads > 1;
  if (argc > 2) {
    const auto parsed = parse_precision(argv[2]);
    const auto can = parsed ? check_precision(*parsed) : tl::unexpected(parsed.error());
    if (!can) {
      std::fprintf(stderr, "%s\n", can.error().message.c_str());
      return 2;
    }
    precision = *parsed;
  }
  std::printf("%d thread%s, %s time, %s; the limit is f32's\n", threads, threads == 1 ? "" : "s",
              use_wall_time ? "wall" : "processor", std::string(to_string(precision)).c_str());
  ModelConfig small;
  bench_training(small, threads, 2, 40, 8);
  bench_training(small, threads, 4, 40, 4);
  ModelConfig larger;
  larger.hidden_size = 160;
  larger.num_hidden_layers = 4;
  larger.moe_intermediate_size = 128;
  larger.intermediate_size = 512;
  bench_training(larger, threads, 4, 40, 4);
  bench_recomputation(small, 4, 40, 5);
  bench_recomputation(larger, 4, 40, 5);
  bench_decoding(small, threads, 64, 48);
  bench_decoding(small, threads, 16, 48);
}
