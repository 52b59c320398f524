// The real binary as a child of the test, its workers found and counted from outside.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace weft::test {

/// How a `weft` process ended, and what it said.
struct Ended {
  int code = -1;        // exit code, when it exited
  int signal = 0;       // the signal that ended it, else 0
  bool in_time = true;  // false: it was killed because it did not end within the bound
  double seconds = 0;   // from start (or from the signal that was sent last) to its end
  std::string out, err;
};

/// One `weft` process. Whatever it started carries a mark in its environment, so that nothing of it
/// can hide; the destructor kills all of that, and so does the end of the thread that made it.
class Weft {
 public:
  /// `launcher`: words in front of the binary, such as those of ip netns exec.
  explicit Weft(const std::vector<std::string>& arguments,
                const std::filesystem::path& working_directory = {},
                const std::vector<std::string>& environment = {},
                const std::vector<std::string>& launcher = {});
  ~Weft();
  Weft(const Weft&) = delete;
  Weft& operator=(const Weft&) = delete;

  pid_t pid() const { return pid_; }
  /// Every living process that it started, itself excluded, ascending.
  std::vector<pid_t> everybody() const;
  /// Those that are workers.
  std::vector<pid_t> workers() const;
  /// Its coordinator's process, or -1.
  pid_t coordinator() const;
  /// The process that writes logs/worker-<rank>.log, or -1.
  pid_t worker(int rank) const;
  bool running();
  void signal(int number);
  /// SIGKILL to it and everybody that it started.
  void kill_all();
  /// SIGKILL to the process that was started alone: the agent.
  void kill_agent();
  Ended wait(std::chrono::milliseconds bound = std::chrono::seconds(100));

 private:
  std::string mark_;
  std::filesystem::path talk_;  // a directory with its stdout and stderr
  pid_t pid_ = -1;
  bool reaped_ = false;
  int status_ = 0;
  std::chrono::steady_clock::time_point since_;
};

/// Runs `weft` to its end.
Ended weft(const std::vector<std::string>& arguments,
           const std::filesystem::path& working_directory = {});

/// Asks again, every fraction of a millisecond, until it is so; false when the bound passed.
bool eventually(const std::function<bool()>& is_so,
                std::chrono::milliseconds bound = std::chrono::seconds(60));

/// A directory that is gone at the end, with the tiny jobs in it.
class Place {
 public:
  Place();
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return root_ / name; }
  const std::filesystem::path& root() const { return root_; }
  /// Writes a file and returns its path.
  std::string file(const std::string& name, const std::string& content) const;
  /// 40 steps of pre-training on 4 layers of width 32: pipeline 2 x 2 expert shards, DualPipe,
  /// a checkpoint every 10 steps.
  std::string supervised_job() const;
  /// 8 steps of pre-training, 4 of cold start, 6 of GRPO with a KL to the reference; two workers, a
  /// checkpoint every 2 steps.
  std::string grpo_job() const;

 private:
  std::filesystem::path root_;
};

/// Every whole line of a JSON-lines file; none when it is not there.
std::vector<nlohmann::json> lines_of(const std::filesystem::path& path);
/// metrics.jsonl without what a clock says.
std::vector<nlohmann::json> metrics_of(const std::filesystem::path& run);
/// Steps that metrics.jsonl holds by now; cheap enough to be asked in a loop.
long long steps_of(const std::filesystem::path& run);
/// Names in the run's ckpt/ that match: complete ones "step-…", partial ones "….partial-…".
std::vector<std::string> checkpoints_of(const std::filesystem::path& run, bool partial);
std::string text_of(const std::filesystem::path& path);

}  // namespace weft::test
