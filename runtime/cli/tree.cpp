#include "runtime/cli/tree.h"

#include <fmt/format.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <map>
#include <ostream>

#include "base/text.h"
#include "runtime/cli/options.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

const std::map<std::string, Format> kFormats = {{"table", Format::Table},
                                                {"json", Format::Json},
                                                {"jsonl", Format::Jsonl},
                                                {"yaml", Format::Yaml},
                                                {"name", Format::Name}};
constexpr double kCompletionsMax = 4096;  // of one prompt: all are in memory together
constexpr double kBenchSizeMax = 1 << 20;
const std::vector<std::string> kShells = {"bash", "zsh", "fish"};
const std::vector<std::string> kKinds = {"gpipe", "1f1b",     "interleaved", "zb1p",
                                         "zbv",   "dualpipe", "dualpipev"};

using Check = std::function<std::string(const std::string&)>;  // what is wrong, or nothing

/// CLI11's own checks name the range of a double in 600 digits.
Check between(double low, double high) {
  return [low, high](const std::string& text) -> std::string {
    double value = 0;
    const bool number = CLI::detail::lexical_cast(text, value);
    if (number && value >= low && value <= high) return "";
    return fmt::format("'{}' is not a number from {} to {}", text, low, high);
  };
}

Check at_least(double low) {
  return [low](const std::string& text) -> std::string {
    double value = 0;
    const bool number = CLI::detail::lexical_cast(text, value);
    return number && value >= low ? ""
                                  : fmt::format("'{}' is not a number of at least {}", text, low);
  };
}

class Builder {
 public:
  Builder(CLI::App& root, Command& command) : root_(root), command_(command) {}

  void build() {
    root_.fallthrough();
    root_.set_help_flag("-h,--help", "Show this help");
    root_.add_option("--color", command_.color, "auto, always or never; NO_COLOR is honoured")
        ->type_name("WHEN")
        ->check(CLI::IsMember({"auto", "always", "never"}));
    add_job_verbs();
    add_run_verbs();
    add_reading_verbs();
    add_checkpoint_verbs();
    add_generate();
    add_schedule();
    add_balance();
    add_bench();
    add_trace();
    add_model();
    add_talk();
  }

 private:
  /// A verb whose options live as long as its callback.
  template <class Options>
  std::pair<CLI::App*, std::shared_ptr<Options>> verb(CLI::App& parent, const std::string& name,
                                                      const std::string& summary,
                                                      const std::string& example,
                                                      int (*function)(const Options&, Io&)) {
    CLI::App* sub = parent.add_subcommand(name, summary);
    sub->footer(example);
    auto options = std::make_shared<Options>();
    sub->callback([this, options, function] {
      command_.action = [options, function](Io& io) { return function(*options, io); };
    });
    return {sub, options};
  }
  static void add_format(CLI::App* sub, Format& format) {
    sub->add_option_function<std::string>(
           "-o,--output", [&format](const std::string& text) { format = kFormats.at(text); },
           "table, json, jsonl, yaml or name")
        ->type_name("FORMAT")
        ->check(CLI::IsMember({"table", "json", "jsonl", "yaml", "name"}));
    sub->add_flag_callback(
        "--json", [&format] { format = Format::Json; }, "The same as -o json");
  }
  static void add_set(CLI::App* sub, std::vector<std::string>& set) {
    sub->add_option("--set", set, "Override a field: grpo.beta=0.001 (repeatable)")
        ->type_name("KEY=VALUE")
        ->expected(1)
        ->take_all();
  }
  static void add_run(CLI::App* sub, std::string& run) {
    sub->add_option("RUN", run, "A run directory or a name below runs/; the newest when left out");
  }

