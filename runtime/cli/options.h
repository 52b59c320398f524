// What each verb is asked for, after the command line has been read. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace weft::cli {

enum class Format { Table, Json, Jsonl, Yaml, Name };

struct CheckOptions {
  std::string job;
  std::vector<std::string> set;
  bool resolved = false;  // print the whole job with origins
  Format format = Format::Table;
};

struct ExplainOptions {
  std::string field;
  bool recursive = false;
  bool markdown = false;
  Format format = Format::Table;
};

struct RunOptions {
  std::string job;               // path of the job file
  std::vector<std::string> set;  // key=value
  std::string dir;               // "": runs/<name>
  bool quiet = false;            // no progress
  bool prepare = false;          // for agents: start nothing
};

struct AgentOptions {
  std::string run;
  std::string node;  // "": the host's name
  std::string listen = "127.0.0.1";
  int slots = 0;        // 0: all ranks
  int roster = 0;       // place in the launcher's list
  std::string leaf;     // the switch that it hangs on; "": as the environment says
  std::string metrics;  // HOST:PORT; "": none
  bool quiet = false;
};

/// What is asked of a run that lives: cancel, pause, continue, ckpt save.
struct AskOptions {
  std::string run;
  bool now = false;       // cancel: without a checkpoint
  long long at_step = 0;  // ckpt save: after this step; 0: the present one
};

struct NodesOptions {
  std::string run;
  std::string node;
  std::string reason;
  double seconds = 0;  // exclude: for so long; 0: until it is included
  Format format = Format::Table;
};

struct ResumeOptions {
  std::string run;  // run directory, or a name below runs/
  std::vector<std::string> set;
  bool quiet = false;
};

struct StatusOptions {
  std::string run;
  std::string expect;  // "": anything
  bool waits = false;
  Format format = Format::Table;
};

struct LsOptions {
  std::string parent = "runs";
  Format format = Format::Table;
};

struct LogsOptions {
  std::string run;
  std::vector<int> ranks;  // empty: all
  std::string grep;        // a regular expression (PCRE)
  int lines = 0;           // the last so many of each worker; 0: all
  bool follow = false;
  Format format = Format::Table;
};

struct EventsOptions {
  std::string run;
  std::string kind;
  Format format = Format::Table;
};

struct SamplesOptions {
  std::string run;
  long long step = -1;  // -1: the newest that has samples
  double min_reward = -1e300;
  double max_reward = 1e300;
  std::string grep;
  int limit = 0;  // 0: all
  Format format = Format::Table;
};

struct CheckpointOptions {
  std::string run;
  std::string step;  // "": the newest complete one (verify: all)
  Format format = Format::Table;
};

struct CheckpointDiffOptions {
  std::string a, b;      // RUN, RUN@STEP or a checkpoint's directory
  double tolerance = 0;  // differences up to it are none
  Format format = Format::Table;
};

struct PruneOptions {
  std::string run;
  int keep = 0;               // 0: as the run's job says; so below
  int keep_every_steps = -1;  // -1
  std::string keep_every;     // ""
  bool dry_run = false;
  bool yes = false;
  Format format = Format::Table;
};

struct PinOptions {
  std::string run;
  std::string step;
};

struct ReshardVerbOptions {
  std::string source;  // RUN, RUN@STEP or a checkpoint's directory
  std::string step;
  std::string output;  // a directory of checkpoints
  int ranks = 0;       // 0: as layout says
  std::string layout;  // "": as ranks says
  bool quiet = false;
  Format format = Format::Table;
};

struct ExportOptions {
  std::string source;  // a run, a checkpoint or a Hugging Face directory; "": the newest run
  std::string output;
  std::string step;
  std::string dtype = "bf16";
  std::string config;
  std::string tokenizer;
  std::string shard_size;
  bool drop_next_token = false;
  bool average = false;  // the parameters' moving average
  bool sha256 = false;
  bool quiet = false;
  Format format = Format::Table;
};

struct ImportOptions {
  std::string directory;
  std::string output;  // the run directory to be
  bool drop_next_token = false;
  bool quiet = false;
  Format format = Format::Table;
};

struct GenerateOptions {
  std::string run;         // run directory
  std::string checkpoint;  // step; "": the newest complete one
  std::string prompt;      // "-": from stdin
  int max_tokens = 64;
  double temperature = 1.0;  // 0: the likeliest token
  int count = 1;
  std::uint64_t seed = 1;
  Format format = Format::Table;
};

struct ScheduleOptions {
  std::string kind = "dualpipe";
  int ranks = 4;
  int micro_batches = 8;
  int chunks = 2;
  std::string cost;             // "F=1,B=2,BI=1,W=1,FB=3"; "": the default costs
  std::string output = "text";  // text | json | svg | trace
  std::string file;             // read the schedule from here; "": make one
  bool forward_only = false;    // as in rollout and evaluation
  bool messages = false;        // with sends, receives and the end of the step, as executed
  bool phases = false;
  std::string recompute = "none";  // with phases: none | mla_up | full
};

