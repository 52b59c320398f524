// The memory model against what engines really hold, each part counted by its owner, in the sum
// over all ranks. Not counted: scratch memory of kernels, copies for checkpoints.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <mutex>

#include "engine_world.h"
#include "runtime/plan/work_of_job.h"
#include "scheduler/memory/rank_bytes.h"
#include "trainer/kernels/matmul.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;

trainer::ModelConfig model_of(int layers) {
  trainer::ModelConfig c = tiny_model(layers);
  c.hidden_size = 64;
  c.intermediate_size = 128;
  c.moe_intermediate_size = 48;
  c.vocab_size = 96;
  return c;
}

/// Every sequence has as many tokens.
std::vector<trainer::MicroBatch> even_batch(int micro_batches, int sequences, int tokens,
                                            int vocab) {
  std::vector<trainer::MicroBatch> batch(static_cast<std::size_t>(micro_batches));
  int id = 0;
  for (auto& part : batch) {
    part.sequence_begin = {0};
    for (int s = 0; s < sequences; ++s) {
      Rng rng(3, "even", static_cast<std::uint64_t>(id));
      for (int t = 0; t < tokens; ++t) {
        part.tokens.push_back(static_cast<int>(rng.below(static_cast<std::uint32_t>(vocab))));
        part.positions.push_back(t);
        part.targets.push_back(static_cast<int>(rng.below(static_cast<std::uint32_t>(vocab))));
        part.weight.push_back(1e-3f);
      }
      part.sequence_begin.push_back(part.num_tokens());
      part.sequence_id.push_back(id++);
    }
  }
  return batch;
}

struct Case {
  Kind kind;
  int pipeline, data, expert, micro_batches;
  trainer::Recompute recompute = trainer::Recompute::None;
  trainer::Precision precision = trainer::Precision::F32;
  /// Every token goes to every expert, so that what a rank gets is balanced by construction and
  /// does not depend on what the router learns. Else 2 of 8.
  bool everywhere = false;
  comm::Payload payload = comm::Payload::full;
  int rollout = 0;    // sequences that it samples after the steps; 0: none
  int redundant = 0;  // experts, meanwhile
  bool grouped = false;
};

constexpr int kSequences = 4, kTokens = 24, kPrompt = 9, kCompletion = 8;

EngineOptions options_of(const Case& c) {
  EngineOptions options;
  options.layout = {c.kind, c.pipeline, c.data, c.expert, c.micro_batches};
  options.model = model_of(2 * dualpipe::num_stages(c.kind, c.pipeline));
  if (c.everywhere) {
    options.model.n_routed_experts = options.model.num_experts_per_tok = 4;
    options.model.n_group = options.model.topk_group = 1;
  }
  if (c.grouped) {
    options.model.kv_lora_rank = 0;
    options.model.num_key_value_heads = 2;
    options.model.head_dim = 16;
  }
  options.recompute = c.recompute;
  options.precision = c.precision;
  options.dispatch_payload = c.payload;
  options.redundant_experts = c.redundant;
  return options;
}

scheduler::Work work_of(const Case& c, const EngineOptions& options) {
  scheduler::Work work;
  work.model = shape_of(options.model);
  work.layout = options.layout;
  work.sequence = kTokens;
  work.micro_batch_sequences = kSequences;
  work.recompute = static_cast<scheduler::Recompute>(c.recompute);
  work.precision = static_cast<scheduler::Precision>(c.precision);
  work.dispatch = static_cast<scheduler::Precision>(c.payload);
  work.largest_micro_batch = options.max_tokens / work.micro_batch_tokens();
  work.rollout_sequences = c.rollout;
  work.rollout_prompt = kPrompt;
  work.rollout_tokens = kPrompt + kCompletion;
  work.redundant_experts = c.redundant;
  return work;
}

Expected<void> roll_out(Engine& engine, int sequences) {
  std::vector<std::vector<std::int32_t>> prompts(static_cast<std::size_t>(sequences));
  for (std::size_t i = 0; i < prompts.size(); ++i)
    for (int t = 0; t < kPrompt; ++t)
      prompts[i].push_back(
          static_cast<std::int32_t>((7 * i + 5 * static_cast<std::size_t>(t)) % 96));
  GenerateOptions generate;
  generate.max_new_tokens = kCompletion;
  WEFT_TRY(engine.generate(prompts, generate));
  return {};
}