  void add_job_verbs() {
    auto [check, c] = verb<CheckOptions>(
        root_, "check", "Say everything that is wrong with a job file; start nothing",
        "weft check deploy/jobs/r1-zero-arithmetic.yaml", verb_check);
    check->add_option("JOB", c->job, "The job file")->required();
    add_set(check, c->set);
    check->add_flag("--resolved", c->resolved, "Print every value and where it came from");
    add_format(check, c->format);

    auto [explain, e] = verb<ExplainOptions>(root_, "explain", "What a field of a job file means",
                                             "weft explain grpo.num_generations", verb_explain);
    explain->add_option("FIELD", e->field, "A field or a group; all groups when left out");
    explain->add_flag("--recursive", e->recursive, "Every field below, in full");
    explain->add_flag("--markdown", e->markdown, "The reference page of all fields");
    add_format(explain, e->format);

    CLI::App* schema = root_.add_subcommand("schema", "The JSON Schema of job files, for editors");
    schema->footer("weft schema > job.schema.json");
    schema->callback([this] { command_.action = verb_schema; });
  }

  void add_run_verbs() {
    auto [run, r] =
        verb<RunOptions>(root_, "run", "Run a job; an existing run directory is resumed",
                         "weft run deploy/jobs/r1-zero-arithmetic.yaml", verb_run);
    run->add_option("JOB", r->job, "The job file")->required();
    add_set(run, r->set);
    run->add_option("--dir", r->dir, "The run directory (default: runs/<name>)")
        ->type_name("RUNDIR");
    run->add_flag("-q,--quiet", r->quiet, "No progress, only errors");

    auto [resume, s] =
        verb<ResumeOptions>(root_, "resume", "Go on with a run from its newest complete checkpoint",
                            "weft resume r1-zero-arithmetic", verb_resume);
    resume->add_option("RUN", s->run, "A run directory or a name below runs/")->required();
    add_set(resume, s->set);
    resume->add_flag("-q,--quiet", s->quiet, "No progress, only errors");
  }

  void add_reading_verbs() {
    auto [status, s] = verb<StatusOptions>(root_, "status", "How one run is doing",
                                           "weft status r1-zero-arithmetic", verb_status);
    add_run(status, s->run);
    status->add_option("--expect", s->expect, "Exit 1 unless the run is in this state")
        ->type_name("STATE")
        ->check(CLI::IsMember({"running", "finished", "failed", "stopped", "dead"}));
    add_format(status, s->format);

    auto [ls, l] = verb<LsOptions>(root_, "ls", "List runs", "weft ls", verb_ls);
    ls->add_option("DIR", l->parent, "The directory that holds them (default: runs)");
    add_format(ls, l->format);

    auto [logs, g] = verb<LogsOptions>(root_, "logs", "What the workers wrote",
                                       "weft logs r1-zero-arithmetic --rank 0,3 -f", verb_logs);
    add_run(logs, g->run);
    logs->add_option("--rank", g->ranks, "Only these workers")
        ->type_name("N,M")
        ->delimiter(',')
        ->expected(1);
    logs->add_option("--grep", g->grep, "Only lines that match")->type_name("REGEX");
    logs->add_option("-n,--lines", g->lines, "The last so many of each worker")
        ->type_name("N")
        ->check(at_least(0));
    logs->add_flag("-f,--follow", g->follow, "Go on while the run lives");
    add_format(logs, g->format);

    auto [events, e] = verb<EventsOptions>(root_, "events",
                                           "What happened to a run: starts, checkpoints, failures",
                                           "weft events r1-zero-arithmetic", verb_events);
    add_run(events, e->run);
    events->add_option("--kind", e->kind, "Only this kind, such as evaluation or worker_failed")
        ->type_name("KIND");
    add_format(events, e->format);

    auto [samples, m] = verb<SamplesOptions>(
        root_, "samples", "Completions with their rewards",
        "weft samples r1-zero-arithmetic --step 40 --min-reward 1", verb_samples);
    add_run(samples, m->run);
    samples->add_option("--step", m->step, "The step (default: the newest that has samples)")
        ->type_name("N");
    samples->add_option("--min-reward", m->min_reward, "At least this reward")->type_name("R");
    samples->add_option("--max-reward", m->max_reward, "At most this reward")->type_name("R");
    samples->add_option("--grep", m->grep, "Only where prompt or completion matches")
        ->type_name("REGEX");
    samples->add_option("-n,--limit", m->limit, "At most so many")
        ->type_name("N")
        ->check(at_least(0));
    add_format(samples, m->format);
  }

