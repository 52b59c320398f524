#include "tests/runtime/run_harness.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

extern char** environ;

namespace weft::test {

using nlohmann::json;
namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

namespace {

constexpr const char* kMarkName = "WEFT_TEST_MARK=";

fs::path new_directory() {
  std::string name = (fs::temp_directory_path() / "weft_run_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot create " + name);
  return name;
}

/// A zombie has no environment left, so it counts as gone.
bool has_mark(pid_t pid, const std::string& mark) {
  const std::string environment = text_of("/proc/" + std::to_string(pid) + "/environ");
  return ('\0' + environment).find('\0' + mark + '\0') != std::string::npos;
}

/// Is `verb` the first argument of this process?
bool is_started_as(pid_t pid, const std::string& verb) {
  const std::string line = text_of("/proc/" + std::to_string(pid) + "/cmdline");
  const std::size_t end = line.find('\0');
  return end != std::string::npos && line.compare(end + 1, verb.size() + 1, verb + '\0') == 0;
}

std::vector<pid_t> marked(const std::string& mark) {
  std::vector<pid_t> found;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = std::stoi(name);
    if (pid != ::getpid() && has_mark(pid, mark)) found.push_back(pid);
  }
  std::ranges::sort(found);
  return found;
}

double since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

}  // namespace