/// Of all ranks together.
Engine::MemoryBytes bytes_held(const Case& c, const EngineOptions& options) {
  const auto batch =
      even_batch(c.data * c.micro_batches, kSequences, kTokens, options.model.vocab_size);
  std::mutex mutex;
  Engine::MemoryBytes sum{};
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    for (long long step = 1; step <= 2; ++step) WEFT_TRY(engine.train(batch, 1e-3, step, false));
    if (c.rollout > 0) WEFT_TRY(roll_out(engine, c.rollout));
    const Engine::MemoryBytes bytes = engine.memory_bytes();
    const std::lock_guard lock(mutex);
    sum.parameters += bytes.parameters;
    sum.optimizer += bytes.optimizer;
    sum.packed += bytes.packed;
    sum.activations += bytes.activations;
    sum.exchange += bytes.exchange;
    sum.collectives += bytes.collectives;
    sum.transport += bytes.transport;
    sum.kv_cache += bytes.kv_cache;
    sum.replicas += bytes.replicas;
    sum.packed_replicas += bytes.packed_replicas;
    return {};
  });
  return sum;
}

/// Collects one line of ratios.
class Comparison {
 public:
  explicit Comparison(std::string remark) : remark_(std::move(remark)) {}

  template <class Real>
  void add(const char* part, double predicted, Real real, bool promised = true) {
    const auto bytes = static_cast<double>(real);
    if (bytes == 0) {
      EXPECT_EQ(predicted, 0) << part;
      return;
    }
    if (promised) {
      EXPECT_NEAR(predicted, bytes, 0.05 * bytes) << part;
    }
    char text[80];
    std::snprintf(text, sizeof text, "%s %.3f", part, predicted / bytes);
    line_ += (line_.empty() ? "" : ", ") + std::string(text);
  }
  void print() const { std::printf("predicted over real%s: %s\n", remark_.c_str(), line_.c_str()); }

 private:
  std::string remark_, line_;
};

void expect_same_bytes(const Case& c) {
  const EngineOptions options = options_of(c);
  const Engine::MemoryBytes real = bytes_held(c, options);
  const auto predicted = scheduler::rank_bytes(work_of(c, options), {}, 0);
  ASSERT_TRUE(predicted) << predicted.error().message;
  scheduler::RankBytes sum;
  for (const scheduler::RankBytes& b : *predicted) {
    sum.weights += c.data * (b.weights + b.gradients);
    sum.moments += c.data * (b.moments + b.received);
    sum.packed += c.data * b.packed;
    sum.activations += c.data * b.activations;
    sum.exchange += c.data * b.exchange;
    sum.collectives += c.data * b.collectives;
    sum.transport += c.data * b.transport;
    sum.kv_cache += c.data * b.kv_cache;
    sum.replicas += c.data * b.replicas;
    sum.packed_replicas += c.data * b.packed_replicas;
  }
  // How many rows the exchange has room for is known where all tokens come to a rank anyhow; else
  // it is the most that the router ever sent there, and only printed. So are activations where the
  // largest moment is one block's, computed again.
  const bool known = c.everywhere || c.expert == 1;
  Comparison parts(known ? "" : " (as the router chose)");
  parts.add("parameters", sum.weights, real.parameters);
  parts.add("optimizer", sum.moments, real.optimizer);
  parts.add("packed", sum.packed, real.packed, trainer::kernels::check_bf16_products().has_value());
  parts.add("activations", sum.activations, real.activations,
            known || c.recompute != trainer::Recompute::Full);
  parts.add("exchange", sum.exchange, real.exchange, known);
  parts.add("rings", sum.transport, real.transport);
  parts.add("collectives", sum.collectives, real.collectives);
  parts.add("KV cache", sum.kv_cache, real.kv_cache);
  parts.add("replicas", sum.replicas, real.replicas);
  const auto total = [](const auto&... part) { return (0.0 + ... + static_cast<double>(part)); };
  parts.add("all of it",
            total(sum.weights, sum.moments, sum.packed, sum.activations, sum.exchange,
                  sum.transport, sum.collectives, sum.kv_cache, sum.replicas),
            total(real.parameters, real.optimizer, real.packed, real.activations, real.exchange,
                  real.transport, real.collectives, real.kv_cache, real.replicas));
  // A seat that got no expert, or no token, has no copy.
  EXPECT_GE(sum.packed_replicas, static_cast<double>(real.packed_replicas));
  parts.print();
}

Case everywhere(Case c) {
  c.everywhere = true;
  return c;
}

TEST(MemoryModel, CountsAnEnginesBytesWithinFivePercent) {
  expect_same_bytes({Kind::OneFOneB, 2, 1, 1, 4});
  expect_same_bytes(everywhere({Kind::OneFOneB, 2, 2, 2, 4}));
  expect_same_bytes({Kind::OneFOneB, 2, 2, 2, 4});
}

TEST(MemoryModel, CountsBothCopiesOfDualPipeAndWaitingWeightGradients) {
  expect_same_bytes(everywhere({Kind::DualPipe, 2, 2, 2, 4}));
  expect_same_bytes({Kind::DualPipe, 2, 2, 2, 4});
  expect_same_bytes({Kind::ZeroBubble, 3, 1, 1, 6});
}

