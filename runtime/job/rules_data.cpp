// What is read: tasks, files, the tokenizer.
#include <algorithm>

#include "runtime/job/fields.h"
#include "runtime/job/rules.h"
#include "runtime/job/validate.h"

namespace weft::runtime {
namespace {

/// Special tokens beside bytes and numbers: begin, end, <think>, </think>, <answer>, </answer>.
constexpr int kSpecialTokens = 6;
/// The sentinels of fill-in-the-middle, after all others.
constexpr int kFimTokens = 3;

}  // namespace

void Rules::check_data() {
  const bool text = job_.data.task == "text", files = job_.data.task == "files";
  check_files(files);
  for (const char* stage : {"cold_start", "grpo"})
    if (text && runs(stage))
      error({"data.task", "recipe"},
            std::string("recipe stage '") + stage +
                "' needs problems with answers, and data.task = text has none",
            "data.task: arithmetic or cups, or recipe: [pretrain]");
  if (text && job_.data.path.empty())
    error({"data.path", "data.task"}, "data.task = text needs data.path",
          "name a UTF-8 file, or --set data.path=FILE");
  if (!text && !job_.data.path.empty())
    warn({"data.path", "data.task"}, "data.path is not read while data.task = " + job_.data.task,
         "data.task: text");
  if ((text || files) && job_.data.context > job_.model.max_position_embeddings)
    error({"data.context", "model.max_position_embeddings"},
          "data.context = " + number(job_.data.context) +
              " is longer than model.max_position_embeddings = " +
              number(job_.model.max_position_embeddings),
          "raise model.max_position_embeddings to " + number(job_.data.context));
  if (!text && !files && job_.data.min_difficulty > job_.data.max_difficulty)
    error({"data.min_difficulty", "data.max_difficulty"},
          "data.min_difficulty = " + number(job_.data.min_difficulty) +
              " is above data.max_difficulty = " + number(job_.data.max_difficulty),
          "swap them");
  check_tokenizer(files);
}

void Rules::check_tokenizer(bool files) {
  const TokenizerJob& t = job_.tokenizer;
  if (t.kind == "bpe" && t.path.empty())
    error({"tokenizer.path", "tokenizer.kind"}, "tokenizer.kind = bpe needs tokenizer.path",
          "name a tokenizer.json, or make one with weft tokenizer train");
  if (t.kind != "bpe" && !t.path.empty())
    warn({"tokenizer.path", "tokenizer.kind"},
         "tokenizer.path is not read while tokenizer.kind = " + t.kind, "tokenizer.kind: bpe");
  if (t.kind == "bpe" && t.numbers > 0)
    warn({"tokenizer.numbers", "tokenizer.kind"},
         "tokenizer.numbers is not used while tokenizer.kind = bpe", "tokenizer.numbers: 0");
  if (job_.chat.template_name != "custom")
    for (const Field& field : fields())
      if (group_of(field.path) == "chat" && field.path != "chat.template" &&
          value_text(field, job_) != value_text(field, Job{}))
        warn({field.path, "chat.template"},
             field.path + " is not used while chat.template = " + job_.chat.template_name,
             "chat.template: custom");
  if (t.kind != "byte") return;
  const int tokens =
      256 + kSpecialTokens + (job_.tokenizer.numbers > 0 ? job_.tokenizer.numbers + 1 : 0) +
      (files && job_.data.fim_rate > 0 ? kFimTokens : 0);  // bytes have none of their own
  if (job_.model.vocab_size < tokens)
    error({"model.vocab_size", "tokenizer.numbers"},
          "model.vocab_size = " + number(job_.model.vocab_size) + " cannot hold the tokenizer's " +
              number(tokens) + " tokens (256 bytes, 6 special, numbers to " +
              number(job_.tokenizer.numbers) + ")",
          "at least " + number(tokens) + "; " + number((tokens + 63) / 64 * 64) +
              " is a round width");
}

void Rules::check_files(bool files) {
  const DataJob& d = job_.data;
  if (!files) {
    if (!d.train.empty() || !d.sft.empty())
      warn({"data.train", "data.sft", "data.task"},
           "data.train and data.sft are not read while data.task = " + d.task, "data.task: files");
    return;
  }
  if (runs("grpo"))
    error({"data.task", "recipe"},
          "recipe stage 'grpo' cannot take its prompts from files yet (data.task = files)",
          "data.task: arithmetic or cups, or leave grpo out");
  if (runs("pretrain") && d.train.empty())
    error({"data.train", "data.task"}, "data.task = files needs data.train for pretrain",
          "name files, or --set data.train=FILE");
  if (runs("cold_start") && d.train.empty() && d.sft.empty())
    error({"data.sft", "data.task"}, "data.task = files needs data.sft for cold_start",
          "name files, or --set data.sft=FILE");
  if (!d.path.empty())
    warn({"data.path", "data.task"}, "data.path is not read while data.task = files", "data.train");
  if (d.fim_rate > 0 && d.pack != "stream")
    error({"data.fim_rate", "data.pack"}, "data.fim_rate needs data.pack = stream",
          "data.pack: stream, or data.fim_rate: 0");
  const auto weights = parse_stage_factors(d.weights);
  const bool positive =
      weights && std::ranges::all_of(*weights, [](double weight) { return weight > 0; });
  if (!positive || (!weights->empty() && weights->size() != d.train.size()))
    error({"data.weights", "data.train"},
          "data.weights = '" + d.weights +
              "' does not have one number above 0 for each of "
              "data.train's " +
              number(static_cast<long long>(d.train.size())) + " sources",
          "such as '7 3', or leave it out");
}

}  // namespace weft::runtime
