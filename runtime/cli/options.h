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
};

struct ResumeOptions {
  std::string run;  // run directory, or a name below runs/
  std::vector<std::string> set;
  bool quiet = false;
};

struct StatusOptions {
  std::string run;
  std::string expect;  // "": anything
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
};

struct BalanceVerbOptions {
  std::string input;  // {"weight": [[load of each expert] per layer]}
  int replicas = 0, groups = 1, nodes = 1, gpus = 1;
  std::string policy = "best";
  std::string current;  // an earlier answer (its phy2log), or ""
  double tolerance = 0.02;
  Format format = Format::Table;
};

struct ModelShowOptions {
  std::string config;  // a Hugging Face config.json
  int context = 4096;
  bool tensors = false;
  int pipeline = 0;  // 0: no layout, no bytes per rank
  int data = 1, expert = 1;
  std::string schedule = "dualpipe";
  Format format = Format::Table;
};

struct VersionOptions {
  Format format = Format::Table;
};

}  // namespace weft::cli