  void add_checkpoint_verbs() {
    CLI::App* ckpt = root_.add_subcommand("ckpt", "List, show and verify checkpoints");
    ckpt->footer("weft ckpt verify r1-zero-arithmetic");
    ckpt->require_subcommand(1);
    const auto add = [&](const char* name, const char* summary, const char* example,
                         int (*function)(const CheckpointOptions&, Io&)) {
      auto [sub, options] = verb<CheckpointOptions>(*ckpt, name, summary, example, function);
      add_run(sub, options->run);
      if (std::string(name) != "ls")
        sub->add_option("--step", options->step, "The checkpoint of this step")->type_name("N");
      add_format(sub, options->format);
    };
    add("ls", "List the checkpoints of a run and their state", "weft ckpt ls r1-zero-arithmetic",
        verb_ckpt_ls);
    add("show", "What one checkpoint holds", "weft ckpt show r1-zero-arithmetic --step 200",
        verb_ckpt_show);
    add("verify", "Read every byte and compare its hash; exit 1 when damaged",
        "weft ckpt verify r1-zero-arithmetic", verb_ckpt_verify);
  }

  void add_generate() {
    auto [sub, o] =
        verb<GenerateOptions>(root_, "generate", "Complete a prompt with a trained model",
                              "weft generate r1-zero-arithmetic --prompt '3+4+5='", verb_generate);
    sub->add_option("RUN", o->run, "A run directory or a name below runs/")->required();
    sub->add_option("--prompt", o->prompt, "The prompt; - reads stdin")
        ->type_name("TEXT")
        ->required();
    sub->add_option("--checkpoint", o->checkpoint,
                    "The checkpoint of this step (default: the newest)")
        ->type_name("N");
    sub->add_option("--max-tokens", o->max_tokens, "Stop here at the latest (default: 64)")
        ->type_name("N")
        ->check(at_least(1));
    sub->add_option("--temperature", o->temperature, "0: always the likeliest token (default: 1)")
        ->type_name("T")
        ->check(at_least(0));
    sub->add_option("-n,--count", o->count, "So many completions (default: 1)")
        ->type_name("N")
        ->check(between(1, kCompletionsMax));
    sub->add_option("--seed", o->seed, "The same seed gives the same completions")->type_name("N");
    add_format(sub, o->format);
  }

  void add_schedule() {
    auto [sub, o] = verb<ScheduleOptions>(
        root_, "schedule", "Draw and cost a pipeline schedule",
        "weft schedule --kind dualpipe --ranks 8 --micro-batches 20", verb_schedule);
    sub->add_option("--kind", o->kind, join(kKinds, ", "))
        ->type_name("KIND")
        ->check(CLI::IsMember(kKinds));
    sub->add_option("--ranks", o->ranks, "Pipeline positions")->type_name("P")->check(at_least(1));
    sub->add_option("--micro-batches", o->micro_batches,
                    "Of one step; dualpipe: both directions together")
        ->type_name("N")
        ->check(at_least(1));
    sub->add_option("--chunks", o->chunks, "Stages a rank holds (interleaved)")
        ->type_name("V")
        ->check(at_least(1));
    sub->add_option("--cost", o->cost, "Durations, such as F=1,B=2,BI=1,W=1,FB=3")
        ->type_name("LIST");
    sub->add_option("-o,--output", o->output, "text, json, svg or trace (for Perfetto)")
        ->type_name("FORMAT")
        ->check(CLI::IsMember({"text", "json", "svg", "trace"}));
    sub->add_flag_callback(
        "--json", [options = o] { options->output = "json"; }, "The same as -o json");
    sub->add_option("--file", o->file, "Read the schedule from this text instead of making one")
        ->type_name("PATH");
    sub->add_flag("--forward-only", o->forward_only,
                  "The order of rollout and evaluation: no backward");
    sub->add_flag("--messages", o->messages,
                  "With sends, receives and the end of the step, as the executor runs it");
    sub->add_flag("--phases", o->phases, "Show the overlapped pair's phases");
    sub->add_option("--recompute", o->recompute, "With --phases: none, mla_up or full")
        ->type_name("WHAT")
        ->check(CLI::IsMember({"none", "mla_up", "full"}));
  }

