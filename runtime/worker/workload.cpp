#include "runtime/worker/workload.h"

#include "runtime/job/tokenizer.h"

namespace weft::runtime {

namespace data = trainer::data;

namespace {

Expected<std::vector<trainer::MicroBatch>> batch_of_files(const StageData& stage, int batch,
                                                          const BatchRequest& request) {
  WEFT_TRY_ASSIGN(const std::vector<trainer::corpus::Planned> plan,
                  stage.train->plan(static_cast<std::uint64_t>(request.first_sample), batch));
  return stage.train->batch(plan, request.micro_batches, trainer::Mode::Train, request.needed);
}

}  // namespace

Expected<std::unique_ptr<Workload>> Workload::open(const Job& job,
                                                   const std::filesystem::path& data_directory) {
  WEFT_TRY_ASSIGN(const data::Tokenizer tokenizer, open_tokenizer(job));
  std::unique_ptr<Workload> workload(new Workload(job, tokenizer));
  if (job.data.task == "text") {
    WEFT_TRY_ASSIGN(
        workload->corpus_,
        data::TextCorpus::load(job.data.path, job.data.validation_fraction, job.data.context,
                               job.tokenizer.kind == "bpe" ? &workload->tokenizer_ : nullptr));
    return workload;
  }
  if (job.data.task == "files") {
    WEFT_TRY_ASSIGN(workload->files_, open_file_data(job, data_directory));
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
  return has_problems() ? task_->max_prompt_tokens(tokenizer_) : job_.data.context;
}
int Workload::longest_trace() const {
  return has_problems() ? task_->max_trace_tokens(tokenizer_) : 0;
}

Expected<std::vector<trainer::MicroBatch>> Workload::pretrain_batch(
    const BatchRequest& request) const {
  const int count = request.sequences;
  const long long step = request.step;
  const int micro_batches = request.micro_batches;
  if (files_) return batch_of_files(files_->pretrain, count, request);
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

Expected<std::vector<trainer::MicroBatch>> Workload::cold_start_batch(
    const BatchRequest& request) const {
  const ColdStartJob& job = job_.cold_start;
  if (files_) return batch_of_files(files_->cold_start, request.sequences, request);
  const data::Mixture mixture{job.blind, job.complete, job.broken_format};
  std::vector<data::Example> examples;
  for (int i = 0; i < request.sequences; ++i)
    examples.push_back(
        data::cold_start_example(*task_, tokenizer_, mixture, job_.seed, request.step, i));
  return data::pack_supervised(examples, request.micro_batches);
}

}  // namespace weft::runtime
