// Tokens per second of the main job's model, trained and generated, as the job file stands: on one
// core without a pipeline, and on two with the job's own layout as real worker processes. Each is a
// ratio to the floating-point limit (limit.h) measured in the same processes between the same
// rounds.
//
//   main_job_bench [job.yaml] [rounds]
//   main_job_bench --peer [job.yaml]     the same shape as flags of peer.sh's script
#include <omp.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "comm/local/local_transport.h"
#include "runtime/job/load.h"
#include "runtime/worker/engine.h"
#include "runtime/worker/engine_of_job.h"
#include "runtime/worker/recipe.h"
#include "runtime/worker/workload.h"
#include "tests/bench/limit.h"
#include "trainer/data/example.h"

namespace weft::bench {
namespace {

using runtime::Engine;
using runtime::Job;
using runtime::Workload;

constexpr int kStepsARound = 20;

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::_Exit(1);
}

void must(const Expected<void>& result) {
  if (!result) die(result.error().message);
}

template <class T>
T must(Expected<T> result) {
  if (!result) die(result.error().message);
  return std::move(*result);
}

double clock_seconds(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// What one piece of work took: all ranks' processor time, and the time on the wall.
struct Cost {
  double processor = 0, wall = 0;
};

/// Runs `work` on every rank between two barriers. The same result on every rank.
template <class Work>
Cost measure(comm::Communicator& world, const Work& work) {
  must(comm::barrier(world));
  const double wall = clock_seconds(CLOCK_MONOTONIC);
  double processor = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
  work();
  must(comm::barrier(world));
  Cost cost{0, clock_seconds(CLOCK_MONOTONIC) - wall};
  processor = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - processor;
  must(comm::all_reduce_sum(world, std::span(&processor, 1)));
  cost.processor = processor;
  return cost;
}

/// Tokens per second of one round: ours and the limit's.
struct Round {
  double wall = 0, wall_limit = 0, processor = 0, processor_limit = 0;
};

Round round_of(double tokens, Cost ours, double limit_tokens, Cost limit) {
  return {tokens / ours.wall, limit_tokens / limit.wall, tokens / ours.processor,
          limit_tokens / limit.processor};
}

void print(const char* what, std::vector<Round> rounds) {
  const auto best_and_median = [&](auto value) {
    std::vector<double> values;
    for (const Round& r : rounds) values.push_back(value(r));
    std::ranges::sort(values);
    return std::pair(values.back(), values[values.size() / 2]);
  };
  const auto line = [&](const char* clock, auto speed, auto limit) {
    const auto [best, median] = best_and_median(speed);
    const auto [limit_best, limit_median] = best_and_median(limit);
    const auto [ratio_best, ratio] =
        best_and_median([&](const Round& r) { return speed(r) / limit(r); });
    std::printf(
        "  %-9s per second %-13s %8.0f (median %8.0f)  limit %8.0f (%8.0f)  ratio %.2f (%.2f)\n",
        what, clock, best, median, limit_best, limit_median, ratio_best, ratio);
  };
  line(
      "of processor", [](const Round& r) { return r.processor; },
      [](const Round& r) { return r.processor_limit; });
  line(
      "on the wall", [](const Round& r) { return r.wall; },
      [](const Round& r) { return r.wall_limit; });
}

/// One rank of a world in the job's layout. Rank 0 prints.
void run_rank(const Job& job, const comm::LocalWorld& shared, int rank, int cores, int rounds) {
  const auto workload = must(Workload::open(job, ""));
  const auto transport = must(shared.join(rank));
  const int new_tokens = job.grpo.max_completion_length;
  const auto options = runtime::engine_options(job, workload->longest_prompt(),
                                               std::max(workload->longest_trace(), new_tokens));
  const auto engine = must(Engine::create(*transport, options));
  comm::Communicator& world = engine->world();
  omp_set_num_threads(1);

  const int parts = engine->num_micro_batches();
  std::vector<std::vector<trainer::MicroBatch>> batches;
  double tokens = 0;
  for (int step = 0; step < kStepsARound; ++step) {
    batches.push_back(must(workload->pretrain_batch({step, 0, job.pretrain.batch, parts, {}})));
    for (const auto& part : batches.back()) tokens += part.num_tokens();
  }
  long long adam_step = 0;
  const auto train = [&] {
    for (const auto& batch : batches) {
      if (!must(engine->train(batch, 1e-4, ++adam_step, false)).applied) die("a step was left out");
    }
  };
  // Every completion runs to its full length: there is no end token. The prompts' own tokens take
  // time and are not counted.
  std::vector<std::vector<std::int32_t>> prompts;
  for (int i = 0; i < job.grpo.prompts_per_step * job.grpo.num_generations; ++i) {
    const auto problem = workload->task().problem(job.seed, trainer::data::Split::Train,
                                                  i / job.grpo.num_generations, 0);
    prompts.push_back(trainer::data::prompt_tokens(workload->tokenizer(), problem.prompt));
  }
  runtime::GenerateOptions rollout;
  rollout.max_new_tokens = new_tokens;
  rollout.purpose = "bench";
  const auto generate = [&] { must(engine->generate(prompts, rollout)); };
  const double generated = static_cast<double>(prompts.size()) * new_tokens;

  // One rank a core runs the limit: micro-batches of the mean size, the same number as a round has.
  const int shards = job.parallel.expert;
  const int rows = std::max(1, static_cast<int>(tokens / (kStepsARound * parts)));
  const int directions = dualpipe::num_directions(options.layout.kind);
  const int groups =
      job.parallel.data * directions *
      ((job.parallel.pipeline + directions - 1) / directions);  // as Engine::generate
  const int decode_rows = std::max(1, static_cast<int>(prompts.size()) / groups);
  Limit step_limit(job.model, rows, shards), decode_limit(job.model, decode_rows, shards);
  const int step_repeats = std::max(1, kStepsARound * parts / cores);
  const int decode_repeats = std::max(1, groups * new_tokens / cores);
  const auto limit = [&](Limit& what, int repeats, bool forward_only) {
    return measure(world, [&] {
      if (rank >= cores) return;
      for (int i = 0; i < repeats; ++i) forward_only ? what.run_forward() : what.run_step();
    });
  };

  std::vector<Round> training, generation;
  for (int round = -1; round < rounds; ++round) {  // the first warms up
    const Cost step = measure(world, train);
    const Cost bound = limit(step_limit, step_repeats, false);
    const Cost decode = measure(world, generate);
    const Cost decode_bound = limit(decode_limit, decode_repeats, true);
    if (round < 0) continue;
    training.push_back(round_of(tokens, step, double(rows) * step_repeats * cores, bound));
    generation.push_back(
        round_of(generated, decode, double(decode_rows) * decode_repeats * cores, decode_bound));
  }
  if (rank != 0) return;
  std::printf(
      "%d core%s, %s, %d position%s x %d lane%s (%d expert shard%s), %d micro-batches of %d tokens "
      "a "
      "step, %d rows a decoding pass\n",
      cores, cores == 1 ? "" : "s", job.parallel.schedule.c_str(), job.parallel.pipeline,
      job.parallel.pipeline == 1 ? "" : "s", job.parallel.data, job.parallel.data == 1 ? "" : "s",
      shards, shards == 1 ? "" : "s", parts, rows, decode_rows);
  print("trained", training);
  print("generated", generation);
}

/// Forks one worker a rank, all confined to the first `cores` processors that this process may use.
bool run_world(const Job& job, int cores, int rounds) {
  cpu_set_t allowed, chosen;
  CPU_ZERO(&chosen);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) die("cannot read the affinity");
  int found = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && found < cores; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) {
      CPU_SET(cpu, &chosen);
      ++found;
    }
  }
  if (found < cores) {
    std::printf("%d cores: left out, only %d may be used here\n", cores, found);
    return true;
  }
  const int world_size = job.parallel.pipeline * job.parallel.data;
  auto world = must(comm::LocalWorld::create(world_size));
  std::fflush(stdout);
  for (int rank = 0; rank < world_size; ++rank) {
    if (::fork() != 0) continue;
    ::sched_setaffinity(0, sizeof chosen, &chosen);
    run_rank(job, world, rank, cores, rounds);
    std::fflush(stdout);
    std::_Exit(0);
  }
  bool good = true;
  for (int left = world_size, status = 0; left > 0 && ::wait(&status) > 0; --left) {
    if (status != 0) {
      good = false;
      world.abort("a rank of the benchmark failed");
    }
  }
  return good;
}

