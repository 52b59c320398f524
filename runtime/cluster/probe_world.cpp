#include "runtime/cluster/probe_world.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>

#include "base/rng.h"
#include "comm/local/local_transport.h"
#include "dualpipe/recorder.h"
#include "dualpipe/ring.h"
#include "runtime/cluster/probe.h"
#include "runtime/plan/work_of_job.h"
#include "runtime/worker/engine.h"

namespace weft::runtime {
namespace {

using Steady = std::chrono::steady_clock;
using dualpipe::PhaseKind;
using dualpipe::Record;

constexpr std::size_t kSteps = 64;  // that a rank keeps
// A job's micro-batches differ in length and its experts in rows, and each number of rows has its
// own product with its own code. Steps over one and the same batch would find it all in the caches.
constexpr std::size_t kBatches = 24;
constexpr std::size_t kFew = 2;  // a quick look

double since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

double quantile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::ranges::nth_element(values, at);
  return *at;
}
double median(std::vector<double>& values) { return quantile(values, 0.5); }

trainer::ModelConfig config_of(const ProbeShape& shape) {
  trainer::ModelConfig c;
  c.hidden_size = shape.hidden;
  c.intermediate_size = 2 * shape.hidden;
  c.moe_intermediate_size = 3 * shape.hidden / 4;
  c.num_attention_heads = shape.heads;
  c.num_hidden_layers = shape.layers;
  c.first_k_dense_replace = 1;
  c.qk_rope_head_dim = 16;
  c.max_position_embeddings = std::max(256, shape.tokens);
  return c;
}

using Batch = std::vector<trainer::MicroBatch>;

/// Sequences 15 % shorter or longer than asked for, at most; that many on average.
Batch batch_of(const ProbeShape& shape, int vocab, std::uint64_t seed) {
  Batch batch(static_cast<std::size_t>(shape.data * shape.micro_batches));
  Rng rng(seed, "probe");
  const auto draw = [&](int below) {
    return static_cast<int>(rng.below(static_cast<std::uint32_t>(below)));
  };
  const int spread = shape.tokens * 3 / 20;
  int id = 0;
  for (trainer::MicroBatch& part : batch) {
    part.sequence_begin = {0};
    for (int s = 0; s < shape.sequences; ++s) {
      const int tokens = shape.tokens - spread + draw(2 * spread + 1);
      for (int t = 0; t < tokens; ++t) {
        part.tokens.push_back(draw(vocab));
        part.positions.push_back(t);
        part.targets.push_back(draw(vocab));
        part.weight.push_back(1e-3f);
      }
      part.sequence_begin.push_back(part.num_tokens());
      part.sequence_id.push_back(id++);
    }
  }
  return batch;
}

using PhaseKey = std::tuple<bool, PhaseKind, dualpipe::Part, int>;

/// A step's first phase of its kind and layer packs weights again.
struct Durations {
  std::vector<double> first, later;
};

/// What all ranks have recorded.
struct Collected {
  long long warm_up = 0;  // steps that meet products for the first time
  std::mutex mutex;
  std::map<PhaseKey, Durations> phases;
  std::vector<double> exchanges;
  std::size_t steps = 0;      // whose phases these are, over all ranks
  std::vector<double> walls;  // of each world's first rank
  std::string problem;