  void add_balance() {
    auto [sub, o] = verb<BalanceVerbOptions>(
        root_, "balance", "Place experts and their replicas on GPUs by measured load",
        "weft balance --input load.json --replicas 288 --groups 8 --nodes 4 --gpus 32",
        verb_balance);
    sub->add_option("--input", o->input, "JSON: {\"weight\": [[load of each expert] per layer]}")
        ->type_name("FILE")
        ->required();
    const auto count = [sub = sub](const char* name, int& value, const char* help) {
      return sub->add_option(name, value, help)->type_name("N")->check(at_least(1));
    };
    count("--replicas", o->replicas, "Expert slots of a layer, all GPUs together")->required();
    count("--groups", o->groups, "Groups of experts, as in group-limited routing (default: 1)");
    count("--nodes", o->nodes, "Nodes (default: 1)");
    count("--gpus", o->gpus, "GPUs, all nodes together")->required();
    sub->add_option("--policy", o->policy, "best (default) or published (DeepSeek's EPLB)")
        ->type_name("NAME")
        ->check(CLI::IsMember({"best", "published"}));
    sub->add_option("--current", o->current,
                    "The placement now, an earlier answer of this verb: few replicas move")
        ->type_name("FILE");
    sub->add_option("--tolerance", o->tolerance,
                    "With --current: how much busier the busiest GPU may be if fewer replicas then "
                    "move (default: 0.02)")
        ->type_name("X")
        ->check(between(0, 10));
    add_format(sub, o->format);
  }

  /// One benchmark a line; each has its own verb_bench_<name>.cpp.
  void add_bench() {
    CLI::App* bench = root_.add_subcommand("bench", "Measure weft against a limit or a prediction");
    bench->footer("weft bench pipeline --kind dualpipe --ranks 8 --micro-batches 20");
    bench->require_subcommand(1);
    add_bench_pipeline(*bench);
    add_bench_comm(*bench);
    add_bench_exchange(*bench);
  }

  void add_bench_comm(CLI::App& bench) {
    auto [sub, o] = verb<BenchCommOptions>(
        bench, "comm", "Latency and bandwidth of messages between ranks",
        "weft bench comm --transport local --ranks 4 --bytes 64KiB,1MiB", verb_bench_comm);
    sub->add_option("--transport", o->transport,
                    "local: processes here; mpi: the ranks that mpirun or srun has started; sim: "
                    "simulated links of 5 us and 10 GB/s")
        ->type_name("NAME")
        ->check(CLI::IsMember({"local", "mpi", "sim"}));
    sub->add_option("--ranks", o->ranks, "Ranks (default: 2; mpi: those started)")
        ->type_name("N")
        ->check(between(1, 256));
    sub->add_option("--bytes", o->bytes, "Sizes of a message (default: 64KiB,1MiB,16MiB)")
        ->type_name("LIST")
        ->delimiter(',');
    add_format(sub, o->format);
  }