struct BalanceVerbOptions {
  std::string input;  // {"weight": [[load of each expert] per layer]}
  std::string run;    // or a run that reported them
  int replicas = 0, groups = 1, nodes = 1, gpus = 0;  // 0: a run's own, and one more slot a rank
  std::string policy = "best";
  std::string current;  // an earlier answer (its phy2log), or ""
  double tolerance = 0.02;
  Format format = Format::Table;
};

struct DriftOptions {
  std::string run, cluster;
  std::string write;  // "", or where the calibrated cluster goes
  Format format = Format::Table;
};

struct RehearseOptions {
  std::string job, cluster;
  std::vector<std::string> set;
  std::uint64_t seed = 1;
  std::string faults = "mtbf";  // mtbf | none | a script's path
  double days = 1;
  long long steps = 0;  // 0: as the job says
  int spares = 4;
  double speed = 0;  // 0: as fast as it goes
  bool swap_stragglers = false;
  std::string dir;  // "": runs/<name>-rehearsal
  bool quiet = false;
  Format format = Format::Table;
};

struct BenchCommOptions {
  std::string transport = "local";  // local | tcp | mpi | sim
  int ranks = 0;                    // 0: two, or what MPI has started
  std::vector<std::string> bytes = {"64KiB", "1MiB", "16MiB"};
  Format format = Format::Table;
};

struct BenchExchangeOptions {
  int experts = 256, top_k = 8, groups = 8, group_limit = 4;
  int nodes = 8, ranks_per_node = 8;
  int hidden = 7168, tokens = 4096;  // tokens a rank
  std::string payload = "fp8";       // of the dispatch: fp8 | bf16 | fp32
  std::uint64_t seed = 1;
  Format format = Format::Table;
};

struct TraceOptions {
  std::string run;
  std::string step = "last";      // a number, "last" or "slowest"
  int replica = -1;               // -1: all
  std::string cost;               // "": what the step's operations took
  std::string output;             // "": trace-<step>.json.gz; "-": stdout
  bool list = false;              // which steps there are, instead of drawing one
  Format format = Format::Table;  // of the list
};

struct BenchPipelineOptions {
  std::string kind = "dualpipe";
  int ranks = 8;
  int micro_batches = 20;
  int lanes = 1;  // ranks a position; they share the experts
  double forward_ms = 20, backward_input_ms = 20, weight_ms = 20, exchange_ms = 0;
  int layers = 4;
  std::string message_bytes = "4K", dispatch_bytes = "4K";
  int steps = 5;                    // measured
  std::string transport = "local";  // local | sim
  bool overlap = true;
  Format format = Format::Table;
};

struct ModelShowOptions {
  std::string config;  // a Hugging Face config.json, its directory, or a job.yaml
  int context = 4096;
  bool tensors = false;
  int pipeline = 0;  // 0: no layout, no bytes per rank
  int data = 1, expert = 1;
  std::string schedule = "dualpipe";
  Format format = Format::Table;
};

struct PlanVerbOptions {
  std::string target;   // a job file, a run or a plan
  std::string cluster;  // a file; "": the plan's own
  std::vector<std::string> set;
  bool search = false;
  std::string what_if;
  bool calibrate = false;  // target is a run
  Format format = Format::Table;
};

struct ClusterShowOptions {
  std::string file;
  Format format = Format::Table;
};

struct ClusterProbeOptions {
  std::string output;  // "": stdout
  bool cpu = false;    // measure the processor where there are GPUs too
  int workers = 4;
  double seconds = 0.5;
  std::string nvml;        // the driver's library; "": $WEFT_NVML_LIBRARY, or where it usually is
  std::string infiniband;  // "": where the kernel lists the NICs
};

struct DataShowOptions {
  std::string source;  // a file, a glob or a job
  std::vector<std::string> set;
  int samples = 3;
  Format format = Format::Table;
};

struct TokenizerShowOptions {
  std::string path;  // tokenizer.json or a directory
  bool tokens = false;
  Format format = Format::Table;
};

struct TokenizerEncodeOptions {
  std::string path;
  std::vector<std::string> text;  // empty: standard input, as one text
  bool special = false;           // with what the file puts around a text
  bool plain = false;             // added tokens are not recognised
  std::string chat;               // a template; the text is then a question or a JSON conversation
  Format format = Format::Table;
};

struct TokenizerDecodeOptions {
  std::string path;
  std::vector<long long> ids;  // empty: from standard input
  Format format = Format::Table;
};

struct TokenizerTrainOptions {
  std::vector<std::string> input;
  std::string output;  // a directory
  int vocab = 2048;
  std::string pre_tokenizer = "deepseek-v3";
  std::vector<std::string> special;  // empty: the usual ones
  long long min_count = 2;
};

struct VersionOptions {
  Format format = Format::Table;
};

}  // namespace weft::cli
