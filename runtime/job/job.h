// A job as the user wrote it, with every default filled in: a plain value that crosses the control
// plane and is printed into the run directory. Fields, types, defaults, ranges and help texts are
// defined once, in job/fields.cpp.
#pragma once

#include <string>
#include <vector>

#include "base/expected.h"
#include "dualpipe/schedule.h"
#include "trainer/model/config.h"
#include "trainer/rl/grpo.h"

namespace weft::runtime {

struct TokenizerJob {
  std::string kind = "byte";  // byte | bpe
  int numbers = 0;            // byte: whole numbers up to this one are single tokens (0: none)
  std::string path;           // bpe: a tokenizer.json, or a directory that holds one
};

/// How conversations are written; what follows `template_name` counts for "custom" only.
struct ChatJob {
  std::string template_name = "none";  // none | deepseek-r1 | chatml | plain-r1-zero | custom
  std::string begin;
  std::string system_prefix, system_suffix;
  std::string user_prefix, user_suffix;
  std::string assistant_prefix, assistant_suffix;
  std::string end_token;  // "": the tokenizer's
};

struct DataJob {
  std::string task = "arithmetic";   // arithmetic | cups | text | files
  std::string path;                  // text: a UTF-8 file
  double validation_fraction = 0.1;  // text: the end of the file; files: so many documents
  int context = 64;                  // text, files: tokens per training sequence
  int min_difficulty = 2;            // arithmetic: terms; cups: swaps
  int max_difficulty = 6;
  // files
  std::vector<std::string> train;       // paths and globs of pretrain
  std::vector<std::string> sft;         // of cold_start; empty: as train
  std::vector<std::string> validation;  // empty: documents are held out
  std::string weights;                  // "7 3", one a source of train; "": by size
  std::string pack = "stream";          // stream | sample
  double fim_rate = 0.0;                // share of the documents, stream only
  bool shuffle = true;
  std::string document = "file";        // plain text: file | paragraph | line
  std::string text_key = "text";        // JSONL: the member that holds a document
  std::string answer_format = "plain";  // plain | think
  bool add_bos = true, add_eos = true;
  std::string bad_lines = "fail";  // fail | skip
  int validation_windows = 256;
  std::string cache;  // directory of the indexes; "": in the run directory
};

struct ParallelJob {
  int pipeline = 1;           // P
  int data = 1;               // D: ranks per stage group
  int expert = 1;             // E: of those, how many share the experts
  int redundant_experts = 0;  // copies of busy experts a rank holds in rollout
  std::string schedule = "1f1b";
  int micro_batches = 1;  // per lane and step; DualPipe: both directions together
  bool overlap = true;
  std::string recompute = "none";         // none | mla_up | full
  std::string dispatch_payload = "fp32";  // fp32 | bf16 | fp8
  std::string transport = "local";
  int threads = 1;  // per worker
};

/// What DeepSeek-V3's recipe leaves open; read while precision is fp8.
struct Fp8Job {
  std::string scales = "fp32";           // fp32 | power_of_two
  std::string gradient_tiles = "1x128";  // 128x128 is refused
};

struct OptimizerJob {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1, clip_norm = 1.0;
  double ema_decay = 0;         // 0: no moving average of the parameters
  std::string moments = "f32";  // f32 | bf16
};

/// One supervised stage: pretrain or cold_start.
struct SupervisedJob {
  int steps = 1000;  // at most
  int batch = 16;    // sequences a step
  double lr = 1e-3;
  double min_lr = 0.0;                   // cosine ends here; constant ignores it
  std::string lr_schedule = "constant";  // constant | cosine
  int warmup = 20;
  std::string lr_curve;          // phases; "": lr, min_lr, lr_schedule and warmup say it
  int batch_start = 0;           // at the first step; 0: batch from the start
  std::uint64_t batch_ramp = 0;  // tokens until it has grown to batch
  int eval_every = 0;            // 0: never before the end
  int eval_problems = 128;       // tasks: sampled at temperature 1
  int eval_difficulty = 0;       // 0: all
  double target_accuracy = 0.0;  // stop early when reached (0: never)
  // Factor of the multi-token prediction modules' mean loss: a number or a curve.
  std::string mtp_weight = "0.3";
};

struct ColdStartJob : SupervisedJob {
  double blind = 0.30;          // share of blind guesses
  double complete = 0.25;       // share of complete traces; the rest gives up early
  double broken_format = 0.30;  // share of all whose format is broken
};

struct GrpoJob {
  int steps = 60;
  int prompts_per_step = 8;
  int num_generations = 16;
  int max_completion_length = 48;
  double temperature = 1.0;
  double lr = 3e-4;
  int warmup = 0;
  double beta = 0.0;
  double epsilon = 0.2;
  double epsilon_high = 0.2;
  int num_iterations = 1;
  std::string loss_type = "grpo";       // grpo | dapo | dr_grpo
  std::string scale_rewards = "group";  // group | batch | none
  int eval_every = 10;
  int eval_problems = 256;
  double target_accuracy = 0.0;
};

struct RewardJob {
  std::string name;  // accuracy.answer | format.think_answer
  double weight = 1.0;
};

struct CheckpointJob {
  int every_steps = 200;
  std::string interval = "steps";  // steps | auto
  double mtbf_s = 0;               // auto: mean time between failures; 0: by the number of ranks
  bool async = true;
  int keep = 3;
  int keep_every_steps = 0;     // 0: none beside the newest
  double keep_every_s = 0;      // 0: none beside the newest
  int memory_every_steps = 0;   // a copy in the node's memory; 0: none
  double memory_limit_gib = 0;  // of such copies on a node; 0: by what is free
};

struct TraceJob {
  int steps = 8;  // each rank keeps what it did in its last so many; 0: none
};

struct WatchJob {
  double straggler_threshold = 0.75;  // of both scores; 0: nobody is flagged
  int straggler_window = 20;          // steps
  bool swap_stragglers = false;
  bool replay = true;                  // a step whose numbers cannot be is done once more
  bool output_hashes = true;           // so that a replay that differs names a rank
  double spike_factor = 0;             // over the running median; 0: off
  std::string on_corruption = "stop";  // stop | continue
};

struct ControlJob {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any free one
  double heartbeat_s = 1.0;
  double wait_bound_s = 60.0;  // of every wait between ranks
  int retries = 4;             // generations in a row without progress, after the first such
  double hang_factor = 10;     // times the measured step without progress: a hang
  double hang_min_s = 10;      // but not below
  double disk_wait_s = 60;     // for a run directory that cannot be written
};

/// device: virtual. Lengths are those of one pass of one stage.
struct VirtualJob {
  int steps = 5;
  double forward_ms = 20, backward_input_ms = 20, weight_ms = 20;
  double exchange_ms = 0;  // all dispatches and combines of a pass together; 0: there are none
  double reduce_ms = 0, update_ms = 0;
  int layers = 2;                // a stage
  double attention_share = 0.5;  // of a layer's compute
  std::string stage_factors;     // "1 1 1.5 1", one a stage; "": all 1
  int message_bytes = 4096, dispatch_bytes = 4096, reduce_bytes = 4096;
};

struct Job {
  std::string name = "run";
  std::uint64_t seed = 1;
  std::string device = "cpu";                      // cpu | virtual
  std::vector<std::string> recipe = {"pretrain"};  // of pretrain, cold_start, grpo; in this order
  std::string precision = "f32";                   // f32 | bf16 | fp8
  Fp8Job fp8;
  trainer::ModelConfig model;
  std::string model_config;  // only while loading: its values are in `model` afterwards
  double router_bias_update_rate = 1e-3;
  TokenizerJob tokenizer;
  ChatJob chat;
  DataJob data;
  ParallelJob parallel;
  OptimizerJob optimizer;
  SupervisedJob pretrain;
  ColdStartJob cold_start;
  GrpoJob grpo;
  std::vector<RewardJob> rewards = {{"accuracy.answer", 1.0}, {"format.think_answer", 0.2}};
  CheckpointJob checkpoint;
  TraceJob trace;
  WatchJob watch;
  ControlJob control;
  VirtualJob virtual_device;
};

/// "1 1 1.5 1" as numbers, one a stage. Errors: InvalidArgument naming the word.
Expected<std::vector<double>> parse_stage_factors(const std::string& text);

}  // namespace weft::runtime