  void add_bench_exchange(CLI::App& bench) {
    auto [sub, o] = verb<BenchExchangeOptions>(
        bench, "exchange", "Bytes of the expert exchange by link: one hop beside two",
        "weft bench exchange --experts 256 --top-k 8 --groups 8 --group-limit 4 --nodes 8",
        verb_bench_exchange);
    const auto number = [sub = sub](const char* name, int& value, const char* summary) {
      sub->add_option(name, value, fmt::format("{} (default: {})", summary, value))
          ->type_name("N")
          ->check(between(1, kBenchSizeMax));
    };
    number("--experts", o->experts, "Routed experts");
    number("--top-k", o->top_k, "Experts a token chooses");
    number("--groups", o->groups, "Groups of experts");
    number("--group-limit", o->group_limit, "Groups a token may choose from");
    number("--nodes", o->nodes, "Nodes of the expert group");
    number("--ranks-per-node", o->ranks_per_node, "Its ranks on each node");
    number("--hidden", o->hidden, "Values in a token's row");
    number("--tokens", o->tokens, "Tokens a rank");
    sub->add_option("--payload", o->payload, "How dispatched rows travel: fp8, bf16 or fp32")
        ->type_name("FORMAT")
        ->check(CLI::IsMember({"fp8", "bf16", "fp32"}));
    sub->add_option("--seed", o->seed, "Of the simulated routing")->type_name("N");
    add_format(sub, o->format);
  }

  void add_trace() {
    auto [sub, o] = verb<TraceOptions>(
        root_, "trace", "What the ranks did in a step, as a Chrome trace for Perfetto",
        "weft trace r1-zero-arithmetic --step last -o step.json.gz", verb_trace);
    add_run(sub, o->run);
    sub->add_option("--step", o->step, "A step's number, last (the default) or slowest")
        ->type_name("N");
    sub->add_option("--replica", o->replica, "Only this replica's ranks (default: all)")
        ->type_name("D")
        ->check(at_least(0));
    sub->add_option("--cost", o->cost,
                    "Predict with these microseconds (F=…,B=…,FB=…,send=…) instead of what the "
                    "step's operations took")
        ->type_name("LIST");
    sub->add_option("-o,--output", o->output,
                    "The file (default: trace-<step>.json.gz); not packed without .gz; - is stdout")
        ->type_name("FILE");
    sub->add_flag("--list", o->list, "Show which steps there are");
    sub->add_flag_callback(
        "--json", [options = o] { options->format = Format::Json; }, "The list as JSON");
  }