  void add(const dualpipe::RankRecording& recording) {
    const std::lock_guard lock(mutex);
    for (const dualpipe::RecordedStep& step : recording.steps) {
      if (!step.closed || step.step <= warm_up || step.missing > 0) continue;
      ++steps;
      std::set<PhaseKey> seen;
      for (const Record& r : step.records) {
        if (r.what == Record::What::Exchange)
          exchanges.push_back(static_cast<double>(r.head_ns + r.tail_ns) * 1e-9);
        if (r.what != Record::What::Phase) continue;
        const PhaseKey key = {r.backward != 0, static_cast<PhaseKind>(r.phase),
                              static_cast<dualpipe::Part>(r.part), r.layer};
        Durations& to = phases[key];
        (seen.insert(key).second ? to.first : to.later)
            .push_back(static_cast<double>(r.end_ns - r.begin_ns) * 1e-9);
      }
    }
  }
};

Expected<void> run_rank(comm::Transport& transport, const EngineOptions& options,
                        const std::vector<Batch>& batches, double seconds, Collected& out) {
  WEFT_TRY_ASSIGN(const auto engine, Engine::create(transport, options));
  const dualpipe::RingSize size{kSteps, engine->train_records()};
  std::vector<std::uint64_t> memory(dualpipe::ring_bytes(size) / sizeof(std::uint64_t) + 1);
  const auto bytes = std::as_writable_bytes(std::span(memory)).first(dualpipe::ring_bytes(size));
  dualpipe::StepRecorder recorder(bytes, size, engine->ring_info());
  engine->set_recorder(&recorder);
  // All steps together, not the median one: where ranks take turns on a core, whole steps go by
  // without a turn being over, and the next takes as many times as long.
  Steady::time_point begin = Steady::now();
  constexpr double kRate = 1e-6;  // routing stays as it is
  double steps = 0;
  for (long long step = 1;; ++step) {
    if (step == out.warm_up + 1) begin = Steady::now();
    recorder.begin_step(step, "probe");
    const bool enough = step > out.warm_up + 2 && since(begin) > seconds;
    WEFT_TRY_ASSIGN(const TrainResult result,
                    engine->train(batches[static_cast<std::size_t>(step) % batches.size()], kRate,
                                  step, enough));
    recorder.end_step();
    if (step > out.warm_up) ++steps;
    if (result.stop_requested) break;
  }
  const double each = since(begin) / steps;
  engine->set_recorder(nullptr);
  WEFT_TRY_ASSIGN(const dualpipe::RankRecording recording, dualpipe::read_ring(bytes, bytes));
  out.add(recording);
  if (engine->rank() != 0) return {};
  const std::lock_guard lock(out.mutex);
  out.walls.push_back(each);
  return {};
}

}  // namespace

double ProbeRun::rest() const {
  double of_phases = 0;
  for (const Phase& phase : phases) of_phases += phase.seconds * phase.count;
  return step - of_phases - packing;
}

Expected<ProbeRun> run_probe(const ProbeShape& shape, int cores, double seconds) {
  EngineOptions options;
  options.model = config_of(shape);
  options.layout = {dualpipe::Kind::OneFOneB, 1, shape.data, shape.expert, shape.micro_batches};
  options.precision = *trainer::parse_precision(scheduler::to_string(shape.precision));
  options.max_tokens = shape.sequences * (shape.tokens + shape.tokens * 3 / 20);
  std::vector<Batch> batches;
  const std::size_t different = seconds < kQuickLook ? kFew : kBatches;
  for (std::uint64_t i = 0; i < different; ++i)
    batches.push_back(batch_of(shape, options.model.vocab_size, i));
  Collected out;
  out.warm_up = static_cast<long long>(different) + 1;
  {
    std::vector<comm::LocalWorld> worlds;
    for (int w = 0; w < shape.worlds; ++w) {
      WEFT_TRY_ASSIGN(comm::LocalWorld world, comm::LocalWorld::create(shape.data));
      worlds.push_back(std::move(world));
    }
    std::vector<std::jthread> threads;
    for (comm::LocalWorld& world : worlds)
      for (int rank = 0; rank < shape.data; ++rank)
        threads.emplace_back([&, rank] {
          const auto run = [&]() -> Expected<void> {
            WEFT_TRY_ASSIGN(const auto transport, world.join(rank));
            return run_rank(*transport, options, batches, seconds, out);
          };
          if (const auto done = run(); !done) {
            world.abort(done.error().message);
            const std::lock_guard lock(out.mutex);
            if (out.problem.empty()) out.problem = done.error().message;
          }
        });
  }
  if (!out.problem.empty()) return fail(Code::Unavailable, "probing: " + out.problem);
  ProbeRun run;
  run.work.model = shape_of(options.model);
  run.work.layout = options.layout;
  run.work.sequence = shape.tokens;
  run.work.micro_batch_sequences = shape.sequences;
  run.work.precision = shape.precision;
  run.work.dispatch = scheduler::Precision::F32;
  run.stage = {.dense = 1, .moe = shape.layers - 1, .first = true, .last = true};
  for (auto& [key, all] : out.phases) {
    const auto& [backward, kind, part, layer] = key;
    const double whole = static_cast<double>(out.steps);
    const double count = static_cast<double>(all.first.size() + all.later.size()) / whole;
    const bool once = all.later.empty();
    const double packed = median(once ? all.first : all.later);
    run.phases.push_back({{backward, {kind, layer, part}}, packed, count});
    if (!once)
      run.packing +=
          std::max(0.0, median(all.first) - packed) * static_cast<double>(all.first.size()) / whole;
  }
  run.exchange = quantile(out.exchanges, 0.25);
  const int ranks = shape.worlds * shape.data;
  double wall = 0;
  for (const double one : out.walls) wall += one / static_cast<double>(out.walls.size());
  run.step = wall * std::min(cores, ranks) / ranks;
  return run;
}

}  // namespace weft::runtime
