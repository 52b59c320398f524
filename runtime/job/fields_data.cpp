// The table's chapter about what is read: tokens, chats, problems, files.
#include "runtime/job/fields.h"

#define WEFT_AT(member) [](Job& job) -> Slot { return &job.member; }

namespace weft::runtime {
namespace {

constexpr auto kMay = OnResume::MayChange;

void add_chat(std::vector<Field>& out) {
  out.push_back(
      {.path = "chat.template",
       .type = FieldType::Choice,
       .slot = WEFT_AT(chat.template_name),
       .choices = {"none", "deepseek-r1", "chatml", "plain-r1-zero", "custom"},
       .help = "How a prompt is written: none puts the begin token and the prompt alone. "
               "deepseek-r1 and chatml need a tokenizer with their role tokens; plain-r1-zero "
               "is the words of DeepSeek-R1's table 1. custom: the prefixes and suffixes of this "
               "group.",
       .interacts = "tokenizer.path must hold the template's tokens; the other fields of chat "
                    "belong to custom",
       .example = "plain-r1-zero",
       .names = {{"TRL", "chat_template_path"},
                 {"verl", "data.custom_chat_template"},
                 {"paper", "R1, table 1"}}});
  // Literals: a field keeps views of them.
  const auto text = [&](const char* path, Slot (*slot)(Job&), const char* help,
                        const char* example) {
    out.push_back({.path = path,
                   .type = FieldType::Text,
                   .slot = slot,
                   .help = help,
                   .interacts = "chat.template: custom, and nothing else, uses it",
                   .example = example});
  };
  text("chat.begin", WEFT_AT(chat.begin),
       "What a conversation begins with, behind the begin token.", "You are a careful reasoner.");
  text("chat.system_prefix", WEFT_AT(chat.system_prefix), "Before the words of the system.",
       R"("System: ")");
  text("chat.system_suffix", WEFT_AT(chat.system_suffix), "Behind the words of the system.",
       R"(" ")");
  text("chat.user_prefix", WEFT_AT(chat.user_prefix), "Before the words of a user.", R"("User: ")");
  text("chat.user_suffix", WEFT_AT(chat.user_suffix), "Behind the words of a user.", R"(" ")");
  text("chat.assistant_prefix", WEFT_AT(chat.assistant_prefix),
       "Before the words of the assistant: what a prompt ends with.", R"("Assistant: ")");
  text("chat.assistant_suffix", WEFT_AT(chat.assistant_suffix),
       "Behind the end of an assistant's turn; not learned.", R"(" ")");
  text("chat.end_token", WEFT_AT(chat.end_token),
       "The token that ends an assistant's turn; empty: the tokenizer's end token.", "<|im_end|>");
}

void add_data(std::vector<Field>& out) {
  out.push_back({.path = "tokenizer.kind",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(tokenizer.kind),
                 .choices = {"byte", "bpe"},
                 .help = "byte: each byte of the UTF-8 text is a token, beside the special tokens "
                         "for <think>, <answer> and the ends. bpe: byte-level byte-pair encoding "
                         "from the file tokenizer.path.",
                 .interacts = "model.vocab_size must hold all tokens; bpe needs tokenizer.path",
                 .example = "byte"});
  out.push_back({.path = "tokenizer.path",
                 .type = FieldType::Text,
                 .slot = WEFT_AT(tokenizer.path),
                 .help = "A Hugging Face tokenizer.json, or a directory that holds one (a "
                         "tokenizer_config.json beside it names the begin and end tokens); "
                         "relative to where weft is started. weft tokenizer train makes one.",
                 .interacts = "tokenizer.kind: bpe, and nothing else, needs it; "
                              "model.vocab_size must hold its tokens (weft tokenizer show)",
                 .example = "tokenizer.json",
                 .names = {{"verl", "actor_rollout_ref.model.path"}},
                 .on_resume = kMay});
  out.push_back(
      {.path = "tokenizer.numbers",
       .type = FieldType::Int,
       .slot = WEFT_AT(tokenizer.numbers),
       .range = {0, 99999},
       .help = "Whole numbers from 0 to this one become single tokens, which keeps small models "
               "from spending their depth on "
               "digits. 0: none, digits are bytes.",
       .interacts =
           "model.vocab_size must hold them; data.max_difficulty decides how large sums become; "
           "tokenizer.kind: bpe has its own and does not use it",
       .example = "99"});
  add_chat(out);
  out.push_back(
      {.path = "data.task",
       .type = FieldType::Choice,
       .slot = WEFT_AT(data.task),
       .choices = {"arithmetic", "cups", "text", "files"},
       .help = "arithmetic: sums of one-digit terms with partial sums as the chain of thought. "
               "cups: follow a ball under cups "
               "through swaps. text: next-token training on data.path, held in memory. files: "
               "documents "
               "and answers from files of any size (data.train, data.sft).",
       .interacts = "recipe: grpo needs arithmetic or cups; text needs data.path, files data.train "
                    "or data.sft",
       .example = "arithmetic"});
  out.push_back(
      {.path = "data.path",
       .type = FieldType::Text,
       .slot = WEFT_AT(data.path),
       .help = "The UTF-8 file that task text trains on; relative to where weft is started.",
       .interacts = "data.task: text, and nothing else, needs it; data.validation_fraction holds "
                    "its end out",
       .example = "corpus.txt",
       .names = {{"verl", "data.train_files"}, {"TRL", "dataset_name"}},
       .on_resume = kMay});
  out.push_back({.path = "data.validation_fraction",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(data.validation_fraction),
                 .range = {0, 1, false, true},
                 .unit = "share of the data",
                 .help = "Task text: this share at the end of the file is never trained on and "
                         "gives the validation loss. Task files: this share of the documents, told "
                         "by a hash of their text; 0: none.",
                 .interacts = "data.path, pretrain.eval_every",
                 .example = "0.1"});
  out.push_back(
      {.path = "data.context",
       .type = FieldType::Int,
       .slot = WEFT_AT(data.context),
       .range = {2, 1 << 20},
       .unit = "tokens",
       .help = "Tasks text and files: tokens of one training sequence.",
       .interacts = "model.max_position_embeddings must be at least this",
       .example = "64",
       .names = {{"TRL", "max_length"}, {"nanoGPT", "block_size"}, {"Megatron", "seq_length"}}});
  out.push_back(
      {.path = "data.min_difficulty",
       .type = FieldType::Int,
       .slot = WEFT_AT(data.min_difficulty),
       .range = {1, 64},
       .help =
           "The easiest problem of a built-in task: terms of a sum (arithmetic) or swaps (cups).",
       .interacts = "data.max_difficulty must not be smaller",
       .example = "2"});
  out.push_back(
      {.path = "data.max_difficulty",
       .type = FieldType::Int,
       .slot = WEFT_AT(data.max_difficulty),
       .range = {1, 64},
       .help =
           "The hardest problem of a built-in task: terms of a sum (arithmetic) or swaps (cups).",
       .interacts =
           "data.min_difficulty; grpo.max_completion_length must leave room for the longest chain",
       .example = "6"});
}

void add_files(std::vector<Field>& out) {
  using enum FieldType;
  const auto add = [&](const char* path, FieldType type, Slot (*slot)(Job&), std::string_view help,
                       std::string_view interacts, std::string_view example,
                       std::vector<OtherName> names = {}) -> Field& {
    out.push_back({.path = path,
                   .type = type,
                   .slot = slot,
                   .help = help,
                   .interacts = interacts,
                   .example = example,
                   .names = std::move(names)});
    return out.back();
  };
  add("data.train", Paths, WEFT_AT(data.train),
      "Task files: what pretrain learns from, as paths and globs, plain text or JSONL (.jsonl, "
      ".json, .ndjson), packed with gzip or not. A JSONL line is a document (data.text_key) or a "
      "prompt with its answer in the form of GSM8K, TRL or verl. The files are turned into tokens "
      "once, before the first step.",
      "data.task: files; data.weights mixes them; a file that changes afterwards ends the run",
      "[web/*.jsonl, books/*.txt]",
      {{"verl", "data.train_files"}, {"Megatron", "data_path"}, {"TRL", "dataset_name"}});
  add("data.sft", Paths, WEFT_AT(data.sft),
      "Task files: what cold_start learns from; loss is taken on the answers alone. Empty: "
      "data.train.",
      "recipe with cold_start", "gsm8k/train.jsonl");
  add("data.validation", Paths, WEFT_AT(data.validation),
      "Task files: evaluated and never learned from. Empty: data.validation_fraction of the "
      "documents, chosen by a hash of their text (of the prompt where there is one), so that a "
      "document that comes twice is on one side.",
      "data.validation_fraction, data.validation_windows", "gsm8k/test.jsonl",
      {{"verl", "data.val_files"}, {"Megatron", "valid_data_path"}});
  add("data.weights", Text, WEFT_AT(data.weights),
      "How often a sample comes from each of data.train's sources, relative to the others. Each "
      "source has its own epochs. Empty: by size, so that all end an epoch together.",
      "data.train: one number a source", "7 3", {{"Megatron", "data_path's weights"}});
  add("data.pack", Choice, WEFT_AT(data.pack),
      "How pretrain's documents fill windows of data.context tokens. stream: one after another, "
      "and attention runs across their borders, as DeepSeek-V3 was pre-trained. sample: whole "
      "documents, best fit, none sees another. cold_start always packs as sample.",
      "data.context, data.fim_rate", "stream", {{"TRL", "packing"}})
      .choices = {"stream", "sample"};
  add("data.fim_rate", Real, WEFT_AT(data.fim_rate),
      "Share of pretrain's documents that are rewritten for fill-in-the-middle: prefix, suffix, "
      "middle (PSM). DeepSeek-V3 uses 0.1.",
      "data.pack: stream; model.vocab_size must hold three more tokens than the byte tokenizer",
      "0.1", {{"Megatron", "fim_rate"}, {"paper", "FIM, DeepSeek-V3 4.1"}})
      .range = {0, 1};
  add("data.shuffle", Bool, WEFT_AT(data.shuffle),
      "Documents and windows come in an order drawn from seed and epoch; else as they stand in the "
      "files.",
      "seed", "true", {{"verl", "data.shuffle"}, {"TRL", "shuffle_dataset"}});
  add("data.document", Choice, WEFT_AT(data.document),
      "What one document of a plain text file is. file: the whole file, in pieces of at most 64 "
      "KiB cut at line ends. paragraph: what stands between blank lines. line: a line.",
      "data.validation_fraction holds documents out", "paragraph")
      .choices = {"file", "paragraph", "line"};
  add("data.text_key", Text, WEFT_AT(data.text_key),
      "The member of a JSONL line that is a document.", "data.train", "text",
      {{"TRL", "dataset_text_field"}, {"Megatron", "json_keys"}});
  add("data.answer_format", Choice, WEFT_AT(data.answer_format),
      "How an answer to a prompt is written. plain: as in the file, GSM8K's calculator marks left "
      "out and its #### kept. think: <think>worked answer</think><answer>gold answer</answer>.",
      "rewards read the second form", "think")
      .choices = {"plain", "think"};
  add("data.add_bos", Bool, WEFT_AT(data.add_bos), "Each document starts with the begin token.",
      "data.pack", "true", {{"NeMo-RL", "data.add_bos"}});
  add("data.add_eos", Bool, WEFT_AT(data.add_eos), "Each document ends with the end token.",
      "data.pack", "true", {{"NeMo-RL", "data.add_eos"}, {"Megatron", "append_eod"}});
  add("data.bad_lines", Choice, WEFT_AT(data.bad_lines),
      "What a JSONL line that is broken or has no key of a known form leads to. fail: an error "
      "that names file and line. skip: it is left out and counted.",
      "data.train", "skip")
      .choices = {"fail", "skip"};
  Field& windows =
      add("data.validation_windows", Int, WEFT_AT(data.validation_windows),
          "At most so many windows of the held-out data are looked at in one evaluation, spread "
          "evenly over it.",
          "data.validation, pretrain.eval_every", "256", {{"Megatron", "eval_iters"}});
  windows.range = {1, 1 << 24};
  windows.on_resume = kMay;
  add("data.cache", Text, WEFT_AT(data.cache),
      "The directory that holds the files' tokens and indexes. Runs that share it share them. "
      "Empty: data in the run directory.",
      "data.train", "/scratch/weft-data", {{"Megatron", "data_cache_path"}})
      .on_resume = kMay;
}

}  // namespace

void add_data_fields(std::vector<Field>& out) {
  add_data(out);
  add_files(out);
}

}  // namespace weft::runtime