  void add_bench_pipeline(CLI::App& bench) {
    auto [sub, o] = verb<BenchPipelineOptions>(
        bench, "pipeline", "A schedule on virtual devices: makespan and bubble beside predicted",
        "weft bench pipeline --kind dualpipe --ranks 8 --micro-batches 20 --forward-ms 20",
        verb_bench_pipeline);
    sub->add_option("--kind", o->kind, join(kKinds, ", "))
        ->type_name("KIND")
        ->check(CLI::IsMember(kKinds));
    const auto whole = [sub = sub](const char* name, int& value, const char* text,
                                   const char* type) {
      sub->add_option(name, value, text)->type_name(type)->check(at_least(1));
    };
    whole("--ranks", o->ranks, "Pipeline positions (default: 8)", "P");
    whole("--micro-batches", o->micro_batches,
          "Of one step; dualpipe: both directions together (default: 20)", "N");
    whole("--lanes", o->lanes, "Ranks a position; they exchange with each other (default: 1)", "D");
    whole("--layers", o->layers, "Layers a stage: 2 exchanges a layer and pass (default: 4)", "L");
    whole("--steps", o->steps, "Steps to measure, after one that is not (default: 5)", "S");
    const auto length = [sub = sub](const char* name, double& value, const char* text) {
      sub->add_option(name, value, text)->type_name("MS")->check(between(0, 60'000));
    };
    length("--forward-ms", o->forward_ms, "Forward of one stage (default: 20)");
    length("--backward-input-ms", o->backward_input_ms, "Its backward for input (default: 20)");
    length("--weight-ms", o->weight_ms, "Its weight gradients (default: 20)");
    length("--exchange-ms", o->exchange_ms,
           "Its dispatches and combines of one pass, on the wire (default: 0, none)");
    sub->add_option("--message-bytes", o->message_bytes, "An activation or gradient (default: 4K)")
        ->type_name("BYTES");
    sub->add_option("--dispatch-bytes", o->dispatch_bytes,
                    "A dispatch or combine, to each other lane (default: 4K)")
        ->type_name("BYTES");
    sub->add_option("--transport", o->transport,
                    "local: processes and real time; sim: one process and simulated time")
        ->type_name("NAME")
        ->check(CLI::IsMember({"local", "sim"}));
    sub->add_option_function<std::string>(
           "--overlap", [options = o](const std::string& text) { options->overlap = text == "on"; },
           "on or off: hide exchanges behind the other half of a pair (default: on)")
        ->type_name("WHEN")
        ->check(CLI::IsMember({"on", "off"}));
    add_format(sub, o->format);
  }

  void add_model() {
    CLI::App* model = root_.add_subcommand("model", "Look at a model's description");
    model->footer("weft model show deploy/models/deepseek-v3.config.json");
    model->require_subcommand(1);
    auto [sub, o] = verb<ModelShowOptions>(
        *model, "show", "Layers, parameters, FLOPs, and bytes per rank for a layout",
        "weft model show deploy/models/deepseek-v3.config.json --pipeline 16 --data 128 --expert "
        "64",
        verb_model_show);
    sub->add_option("CONFIG", o->config, "A Hugging Face config.json")->required();
    const auto count = [sub = sub](const char* name, int& value, const char* help) {
      sub->add_option(name, value, help)->type_name("N")->check(at_least(1));
    };
    count("--context", o->context, "Tokens of a sequence, for FLOPs (default: 4096)");
    count("--pipeline", o->pipeline, "Pipeline positions of a layout to show bytes for");
    count("--data", o->data, "Ranks of a position (default: 1)");
    count("--expert", o->expert, "Of these, how many share the experts (default: 1)");
    sub->add_option("--schedule", o->schedule, join(kKinds, ", ") + " (default: dualpipe)")
        ->type_name("KIND")
        ->check(CLI::IsMember(kKinds));
    sub->add_flag("--tensors", o->tensors, "List every tensor with its shape");
    add_format(sub, o->format);
  }

  void add_talk() {
    auto [version, v] = verb<VersionOptions>(root_, "version", "Version and build",
                                             "weft version --json", verb_version);
    add_format(version, v->format);

    CLI::App* help = root_.add_subcommand("help", "Help of a verb");
    help->footer("weft help run");
    help->add_option("VERB", "A verb, such as run or ckpt verify");  // answered by run_cli

    CLI::App* completion = root_.add_subcommand("completion", "A completion script for your shell");
    completion->footer("weft completion bash > /etc/bash_completion.d/weft");
    auto shell = std::make_shared<std::string>();
    completion->add_option("SHELL", *shell, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember(kShells));
    completion->callback([this, shell] {
      command_.action = [this, shell](Io& io) {
        io.out << completion_script(root_, *shell);
        return static_cast<int>(kOk);
      };
    });
  }

  CLI::App& root_;
  Command& command_;
};

/// The tree and the builder that its callbacks point to.
struct Tree : CLI::App {
  explicit Tree(Command& command) : CLI::App("", "weft"), builder(*this, command) {
    builder.build();
  }
  Builder builder;
};

}  // namespace

std::unique_ptr<CLI::App> build_tree(Command& command) { return std::make_unique<Tree>(command); }

std::vector<const CLI::App*> verbs_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::App* level = &app; level != nullptr; level = level->get_parent())
    for (const CLI::Option* option : level->get_options()) {
      for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
      for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
    }
  return flags;
}

}  // namespace weft::cli