/// The job cut into nothing: one rank, the same micro-batches.
Job on_one_core(Job job) {
  job.parallel.micro_batches *= job.parallel.data;
  job.parallel.pipeline = job.parallel.data = job.parallel.expert = 1;
  job.parallel.schedule = "1f1b";
  return job;
}

void print_peer_flags(const Job& job) {
  const auto workload = must(Workload::open(job, ""));
  double tokens = 0, sequences = 0;
  for (int step = 0; step < kStepsARound; ++step) {
    for (const auto& part : must(workload->pretrain_batch({step, 0, job.pretrain.batch, 1, {}}))) {
      tokens += part.num_tokens();
      sequences += part.num_sequences();
    }
  }
  const trainer::ModelConfig& m = job.model;
  std::printf(
      "--layers %d --hidden %d --heads %d --q-rank %d --kv-rank %d --nope %d --rope %d --vdim %d "
      "--experts %d --topk %d --shared %d --moe-inter %d --dense-inter %d --dense-layers %d "
      "--vocab %d --seq %d --micro-batch %d --accum 1 --aux 0\n",
      m.num_hidden_layers, m.hidden_size, m.num_attention_heads, m.q_lora_rank, m.kv_lora_rank,
      m.qk_nope_head_dim, m.qk_rope_head_dim, m.v_head_dim, m.n_routed_experts,
      m.num_experts_per_tok, m.n_shared_experts, m.moe_intermediate_size, m.intermediate_size,
      m.first_k_dense_replace, m.vocab_size, static_cast<int>(tokens / sequences + 0.5),
      job.pretrain.batch);
}

int run(int argc, char** argv) {
  const bool peer = argc > 1 && std::string(argv[1]) == "--peer";
  if (peer) --argc, ++argv;
  const std::string path = argc > 1 ? argv[1] : WEFT_MAIN_JOB;
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 5;
  const runtime::Loaded loaded = runtime::load_job(path);
  for (const runtime::Diagnostic& d : loaded.diagnostics)
    std::fprintf(stderr, "%s\n", d.message.c_str());
  if (!loaded.ok()) return 78;
  if (loaded.job.data.task == "text") {
    std::fprintf(stderr, "%s: a job with a task (arithmetic, cups) is needed to generate\n",
                 path.c_str());
    return 78;
  }
  if (peer) {
    print_peer_flags(loaded.job);
    return 0;
  }
  std::printf(
      "%s: %d rounds, the best (and the median); the limit is dnnl_sgemm over the same products\n",
      loaded.job.name.c_str(), rounds);
  const bool good =
      run_world(on_one_core(loaded.job), 1, rounds) && run_world(loaded.job, 2, rounds);
  return good ? 0 : 1;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) { return weft::bench::run(argc, argv); }
