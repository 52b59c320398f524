// One training step of a whole model on one rank, forward, backward, clipping and AdamW, at one of
// the peer's shapes: tokens per second, peak memory, and the limit that the matrix-product library
// sets in the same process. tests/bench/model_peer.sh puts it beside PyTorch.
//
//   model_peer_bench HIDDEN LAYERS EXPERTS TOP_K LENGTH SEQUENCES THREADS f32|bf16 [STEPS]
#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "base/rng.h"
#include "comm/communicator.h"
#include "tests/bench/product_limit.h"
#include "trainer/model/stage_model.h"
#include "trainer/optimizer/adamw.h"

namespace weft::trainer {
namespace {

/// One thread: processor time, what the work costs however busy the machine is. More: wall time, to
/// be read on a quiet machine only.
clockid_t used_clock = CLOCK_PROCESS_CPUTIME_ID;
double now() {
  timespec t{};
  clock_gettime(used_clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

/// The peer's flags h256 and h512.
ModelConfig make_config(int hidden, int layers, int experts, int top_k, int length) {
  ModelConfig c;
  const bool small = hidden <= 256;
  c.vocab_size = 256;
  c.hidden_size = hidden;
  c.num_hidden_layers = layers;
  c.n_routed_experts = experts;
  c.num_experts_per_tok = top_k;
  c.n_group = c.topk_group = 1;
  c.num_attention_heads = small ? 4 : 8;
  c.q_lora_rank = small ? 128 : 256;
  c.kv_lora_rank = small ? 64 : 128;
  c.qk_nope_head_dim = c.v_head_dim = small ? 32 : 48;
  c.qk_rope_head_dim = 16;
  c.moe_intermediate_size = small ? 128 : 256;
  c.intermediate_size = (top_k + 1) * c.moe_intermediate_size;
  c.max_position_embeddings = length;
  return c;
}

/// A stream in which the next token is one of a few: something to learn, as the peer's.
MicroBatch make_batch(const ModelConfig& c, int sequences, int length, std::uint64_t seed) {
  MicroBatch b;
  b.sequence_begin = {0};
  Rng rng(seed, "bench");
  const auto vocab = static_cast<std::uint32_t>(c.vocab_size);
  for (int s = 0; s < sequences; ++s) {
    std::uint32_t token = rng.below(vocab);
    for (int p = 0; p < length; ++p) {
      b.tokens.push_back(static_cast<int>(token));
      const std::uint32_t draw = rng.below(8);
      token = (token * 5 + 17 + 31 * (draw < 4 ? draw : 0)) % vocab;
      b.targets.push_back(static_cast<int>(token));
      b.positions.push_back(p);
      b.weight.push_back(1.0f / static_cast<float>(sequences * length));
    }
    b.sequence_begin.push_back(b.num_tokens());
    b.sequence_id.push_back(s);
    b.cache_row.push_back(s);
  }
  return b;
}

void must(const Expected<void>& result) {
  if (result) return;
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

class Trainer {
 public:
  Trainer(const ModelConfig& config, int threads, int tokens, Precision precision)
      : transport_(comm::make_self_transport()),
        groups_(transport_->make_groups(specs_).value()),
        context_(threads),
        model_(config, {0, config.num_hidden_layers, true, true}, *groups_[0], context_, tokens,
               Recompute::None, {}, precision) {
    model_.initialize(1);
    first_.resize(model_.parameters().values().size());
    second_.resize(first_.size());
  }

  double step(std::span<const MicroBatch> batch) {
    model_.set_micro_batches(batch);
    forward();
    const double loss = model_.loss_sum(0);
    backward();
    model_.release(0);
    update();
    return loss;
  }

  std::size_t num_parameters() {
    std::size_t n = 0;
    for (const Parameter& p : model_.parameters().items()) {
      if (p.trainable) n += static_cast<std::size_t>(p.size);
    }
    return n;
  }

 private:
  void forward() {
    model_.embed(0);
    for (int l = 0; l < model_.spec().num_layers; ++l) {
      const bool moe = model_.config().is_moe(l);
      model_.attention(0, l);
      if (moe) must(model_.begin_dispatch(0, l));
      if (moe) must(model_.end_dispatch(0, l));
      model_.experts(0, l);
      if (moe) must(model_.begin_combine(0, l));
      if (moe) must(model_.end_combine(0, l));
    }
    model_.head(0);
  }

  void backward() {
    model_.head_backward_input(0);
    model_.head_backward_weights(0);
    for (int l = model_.spec().num_layers - 1; l >= 0; --l) {
      const bool moe = model_.config().is_moe(l);
      if (moe) must(model_.begin_combine_backward(0, l));
      if (moe) must(model_.end_combine_backward(0, l));
      model_.experts_backward_input(0, l);
      model_.experts_backward_weights(0, l);
      if (moe) must(model_.begin_dispatch_backward(0, l));
      if (moe) must(model_.end_dispatch_backward(0, l));
      model_.attention_backward_input(0, l);
      model_.attention_backward_weights(0, l);
    }
    model_.embed_backward(0);
  }

  void update() {
    ParameterSet& set = model_.parameters();
    optimizer::AdamWOptions options;
    options.lr = 1e-3;
    options.weight_decay = 0.1;
    options.step = ++steps_;
    const double norm = std::sqrt(optimizer::squared_norm(set.gradients()));
    optimizer::adamw(set.values(), set.gradients(), first_, second_, options,
                     norm > 1.0 ? 1.0 / norm : 1.0);
    for (int l = 0; l < model_.spec().num_layers; ++l) {
      if (model_.config().is_moe(l)) model_.update_selection_bias(l, model_.expert_load(l), 1e-3);
    }
    model_.clear_expert_load();
    set.touch();
    set.zero_gradients();
  }

  std::vector<comm::GroupSpec> specs_ = {{"experts", {0}}};
  std::unique_ptr<comm::Transport> transport_;
  std::vector<std::unique_ptr<comm::Communicator>> groups_;
  kernels::Context context_;
  StageModel model_;
  std::vector<Real> first_, second_;
  long long steps_ = 0;
};

/// GFLOP/s of the fastest run of the step's products.
double product_limit(const ModelConfig& c, int tokens, dnnl::memory::data_type type) {
  bench::ProductLimit limit(c, tokens, type);
  double best = 1e9;
  for (int i = 0; i < 7; ++i) {
    const double begin = now();
    limit.run();
    best = std::min(best, now() - begin);
  }
  return limit.flops() / best * 1e-9;
}

int run(int argc, char** argv) {
  const auto number = [&](int i) { return std::max(1, std::atoi(argv[i])); };
  const ModelConfig c = make_config(number(1), number(2), number(3), number(4), number(5));
  const int length = number(5), sequences = number(6), threads = number(7);
  const int steps = argc > 9 ? number(9) : 12, tokens = sequences * length;
  const auto precision = parse_precision(argv[8]);
  if (!precision) must(tl::unexpected(precision.error()));
  must(check_precision(precision.value()));
  used_clock = threads > 1 ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
  std::vector<double> times, losses;
  std::size_t parameters = 0;
  {
    Trainer trainer(c, threads, tokens, precision.value());
    parameters = trainer.num_parameters();
    for (int i = 0; i < steps; ++i) {
      const MicroBatch batch = make_batch(c, sequences, length, static_cast<std::uint64_t>(i));
      const double begin = now();
      losses.push_back(trainer.step({&batch, 1}));
      if (i >= 2) times.push_back(now() - begin);
    }
  }
  const double peak = peak_mib();
  std::sort(times.begin(), times.end());
  omp_set_num_threads(threads);
  const double f32 = product_limit(c, tokens, dnnl::memory::data_type::f32);
  const double bf16 = product_limit(c, tokens, dnnl::memory::data_type::bf16);
  const double step_gflop =
      bench::ProductLimit(c, tokens, dnnl::memory::data_type::f32).flops() * 1e-9;
  std::printf(
      "RESULT params=%zu tok_s=%.0f tok_s_best=%.0f gflops=%.1f "
      "limit_f32=%.1f limit_bf16=%.1f loss_first=%.4f loss_last=%.4f peak_rss_mib=%.0f "
      "threads=%d dtype=%s\n",
      parameters, tokens / times[times.size() / 2], tokens / times[0], step_gflop / times[0], f32,
      bf16, losses.front(), losses.back(), peak, threads, argv[8]);
  return 0;
}

}  // namespace
}  // namespace weft::trainer

int main(int argc, char** argv) {
  if (argc < 9) {
    std::fprintf(stderr,
                 "usage: model_peer_bench HIDDEN LAYERS EXPERTS TOP_K LENGTH SEQUENCES THREADS "
                 "f32|bf16 [STEPS]\n");
    return 2;
  }
  return weft::trainer::run(argc, argv);
}