TEST(MemoryModel, CountsEveryRecomputation) {
  for (const auto recompute : {trainer::Recompute::MlaUp, trainer::Recompute::Full}) {
    expect_same_bytes({Kind::OneFOneB, 2, 1, 1, 4, recompute});
    expect_same_bytes({Kind::OneFOneB, 2, 2, 2, 4, recompute});
    expect_same_bytes(everywhere({Kind::OneFOneB, 1, 2, 2, 4, recompute}));
  }
}

TEST(MemoryModel, CountsNarrowNumbers) {
  if (!trainer::kernels::check_bf16_products()) GTEST_SKIP() << "needs AVX-512 BF16";
  for (const auto precision : {trainer::Precision::BF16, trainer::Precision::FP8}) {
    expect_same_bytes({Kind::OneFOneB, 2, 1, 1, 4, trainer::Recompute::None, precision});
    expect_same_bytes({Kind::OneFOneB, 2, 2, 2, 4, trainer::Recompute::None, precision});
  }
}

TEST(MemoryModel, CountsTheExpertExchange) {
  for (const int ranks : {1, 2, 4}) {
    expect_same_bytes(everywhere({Kind::OneFOneB, 1, ranks, ranks, 2}));
  }
  for (const auto payload : {comm::Payload::bf16, comm::Payload::fp8}) {
    Case c = everywhere({Kind::DualPipe, 2, 2, 2, 4});
    c.payload = payload;
    expect_same_bytes(c);
  }
  expect_same_bytes(everywhere({Kind::ZeroBubble, 2, 2, 2, 4, trainer::Recompute::Full}));
}

TEST(MemoryModel, CountsTheCacheOfRolloutAndReplicasOfExperts) {
  Case c = everywhere({Kind::OneFOneB, 2, 2, 2, 2});
  c.rollout = 12;
  expect_same_bytes(c);
  c.redundant = 1;
  expect_same_bytes(c);
  Case both{Kind::DualPipe, 2, 1, 1, 4};
  both.rollout = 8;
  expect_same_bytes(both);
  both.grouped = true;
  expect_same_bytes(both);
}

TEST(MemoryModel, CountsTheCacheOfRolloutInNarrowNumbers) {
  if (!trainer::kernels::check_bf16_products()) GTEST_SKIP() << "needs AVX-512 BF16";
  for (const auto precision : {trainer::Precision::BF16, trainer::Precision::FP8}) {
    Case c = everywhere({Kind::OneFOneB, 1, 2, 2, 2, trainer::Recompute::None, precision});
    c.rollout = 6;
    c.redundant = 1;
    expect_same_bytes(c);
  }
}

/// Of this process, in bytes; 0: not known.
double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// What two steps of a world of one rank add to a fresh process; negative: it failed.
double resident_growth(const EngineOptions& options) {
  const auto batch =
      even_batch(options.layout.micro_batches, kSequences, kTokens, options.model.vocab_size);
  const double before = resident_bytes();
  const auto transport = comm::make_self_transport();
  const auto engine = Engine::create(*transport, options);
  if (!engine) return -1;
  for (long long step = 1; step <= 2; ++step)
    if (!(*engine)->train(batch, 1e-3, step, false)) return -1;
  return resident_bytes() - before;
}

// A figure to look at: scratch, the library's code and whole pages are in it, so nothing is
// promised of it.
TEST(MemoryModel, StandsBesideTheResidentMemoryOfAProcess) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's own memory is in it";
#endif
  const Case c{Kind::OneFOneB, 1, 1, 1, 4};
  EngineOptions options = options_of(c);
  options.model.hidden_size = 256;
  options.model.intermediate_size = 512;
  options.model.moe_intermediate_size = 192;
  options.model.vocab_size = 4096;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(300);  // rather than leave the parent waiting
    const double growth = resident_growth(options);
    const bool written = ::write(ends[1], &growth, sizeof growth) == sizeof growth;
    ::_exit(written ? 0 : 1);
  }
  ::close(ends[1]);
  double growth = 0;
  EXPECT_EQ(::read(ends[0], &growth, sizeof growth), static_cast<ssize_t>(sizeof growth));
  ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_GT(growth, 0);
  const auto predicted = scheduler::rank_bytes(work_of(c, options), {}, 0);
  ASSERT_TRUE(predicted) << predicted.error().message;
  std::printf("predicted over real: resident memory of a process %.3f (%.1f MB)\n",
              predicted->front().total() / growth, growth / 1e6);
}

}  // namespace
}  // namespace weft::runtime
