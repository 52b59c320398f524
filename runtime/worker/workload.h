// A job's data as batches: which task or text, which tokenizer, and the global batch of any step.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/job/job.h"
#include "runtime/worker/file_data.h"
#include "trainer/data/pack.h"
#include "trainer/data/task.h"
#include "trainer/data/text.h"
#include "trainer/rl/reward.h"
#include "trainer/tokenizer/tokenizer.h"

namespace weft::runtime {

/// Which global batch of a stage, and how it is cut.
struct BatchRequest {
  long long step = 0;          // of the stage
  long long first_sample = 0;  // samples that the stage used before
  int sequences = 1;           // that it takes
  int micro_batches = 1;
  /// Only these need tokens (those of files are read where they are needed).
  std::function<bool(int)> needed;
};

/// A value that never changes once opened; every batch is a function of the step, or, from files,
/// of the number of samples used before. Threads: any.
class Workload {
 public:
  /// `job` must outlive it; `data` is where the indexes of files are. Errors: those of the data (a
  /// missing or too short file, ...).
  static Expected<std::unique_ptr<Workload>> open(const Job& job,
                                                  const std::filesystem::path& data);

  bool is_text() const { return corpus_.has_value(); }
  /// Null unless the job's data are files.
  const FileData* files() const { return files_ ? &*files_ : nullptr; }
  /// Are there problems with answers? Neither text nor files has any.
  bool has_problems() const { return task_ != nullptr; }
  const trainer::data::TextCorpus& corpus() const { return *corpus_; }
  const trainer::data::Task& task() const { return *task_; }
  const trainer::data::Tokenizer& tokenizer() const { return tokenizer_; }
  const trainer::rl::Rewards& rewards() const { return *rewards_; }

  int longest_prompt() const;  // tokens, bos included
  int longest_trace() const;   // tokens, eos included

  Expected<std::vector<trainer::MicroBatch>> pretrain_batch(const BatchRequest& request) const;
  Expected<std::vector<trainer::MicroBatch>> cold_start_batch(const BatchRequest& request) const;

 private:
  Workload(const Job& job, trainer::data::Tokenizer tokenizer) : job_(job), tokenizer_(tokenizer) {}
  const Job& job_;
  trainer::data::Tokenizer tokenizer_;
  std::optional<trainer::data::TextCorpus> corpus_;
  std::optional<FileData> files_;
  std::unique_ptr<trainer::data::Task> task_;
  std::optional<trainer::rl::Rewards> rewards_;
};

}  // namespace weft::runtime
