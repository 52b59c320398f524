// A job's data as batches: which task or text, which tokenizer, and the global batch of any step.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "runtime/job/job.h"
#include "trainer/data/pack.h"
#include "trainer/data/task.h"
#include "trainer/data/text.h"
#include "trainer/rl/reward.h"
#include "trainer/tokenizer/tokenizer.h"

namespace weft::runtime {

/// A value that never changes once opened; every batch is a function of the step. Threads: any.
class Workload {
 public:
  /// `job` must outlive it. Errors: those of the data (a missing or too short file, ...).
  static Expected<std::unique_ptr<Workload>> open(const Job& job);

  bool is_text() const { return corpus_.has_value(); }
  const trainer::data::TextCorpus& corpus() const { return *corpus_; }
  const trainer::data::Task& task() const { return *task_; }
  const trainer::data::Tokenizer& tokenizer() const { return tokenizer_; }
  const trainer::rl::Rewards& rewards() const { return *rewards_; }

  int longest_prompt() const;  // tokens, bos included
  int longest_trace() const;   // tokens, eos included

  Expected<std::vector<trainer::MicroBatch>> pretrain_batch(long long step,
                                                            int micro_batches) const;
  Expected<std::vector<trainer::MicroBatch>> cold_start_batch(long long step,
                                                              int micro_batches) const;

 private:
  Workload(const Job& job, trainer::data::Tokenizer tokenizer) : job_(job), tokenizer_(tokenizer) {}
  const Job& job_;
  trainer::data::Tokenizer tokenizer_;
  std::optional<trainer::data::TextCorpus> corpus_;
  std::unique_ptr<trainer::data::Task> task_;
  std::optional<trainer::rl::Rewards> rewards_;
};

}  // namespace weft::runtime