Weft::Weft(const std::vector<std::string>& arguments, const fs::path& working_directory,
           const std::vector<std::string>& environment, const std::vector<std::string>& launcher) {
  static std::atomic<int> count = 0;
  mark_ = kMarkName + std::to_string(::getpid()) + "-" + std::to_string(++count);
  talk_ = new_directory();
  const std::string out = talk_ / "out", err = talk_ / "err";
  const std::string directory = working_directory.empty() ? "/" : working_directory.string();
  std::vector<std::string> words = launcher;
  words.emplace_back(WEFT_BINARY);
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv, envp;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (!std::string_view(*entry).starts_with("WEFT_")) envp.push_back(*entry);
  envp.push_back(mark_.data());
  std::vector<std::string> more = environment;
  for (std::string& variable : more) envp.push_back(variable.data());
  envp.push_back(nullptr);
  since_ = SteadyClock::now();
  const pid_t test = ::getpid();
  pid_ = ::fork();
  if (pid_ != 0) return;
  // A test that aborts leaves nobody behind: what it started dies with it, and what that started
  // with that.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != test) ::_exit(125);
  const int null = ::open("/dev/null", O_RDONLY);
  const int to_out = ::open(out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  const int to_err = ::open(err.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dup2(null, 0);
  ::dup2(to_out, 1);
  ::dup2(to_err, 2);
  for (const int own : {null, to_out, to_err}) ::close(own);
  if (::chdir(directory.c_str()) != 0) ::_exit(126);
  ::execvpe(argv[0], argv.data(), envp.data());
  ::_exit(127);
}

Weft::~Weft() {
  kill_all();
  if (!reaped_) ::waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  fs::remove_all(talk_, ignored);
}

std::vector<pid_t> Weft::everybody() const {
  std::vector<pid_t> all = marked(mark_);
  std::erase(all, pid_);
  return all;
}

std::vector<pid_t> Weft::workers() const {
  std::vector<pid_t> all = everybody();
  std::erase_if(all, [](pid_t pid) { return !is_started_as(pid, "worker"); });
  return all;
}

pid_t Weft::coordinator() const {
  for (const pid_t pid : everybody())
    if (is_started_as(pid, "coordinator")) return pid;
  return -1;
}

pid_t Weft::worker(int rank) const {
  const std::string wanted = "worker-" + std::to_string(rank) + ".log";
  for (const pid_t pid : workers()) {
    std::error_code error;
    const fs::path log = fs::read_symlink("/proc/" + std::to_string(pid) + "/fd/1", error);
    if (!error && log.filename() == wanted) return pid;
  }
  return -1;
}

bool Weft::running() {
  if (!reaped_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) reaped_ = true;
  return !reaped_;
}

void Weft::signal(int number) {
  since_ = SteadyClock::now();
  if (running()) ::kill(pid_, number);
}

void Weft::kill_all() {
  since_ = SteadyClock::now();
  // The agent first, or it would see its workers die and write that down.
  if (!reaped_) ::kill(pid_, SIGKILL);
  for (const pid_t pid : everybody()) ::kill(pid, SIGKILL);
}

void Weft::kill_agent() { signal(SIGKILL); }

Ended Weft::wait(std::chrono::milliseconds bound) {
  Ended ended;
  ended.in_time = eventually([this] { return !running(); }, bound);
  ended.seconds = since(since_);
  if (!ended.in_time) {
    kill_all();
    ::waitpid(pid_, &status_, 0);
    reaped_ = true;
  }
  if (WIFEXITED(status_)) ended.code = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) ended.signal = WTERMSIG(status_);
  ended.out = text_of(talk_ / "out");
  ended.err = text_of(talk_ / "err");
  return ended;
}

Ended weft(const std::vector<std::string>& arguments, const fs::path& working_directory) {
  Weft child(arguments, working_directory);
  return child.wait();
}

bool eventually(const std::function<bool()>& is_so, std::chrono::milliseconds bound) {
  const auto end = SteadyClock::now() + bound;
  while (!is_so()) {
    if (SteadyClock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  return true;
}

Place::Place() : root_(new_directory()) {}
Place::~Place() {
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

std::string Place::file(const std::string& name, const std::string& content) const {
  const fs::path path = root_ / name;
  std::ofstream(path, std::ios::binary) << content;
  return path.string();
}

namespace {

constexpr const char* kModel = R"(
model:
  vocab_size: 320
  hidden_size: 32
  intermediate_size: 48
  moe_intermediate_size: 16
  num_hidden_layers: 4
  first_k_dense_replace: 1
  num_attention_heads: 2
  n_routed_experts: 4
  num_experts_per_tok: 2
  n_group: 2
  topk_group: 2
  q_lora_rank: 16
  kv_lora_rank: 16
  qk_nope_head_dim: 8
  qk_rope_head_dim: 4
  v_head_dim: 8
  max_position_embeddings: 128
tokenizer: {numbers: 49}
data: {task: arithmetic, min_difficulty: 2, max_difficulty: 3}
)";

}  // namespace

std::string Place::supervised_job() const {
  return file("supervised.yaml",
              std::string("name: tiny\nseed: 7\nrecipe: [pretrain]\n") + kModel + R"(
parallel: {pipeline: 2, data: 2, expert: 2, schedule: dualpipe, micro_batches: 4}
pretrain: {steps: 40, batch: 8, lr: 1e-3, eval_problems: 4}
checkpoint: {every_steps: 10, keep: 3}
)");
}

std::string Place::grpo_job() const {
  return file(
      "grpo.yaml",
      std::string("name: tiny-grpo\nseed: 3\nrecipe: [pretrain, cold_start, grpo]\n") + kModel + R"(
parallel: {pipeline: 2, data: 1, expert: 1, schedule: dualpipe, micro_batches: 4}
pretrain: {steps: 8, batch: 8, lr: 1e-3, eval_problems: 4}
cold_start: {steps: 4, batch: 8, lr: 1e-3, eval_problems: 4}
grpo:
  steps: 6
  prompts_per_step: 2
  num_generations: 4
  max_completion_length: 8
  lr: 1e-3
  beta: 0.05
  num_iterations: 2
  eval_every: 3
  eval_problems: 4
checkpoint: {every_steps: 2, keep: 3}
)");
}

std::vector<json> lines_of(const fs::path& path) {
  std::vector<json> records;
  std::istringstream text(text_of(path));
  for (std::string line; std::getline(text, line);) {
    json record = json::parse(line, nullptr, false);
    if (!record.is_discarded()) records.push_back(std::move(record));
  }
  return records;
}

std::vector<json> metrics_of(const fs::path& run) {
  std::vector<json> records = lines_of(run / "metrics.jsonl");
  for (json& record : records)
    for (const char* timing :
         {"tokens_per_second", "step_seconds", "straggler_score", "checkpoint_stall_seconds",
          "checkpoint_write_seconds", "memory_copy_seconds"})
      record.erase(timing);
  return records;
}

long long steps_of(const fs::path& run) {
  const std::string text = text_of(run / "metrics.jsonl");
  return std::ranges::count(text, '\n');
}

std::vector<std::string> checkpoints_of(const fs::path& run, bool partial) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(run / "ckpt", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool is_partial = name.find(".partial-") != std::string::npos;
    if (name.starts_with("step-") && is_partial == partial) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace weft::test
