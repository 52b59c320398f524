// The table's first chapter: the run, its data, its layout and its surroundings.
#include "runtime/job/fields.h"

#define WEFT_AT(member) [](Job& job) -> Slot { return &job.member; }

namespace weft::runtime {
namespace {

constexpr auto kMay = OnResume::MayChange;

void add_run(std::vector<Field>& out) {
  out.push_back(
      {.path = "name",
       .type = FieldType::Text,
       .slot = WEFT_AT(name),
       .help = "The run's name and the last part of its directory, runs/<name>. Letters, digits, "
               "'.', '_' and '-'; at most 64.",
       .interacts = "the command line's --dir puts the run elsewhere",
       .example = "r1-zero-arithmetic",
       .names = {{"TRL", "run_name"}, {"verl", "trainer.experiment_name"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "seed",
       .type = FieldType::Count,
       .slot = WEFT_AT(seed),
       .range = {0, 0x1p53},
       .help =
           "Every random draw of the run is a function of this number and of what it is for (step, "
           "sample, token), never of which process draws it: the same seed gives the same run, bit "
           "for bit.",
       .interacts = "nothing; layouts share it",
       .example = "1",
       .names = {{"TRL", "seed"}, {"verl", "data.seed"}}});
  out.push_back({.path = "recipe",
                 .type = FieldType::Choices,
                 .slot = WEFT_AT(recipe),
                 .choices = {"pretrain", "cold_start", "grpo"},
                 .help = "The stages of training, in order; each at most once. pretrain learns "
                         "from complete traces "
                         "or text, cold_start from traces of mixed quality, grpo by rewards alone.",
                 .interacts = "data.task: grpo and cold_start need a task with answers; the groups "
                              "pretrain, cold_start, grpo "
                              "configure the stages named here",
                 .example = "[pretrain, cold_start, grpo]",
                 .names = {{"paper", "R1-Zero: [pretrain, grpo]"}}});
  out.push_back({.path = "device",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(device),
                 .choices = {"cpu", "virtual"},
                 .help = "What a worker computes with. virtual: the same workers, schedule, "
                         "executor and messages, but a phase is a wait of a given length "
                         "(group virtual): rehearse a layout without its model. recipe, model, "
                         "data and what configures them are then not used, and no checkpoint is "
                         "written.",
                 .interacts = "virtual.* with virtual, and every group of the recipe without",
                 .example = "virtual",
                 .names = {{"verl", "trainer.device"}}});
  out.push_back(
      {.path = "precision",
       .type = FieldType::Choice,
       .slot = WEFT_AT(precision),
       .choices = {"f32", "bf16", "fp8"},
       .help = "What is kept for the backward, and what products are made of. bf16: half the "
               "bytes and up to twice the speed; sums, the residual stream, the gate, "
               "softmax, losses, gradients of weights and the weights that the optimizer updates "
               "stay f32. fp8: as bf16, with the products of attention's and experts' "
               "projections made of E4M3 numbers, and their inputs kept so, as DeepSeek-V3 trains; "
               "emulated, so it saves memory but no time here. Both need a processor with "
               "AVX-512.",
       .interacts = "optimizer.moments; parallel.dispatch_payload (bf16 rows lose nothing in "
                    "bf16, fp8 rows almost nothing in fp8); fp8.*; a run cannot change it when it "
                    "resumes",
       .example = "bf16",
       .names = {{"TRL", "bf16"},
                 {"Megatron", "bf16"},
                 {"verl", "actor_rollout_ref.actor.fsdp_config.model_dtype"},
                 {"paper", "DeepSeek-V3 3.3"}}});
  out.push_back({.path = "fp8.scales",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(fp8.scales),
                 .choices = {"fp32", "power_of_two"},
                 .help = "The scale of a tile of FP8 numbers. fp32: largest / 448, as DeepSeek-V3. "
                         "power_of_two: the smallest that holds the largest number, as its "
                         "successors. Scales of dispatched rows and of the input of the linear "
                         "after attention are powers of two in any case.",
                 .interacts = "precision: read with fp8 only",
                 .example = "power_of_two",
                 .names = {{"DeepSeek", "scale_fmt"}, {"paper", "DeepSeek-V3 3.3.2"}}});
  out.push_back({.path = "fp8.gradient_tiles",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(fp8.gradient_tiles),
                 .choices = {"1x128", "128x128"},
                 .help = "Which numbers of an activation's gradient share a scale. 128x128 is "
                         "refused: DeepSeek-V3 reports that a 16B model diverged with it after "
                         "300B tokens.",
                 .interacts = "precision: read with fp8 only",
                 .example = "1x128",
                 .names = {{"paper", "DeepSeek-V3 B.2"}}});
  out.push_back(
      {.path = "rewards",
       .type = FieldType::Rewards,
       .slot = WEFT_AT(rewards),
       .choices = {"accuracy.answer", "format.think_answer"},
       .help = "What grpo rewards, as a list of {name, weight}; the reward is the weighted sum and "
               "every part "
               "is logged on its own. accuracy.answer: 1 when the content of <answer> is the right "
               "answer. "
               "format.think_answer: 1 when the completion is <think>…</think><answer>…</answer>.",
       .interacts = "grpo.scale_rewards divides the advantages afterwards",
       .example =
           "[{name: accuracy.answer, weight: 1.0}, {name: format.think_answer, weight: 0.2}]",
       .names = {{"TRL", "reward_funcs"},
                 {"TRL", "reward_weights"},
                 {"paper", "R1 2.2.2: rule-based rewards"}}});
}

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

void add_parallel(std::vector<Field>& out) {
  out.push_back(
      {.path = "parallel.pipeline",
       .type = FieldType::Int,
       .slot = WEFT_AT(parallel.pipeline),
       .range = {1, 1024},
       .unit = "positions",
       .help = "P, the pipeline positions that the layers are cut over. With dualpipe a position "
               "holds two stages, p and P-1-p.",
       .interacts = "world = pipeline x data; model.num_hidden_layers must give every stage a "
                    "layer; parallel.schedule sets the rule on its size",
       .example = "2",
       .names = {{"Megatron", "pipeline_model_parallel_size"},
                 {"NeMo-RL", "policy.megatron_cfg.pipeline_model_parallel_size"},
                 {"verl", "actor_rollout_ref.actor.megatron.pipeline_model_parallel_size"},
                 {"common", "parallel.pp"},
                 {"paper", "PP"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "parallel.data",
       .type = FieldType::Int,
       .slot = WEFT_AT(parallel.data),
       .range = {1, 4096},
       .unit = "ranks a stage",
       .help = "D, the ranks of one stage group. Dense weights are replicated over them, optimizer "
               "state is sharded over them, and each is a lane with "
               "micro-batches of its own.",
       .interacts = "world = pipeline x data; parallel.expert must divide it; the batch is cut "
                    "over data x micro_batches",
       .example = "2",
       .names = {{"Megatron", "data_parallel_size"}, {"common", "parallel.dp"}, {"paper", "DP"}},
       .on_resume = kMay});
  out.push_back({.path = "parallel.expert",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(parallel.expert),
                 .range = {1, 4096},
                 .unit = "expert shards",
                 .help = "E: so many of a stage's ranks together hold all experts; dispatch and "
                         "combine are exchanges among them.",
                 .interacts = "must divide parallel.data and model.n_routed_experts",
                 .example = "2",
                 .names = {{"Megatron", "expert_model_parallel_size"},
                           {"NeMo-RL", "policy.megatron_cfg.expert_model_parallel_size"},
                           {"verl", "actor_rollout_ref.actor.megatron.expert_model_parallel_size"},
                           {"common", "parallel.ep"},
                           {"paper", "EP"}},
                 .on_resume = kMay});
  out.push_back(
      {.path = "parallel.schedule",
       .type = FieldType::Choice,
       .slot = WEFT_AT(parallel.schedule),
       .choices = {"gpipe", "1f1b", "interleaved", "zb1p", "zbv", "dualpipe", "dualpipev"},
       .help = "The order of forwards and backwards in a step. dualpipe feeds "
               "micro-batches from both ends and overlaps each forward with a "
               "backward of the other direction; it needs an even pipeline and at least "
               "two micro-batches a position. interleaved, zbv and dualpipev cut the "
               "model into two stages a position. See weft schedule.",
       .interacts = "parallel.pipeline, parallel.micro_batches, parallel.overlap",
       .example = "dualpipe",
       .names = {{"torchtitan", "parallelism.pipeline_parallel_schedule"},
                 {"paper", "DualPipe, DeepSeek-V3 3.2.1"}},
       .on_resume = kMay});
  out.push_back({.path = "parallel.micro_batches",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(parallel.micro_batches),
                 .range = {1, 65536},
                 .unit = "a lane and step",
                 .help = "Micro-batches of one lane in one step; with dualpipe both directions "
                         "together. More of them shrink the bubble's share.",
                 .interacts = "parallel.schedule (dualpipe: even, at least 2 x pipeline); batch >= "
                              "parallel.data x micro_batches",
                 .example = "4",
                 .names = {{"DeepSpeed", "gradient_accumulation_steps"},
                           {"TRL", "gradient_accumulation_steps"},
                           {"torchtitan", "parallelism.pipeline_parallel_microbatches"}},
                 .on_resume = kMay});
  out.push_back({.path = "parallel.overlap",
                 .type = FieldType::Bool,
                 .slot = WEFT_AT(parallel.overlap),
                 .help = "Compute the attention and experts of one direction while the other "
                         "direction's expert exchange is on its way. Changes time, not numbers.",
                 .interacts = "parallel.schedule: only dualpipe has pairs to overlap",
                 .example = "true",
                 .on_resume = kMay});
  out.push_back(
      {.path = "parallel.recompute",
       .type = FieldType::Choice,
       .slot = WEFT_AT(parallel.recompute),
       .choices = {"none", "mla_up", "full"},
       .help = "Activations that a backward computes again instead of keeping them. mla_up: the "
               "norms and the up-projections of the attention, nearly free. full: each block "
               "keeps only its input and the chosen experts, and runs forward once more, its "
               "dispatch included. Trades time for memory, changes no number.",
       .interacts = "parallel.schedule says how many micro-batches are in flight; "
                    "parallel.overlap hides the second dispatch too",
       .example = "mla_up",
       .names = {{"Megatron", "recompute_granularity"},
                 {"NeMo-RL", "policy.megatron_cfg.activation_checkpointing"},
                 {"TRL", "gradient_checkpointing"},
                 {"paper", "DeepSeek-V3 3.2.3"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "parallel.redundant_experts",
       .type = FieldType::Int,
       .slot = WEFT_AT(parallel.redundant_experts),
       .range = {0, 1024},
       .unit = "experts of a rank and MoE layer",
       .help = "So many copies of busy experts a rank takes beside its own while completions are "
               "sampled: which ones follows from the loads of the last steps and rollouts, their "
               "weights are copied after each update, and their memory is free again in training. "
               "No result depends on it. 0: one copy of each expert.",
       .interacts = "parallel.expert must be 2 or more; at most model.n_routed_experts less a "
                    "rank's own. Worth it where the busiest rank of an expert group holds the "
                    "others up (metric rollout/expert_imbalance)",
       .example = "1",
       .names = {{"SGLang", "ep_num_redundant_experts"},
                 {"vLLM", "eplb_config.num_redundant_experts"},
                 {"paper", "DeepSeek-V3 3.4.1"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "parallel.dispatch_payload",
       .type = FieldType::Choice,
       .slot = WEFT_AT(parallel.dispatch_payload),
       .choices = {"fp32", "bf16", "fp8"},
       .help =
           "How rows travel to their experts, and their gradients in the backward of combine. "
           "bf16 and fp8 (E4M3, one power-of-two scale for 128 values) are a half and a quarter "
           "of the bytes; they round, on every rank alike, so that the numbers do not depend "
           "on the layout. What comes back from the experts is always full.",
       .interacts = "parallel.expert: with one shard nothing travels, and rows are rounded all the "
                    "same",
       .example = "fp8",
       .names = {{"paper", "DeepSeek-V3 3.3.3"}}});
  out.push_back(
      {.path = "parallel.transport",
       .type = FieldType::Choice,
       .slot = WEFT_AT(parallel.transport),
       .choices = {"local"},
       .help =
           "How bytes move between ranks. local: shared memory between the processes of a node, "
           "and TCP between the nodes of a run that several agents share.",
       .interacts = "nothing yet",
       .example = "local",
       .names = {{"PyTorch", "backend"}},
       .on_resume = kMay});
  out.push_back({.path = "parallel.threads",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(parallel.threads),
                 .range = {1, 1024},
                 .unit = "a worker",
                 .help = "Threads that one worker computes with. pipeline x data x threads above "
                         "the machine's cores makes every step slower.",
                 .interacts = "parallel.pipeline, parallel.data",
                 .example = "1",
                 .names = {{"PyTorch", "OMP_NUM_THREADS"}},
                 .on_resume = kMay});
}

void add_surroundings(std::vector<Field>& out) {
  out.push_back({.path = "checkpoint.every_steps",
                 .type = FieldType::Count,
                 .slot = WEFT_AT(checkpoint.every_steps),
                 .range = {0, 1e9},
                 .unit = "steps",
                 .help = "A checkpoint after so many steps, and at the end of every recipe stage. "
                         "0: only at the ends.",
                 .interacts = "checkpoint.keep",
                 .example = "200",
                 .names = {{"TRL", "save_steps"},
                           {"verl", "trainer.save_freq"},
                           {"NeMo-RL", "checkpointing.save_period"}},
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.interval",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(checkpoint.interval),
                 .choices = {"steps", "auto"},
                 .help = "steps: as checkpoint.every_steps says. auto: as often as it pays, by "
                         "Young's and Daly's rule from the measured stall, the measured step and "
                         "the failures that the run has seen; weft events RUN --kind "
                         "checkpoint_interval shows them.",
                 .interacts = "checkpoint.every_steps, checkpoint.mtbf",
                 .example = "auto",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.mtbf",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(checkpoint.mtbf_s),
                 .range = {0, 1e9},
                 .help = "With interval auto: how long this run is expected to go without a "
                         "failure. It weighs as much as one failure seen. 0: 50,000 hours over the "
                         "number of ranks.",
                 .interacts = "checkpoint.interval",
                 .example = "12h",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.async",
                 .type = FieldType::Bool,
                 .slot = WEFT_AT(checkpoint.async),
                 .help = "Training goes on while a checkpoint is written: it stands still for the "
                         "copy alone (twice a rank's state in memory, at most). false: until the "
                         "checkpoint is whole.",
                 .interacts = "nothing; it changes no number",
                 .example = "true",
                 .names = {{"torchtitan", "checkpoint.async_mode"}, {"Megatron", "async_save"}},
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.keep",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(checkpoint.keep),
                 .range = {1, 10000},
                 .unit = "checkpoints",
                 .help = "The newest so many complete checkpoints stay; older ones are deleted "
                         "only after a newer one is whole.",
                 .interacts = "checkpoint.keep_every_steps, checkpoint.keep_every; weft ckpt pin "
                              "keeps one for good",
                 .example = "3",
                 .names = {{"TRL", "save_total_limit"},
                           {"verl", "trainer.max_actor_ckpt_to_keep"},
                           {"NeMo-RL", "checkpointing.keep_top_k"}},
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.keep_every_steps",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(checkpoint.keep_every_steps),
                 .range = {0, 1e9},
                 .unit = "steps",
                 .help = "Beside the newest, the checkpoints of every so many steps stay. 0: none.",
                 .interacts = "checkpoint.keep; checkpoints must fall on those steps",
                 .example = "5000",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.keep_every",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(checkpoint.keep_every_s),
                 .range = {0, 1e9},
                 .help = "Beside the newest, the first checkpoint of every such span of time "
                         "stays. 0: none.",
                 .interacts = "checkpoint.keep",
                 .example = "6h",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.memory_every_steps",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(checkpoint.memory_every_steps),
                 .range = {0, 1e9},
                 .unit = "steps",
                 .help = "Between checkpoints the state is copied into the node's memory after so "
                         "many steps, outside of the worker processes: when one of them dies, the "
                         "others start again from there and not from the older checkpoint. Takes "
                         "four times the state's size in memory. 0: no such copies.",
                 .interacts = "checkpoint.memory_limit; all ranks must be on one node",
                 .example = "5",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.memory_limit",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(checkpoint.memory_limit_gib),
                 .range = {0, 1e6},
                 .unit = "GiB",
                 .help = "The copies in a node's memory take no more than this: without room for "
                         "three of them, two complete and one being made, there are none. 0: half "
                         "of what is free when the workers start.",
                 .interacts = "checkpoint.memory_every_steps",
                 .example = "64",
                 .on_resume = kMay});
  out.push_back({.path = "trace.steps",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(trace.steps),
                 .range = {0, 1000},
                 .unit = "steps",
                 .help = "Each worker keeps what it did in its last so many steps in a ring in the "
                         "run directory: every phase, exchange and message with its times. weft "
                         "trace draws it, also while the run lives and after it was killed. It "
                         "costs less than a hundredth of a step. 0: nothing is recorded.",
                 .interacts = "nothing; it changes no number",
                 .example = "8",
                 .on_resume = kMay});
  out.push_back({.path = "control.host",
                 .type = FieldType::Text,
                 .slot = WEFT_AT(control.host),
                 .help = "The address that the coordinator listens on.",
                 .interacts = "control.port",
                 .example = "127.0.0.1",
                 .names = {{"torchrun", "master_addr"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.port",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(control.port),
                 .range = {0, 65535},
                 .help = "The TCP port that the coordinator listens on. 0: any free one.",
                 .interacts = "control.host",
                 .example = "0",
                 .names = {{"torchrun", "master_port"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.heartbeat",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(control.heartbeat_s),
                 .range = {0.01, 3600},
                 .help = "How often an agent and the coordinator hear of each other. An agent that "
                         "was silent for three of these is lost: the next generation forms "
                         "without its node.",
                 .interacts = "control.wait_bound must be longer",
                 .example = "1s",
                 .names = {{"NVRx", "workload_check_interval"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.wait_bound",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(control.wait_bound_s),
                 .range = {0.1, 86400},
                 .help = "The bound of every wait between ranks; when it ends, the error names who "
                         "waited for whom, at which action.",
                 .interacts = "control.heartbeat must be shorter; must exceed the longest step",
                 .example = "60s",
                 .names = {{"PyTorch", "timeout"}, {"NCCL", "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.retries",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(control.retries),
                 .range = {0, 1000},
                 .help =
                     "After a failure the workers are started again from the newest checkpoint. "
                     "So many times in a row without a new step or checkpoint, then the run "
                     "ends with the cause. 0: the first failure without progress ends it. "
                     "Errors of the job or its data are never retried.",
                 .interacts = "checkpoint.every_steps",
                 .example = "4",
                 .names = {{"torchrun", "max_restarts"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.hang_factor",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(control.hang_factor),
                 .range = {1, 100000},
                 .help = "No progress of any rank for so many times the measured step time is a "
                         "hang: the generation ends and the next one forms.",
                 .interacts = "control.hang_min is the least; control.wait_bound may be sooner",
                 .example = "10",
                 .on_resume = kMay});
  out.push_back({.path = "control.hang_min",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(control.hang_min_s),
                 .range = {0.1, 86400},
                 .help = "A hang is not seen sooner than this, however short the steps are.",
                 .interacts = "control.hang_factor",
                 .example = "10s",
                 .on_resume = kMay});
  out.push_back({.path = "control.disk_wait",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(control.disk_wait_s),
                 .range = {0, 86400},
                 .help =
                     "A run directory that cannot be written, as on a full disk, is tried again "
                     "for so long; then the run ends with the reason.",
                 .interacts = "checkpoint.keep says how much of the disk checkpoints take",
                 .example = "60s",
                 .on_resume = kMay});
}

}  // namespace

void add_general_fields(std::vector<Field>& out) {
  add_run(out);
  add_data(out);
  add_files(out);
  add_parallel(out);
  add_surroundings(out);
}

}  // namespace weft::runtime
