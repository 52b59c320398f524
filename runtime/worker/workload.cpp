#include "runtime/worker/workload.h"

#include "runtime/job/tokenizer.h"

namespace weft::runtime {

namespace data = trainer::data;

Expected<std::unique_ptr<Workload>> Workload::open(const Job& job) {
  WEFT_TRY_ASSIGN(const data::Tokenizer tokenizer, open_tokenizer(job));
  std::unique_ptr<Workload> workload(new Workload(job, tokenizer));
  if (job.data.task == "text") {
    WEFT_TRY_ASSIGN(
        workload->corpus_,
        data::TextCorpus::load(job.data.path, job.data.validation_fraction, job.data.context,
                               job.tokenizer.kind == "bpe" ? &workload->tokenizer_ : nullptr));
    return workload;
  }
  WEFT_TRY_ASSIGN(workload->task_,
                  data::make_task(job.data.task, job.data.min_difficulty, job.data.max_difficulty));
  std::vector<trainer::rl::WeightedReward> rewards;
  for (const RewardJob& reward : job.rewards) rewards.push_back({reward.name, reward.weight});
  WEFT_TRY_ASSIGN(workload->rewards_, trainer::rl::Rewards::make(rewards));
  return workload;
}

int Workload::longest_prompt() const {
  return is_text() ? job_.data.context : task_->max_prompt_tokens(tokenizer_);
}
int Workload::longest_trace() const { return is_text() ? 0 : task_->max_trace_tokens(tokenizer_); }

Expected<std::vector<trainer::MicroBatch>> Workload::pretrain_batch(long long step,
                                                                    int micro_batches) const {
  const int count = job_.pretrain.batch;
  if (is_text()) {
    std::vector<std::vector<std::int32_t>> windows;
    for (int i = 0; i < count; ++i) windows.push_back(corpus_->window(job_.seed, step, i));
    return data::pack_windows(windows, micro_batches, trainer::Mode::Train);
  }
  std::vector<data::Example> examples;
  for (int i = 0; i < count; ++i)
    examples.push_back(data::pretrain_example(*task_, tokenizer_, job_.seed, step, i));
  return data::pack_supervised(examples, micro_batches);
}

Expected<std::vector<trainer::MicroBatch>> Workload::cold_start_batch(long long step,
                                                                      int micro_batches) const {
  const ColdStartJob& job = job_.cold_start;
  const data::Mixture mixture{job.blind, job.complete, job.broken_format};
  std::vector<data::Example> examples;
  for (int i = 0; i < job.batch; ++i)
    examples.push_back(data::cold_start_example(*task_, tokenizer_, mixture, job_.seed, step, i));
  return data::pack_supervised(examples, micro_batches);
}

}  // namespace weft::runtime
