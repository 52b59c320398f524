#include "runtime/cluster/probe_runs.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "base/check.h"
#include "base/files.h"
#include "base/rng.h"
#include "runtime/agent/process.h"
#include "runtime/cluster/probe.h"
#include "runtime/drift/phase_medians.h"
#include "runtime/drift/step_period.h"
#include "runtime/job/load.h"
#include "runtime/plan/work_of_job.h"
#include "runtime/store/ring_file.h"
#include "runtime/store/run_store.h"
#include "scheduler/cluster/fields.h"

namespace weft::runtime {
namespace {

constexpr int kKept = 240;   // steps that the workers keep
constexpr int kWarmUp = 60;  // steps that meet products for the first time, each size its own
constexpr std::chrono::seconds kBound{180};
constexpr int kRounds = 3;
constexpr double kGuess = 0.02;  // seconds of a step, before one was seen
constexpr double kLonger = 2;    // a run lasts so many measurements

/// Waits for it, and ends it at the bound. Only ever called with a pid of our own child.
Expected<void> wait_for(pid_t child, const std::filesystem::path& log) {
  WEFT_CHECK(child > 0);
  const auto bound = std::chrono::steady_clock::now() + kBound;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > bound) {
      ::kill(child, SIGKILL);  // its workers end with it
      ::waitpid(child, &status, 0);
      return fail(Code::Unavailable,
                  fmt::format("a small run did not end within {} s", kBound.count()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const auto said = read_file(log);
  return fail(Code::Unavailable, "a small run failed: " + (said ? *said : log.string()));
}

struct RemovedAtEnd {
  std::filesystem::path path;
  ~RemovedAtEnd() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

/// The standard deviation of a run's step, as a share of it, from a shape's runs beside each other.
double spread_of(const std::vector<RunStep>& runs, std::size_t shapes) {
  double squares = 0;
  for (std::size_t shape = 0; shape < shapes; ++shape) {
    double mean = 0;
    for (std::size_t i = shape; i < runs.size(); i += shapes)
      mean += std::log(runs[i].seconds) / kRounds;
    for (std::size_t i = shape; i < runs.size(); i += shapes)
      squares += std::pow(std::log(runs[i].seconds) - mean, 2) / (kRounds - 1);
  }
  return std::min(1.0, std::sqrt(squares / static_cast<double>(shapes)));
}

std::string summary(const std::vector<RunStep>& runs, const std::vector<double>& ratios,
                    const scheduler::Cluster& cluster) {
  double sum = 0, worst = 0;
  for (const double ratio : ratios) {
    sum += std::abs(ratio - 1) / static_cast<double>(ratios.size());
    worst = std::max(worst, std::abs(ratio - 1));
  }
  return fmt::format(
      "{} small runs: the model is off by {:.0f} % on average, {:.0f} % at most; sharing cores "
      "costs {:.0f} %, handing them over {} an exchange and {} a message, waking {} a message, a "
      "step {}; a run again differs by {:.0f} %",
      runs.size(), 100 * sum, 100 * worst, 100 * (cluster.node.crowding - 1),
      scheduler::rounded_text(scheduler::Unit::Time, cluster.node.handover),
      scheduler::rounded_text(scheduler::Unit::Time, cluster.node.wakeup),
      scheduler::rounded_text(scheduler::Unit::Time, cluster.node.idle_wakeup),
      scheduler::rounded_text(scheduler::Unit::Time, cluster.kernels.step),
      100 * cluster.node.spread);
}

}  // namespace

std::vector<RunShape> probe_shapes(int workers, int cores) {
  std::vector<RunShape> shapes;
  const int apart = std::min(workers, cores);
  if (apart < 2) {
    shapes.push_back({.hidden = 160, .micro_batches = 4});
    shapes.push_back({.hidden = 96, .heads = 6, .layers = 3, .micro_batches = 4});
    shapes.push_back({.hidden = 144, .heads = 6, .layers = 3, .text = true});
  } else {
    const int pairs = apart / 2 * 2;
    // With a core to spare: what kernels take where nobody else has anything to do.
    shapes.push_back({.hidden = 112, .heads = 4, .layers = 3, .micro_batches = 4, .text = true});
    shapes.push_back({.hidden = 96, .heads = 6, .layers = 3, .data = apart, .micro_batches = 4});
    shapes.push_back({.hidden = 160, .layers = 3, .data = pairs, .expert = 2, .micro_batches = 3});
    shapes.push_back({.hidden = 144, .heads = 6, .layers = 3, .data = apart, .text = true});
    // A position that waits for its neighbour, with a core of its own.
    shapes.push_back(
        {.hidden = 112, .heads = 4, .layers = 4, .pipeline = 2, .micro_batches = 6, .text = true});
  }
  if (workers <= cores || workers < 4) return shapes;
  const int half = workers / 2;
  const int expert = workers % 4 == 0 ? 2 : 1;
  // Many parameters on every rank: what gradients summed and weights gathered take in a run.
  shapes.push_back({.hidden = 160, .layers = 2, .data = workers, .micro_batches = 2});
  shapes.push_back({.hidden = 96,
                    .heads = 6,
                    .layers = 4,
                    .pipeline = 2,
                    .data = half,
                    .expert = expert,
                    .micro_batches = 4,
                    .schedule = "dualpipe"});
  shapes.push_back({.hidden = 160, .layers = 2, .pipeline = 2, .data = half, .micro_batches = 4});
  // One lane: nobody else has anything to do while a position waits for its neighbour.
  shapes.push_back({.hidden = 112, .heads = 4, .layers = 4, .pipeline = 4, .micro_batches = 6});
  shapes.push_back({.hidden = 144,
                    .heads = 6,
                    .layers = 3,
                    .pipeline = 2,
                    .data = half,
                    .expert = expert,
                    .micro_batches = 4,
                    .text = true});
  return shapes;
}

std::string words_to_learn() {
  constexpr int kWords = 6000;
  Rng rng(7, "probe text");
  std::string text;
  for (int i = 0; i < kWords; ++i) {
    for (auto letters = 2 + rng.below(6); letters > 0; --letters)
      text += static_cast<char>('a' + rng.below(26));
    text += i % 12 == 11 ? ".\n" : " ";
  }
  return text;
}

std::string job_text(const RunShape& s, int steps, const std::string& text) {
  const std::string data = s.text ? fmt::format("{{task: text, path: '{}', context: 48}}", text)
                                  : "{task: arithmetic, min_difficulty: 2, max_difficulty: 6}";
  return fmt::format(
      "name: probe\n"
      "seed: 7\n"
      "recipe: [pretrain]\n"
      "model: {{vocab_size: 384, hidden_size: {}, intermediate_size: {}, moe_intermediate_size: {},"
      " num_hidden_layers: {}, first_k_dense_replace: 1, num_attention_heads: {},"
      " n_routed_experts: 8, num_experts_per_tok: 2, n_group: 2, topk_group: 2,"
      " qk_rope_head_dim: 16, initializer_range: 0.08, max_position_embeddings: 128}}\n"
      "tokenizer: {{numbers: {}}}\n"
      "data: {}\n"
      "parallel: {{pipeline: {}, data: {}, expert: {}, micro_batches: {}, schedule: {}}}\n"
      "pretrain: {{steps: {}, batch: {}, lr: 1e-3, eval_every: 0, eval_problems: 8}}\n"
      "checkpoint: {{every_steps: 1000000}}\n"
      "trace: {{steps: {}}}\n",
      s.hidden, 2 * s.hidden, 3 * s.hidden / 4, s.layers, s.heads, s.text ? 0 : 99, data,
      s.pipeline, s.data, s.expert, s.micro_batches, s.schedule, steps,
      2 * s.data * s.micro_batches, kKept);
}

Expected<RunStep> run_shape(const RunShape& shape, const std::string& program,
                            const std::filesystem::path& scratch, double expected, double seconds) {
  const double wanted = seconds / std::max(expected, 1e-4);
  const int steps = kWarmUp + static_cast<int>(std::clamp(wanted, 17.0, double{kKept} - 8));
  const RunPaths run{scratch / "run"};
  const RemovedAtEnd removed{run.root};
  const auto job = scratch / "job.yaml", log = scratch / "log.txt";
  std::error_code ignored;
  std::filesystem::remove(log, ignored);
  const auto text = scratch / "words.txt";
  if (shape.text) WEFT_TRY(write_file_atomically(text, words_to_learn()));
  WEFT_TRY(write_file_atomically(job, job_text(shape, steps, text.string())));
  SpawnOptions options{
      {program, "run", job.string(), "--dir", run.root.string(), "-q"}, {}, log, {}};
  // It would look for this machine's description, and compare itself.
  options.environment.emplace_back("XDG_CONFIG_HOME", scratch.string());
  WEFT_TRY_ASSIGN(const pid_t child, spawn(options));
  WEFT_TRY(wait_for(child, log));
  const Loaded loaded = load_job(job);
  if (!loaded.ok()) return fail(Code::Internal, loaded.diagnostics.front().message);
  RunStep result;
  WEFT_TRY_ASSIGN(result.work, work_of(loaded.job));
  const RingFiles files = read_ring_files(run.traces());
  auto taken = dualpipe::measured_steps(files.recordings);
  std::erase_if(taken, [](const dualpipe::MeasuredStep& one) { return one.step <= kWarmUp; });
  result.seconds = step_period(taken).median;
  result.computing = computing_seconds(taken);
  result.between = seconds_between_passes(taken);
  if (!(result.seconds > 0))
    return fail(Code::Unavailable, "a small run recorded no steps below " + run.traces().string());
  return result;
}

Expected<void> probe_runs(const ProbeOptions& options, scheduler::Cluster& cluster,
                          const std::function<void(const std::string&)>& talk) {
  if (options.program.empty()) return {};
  std::string pattern = (std::filesystem::temp_directory_path() / "weft-probe-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) return io_error("create", pattern, errno);
  const RemovedAtEnd scratch{pattern};
  const auto shapes = probe_shapes(static_cast<int>(cluster.node.gpus.value),
                                   static_cast<int>(cluster.node.cores.value));
  std::vector<RunStep> runs;
  // All of them and then all again, so that what drifts does not hit one shape alone; three times,
  // so that one disturbance does not leave a shape without a good run.
  for (int round = 0; round < kRounds; ++round)
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const double expected = round > 0 ? runs[i].seconds : kGuess;
      WEFT_TRY_ASSIGN(RunStep run, run_shape(shapes[i], options.program, scratch.path, expected,
                                             kLonger * options.seconds));
      runs.push_back(std::move(run));
    }
  cluster.node.spread = {spread_of(runs, shapes.size()), "measured: small runs, three times each"};
  weigh_repeated(runs, shapes.size());
  const std::vector<double> ratios = fit_runs(runs, cluster);
  if (ratios.empty()) return fail(Code::Internal, "the model has no answer for a small run");
  talk(summary(runs, ratios, cluster));
  return {};
}

}  // namespace weft::runtime
