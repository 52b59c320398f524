#include "runtime/cli/tree.h"

#include <fmt/format.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <map>
#include <ostream>

#include "base/text.h"
#include "runtime/cli/options.h"
#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

const std::map<std::string, Format> kFormats = {{"table", Format::Table},
                                                {"json", Format::Json},
                                                {"jsonl", Format::Jsonl},
                                                {"yaml", Format::Yaml},
                                                {"name", Format::Name}};
constexpr double kCompletionsMax = 4096;  // of one prompt: all are in memory together
const std::vector<std::string> kShells = {"bash", "zsh", "fish"};

class Builder {
 public:
  Builder(CLI::App& root, Command& command)
      : root_(root), command_(command), tree_(root, command) {}

  void build() {
    root_.fallthrough();
    root_.require_subcommand(0, 1);  // behind a verb, a run called "run" is a name
    root_.set_help_flag("-h,--help", "Show this help");
    root_.add_option("--color", command_.color, "auto, always or never; NO_COLOR is honoured")
        ->type_name("WHEN")
        ->check(CLI::IsMember({"auto", "always", "never"}));
    add_job_verbs();
    add_run_verbs();
    add_reading_verbs();
    add_checkpoints(tree_);
    add_generate();
    add_planning(tree_);
    add_tools(tree_);
    add_agents(tree_);
    add_asking(tree_);
    add_rehearse(tree_);
    add_benchmarks(tree_);
    add_talk();
  }

 private:
  void add_job_verbs() {
    auto [check, c] = tree_.verb<CheckOptions>(
        root_, "check", "Say everything that is wrong with a job file; start nothing",
        "weft check deploy/jobs/r1-zero-arithmetic.yaml", verb_check);
    check->add_option("JOB", c->job, "The job file")->required();
    add_set(check, c->set);
    check->add_flag("--resolved", c->resolved, "Print every value and where it came from");
    add_format(check, c->format);

    auto [explain, e] =
        tree_.verb<ExplainOptions>(root_, "explain", "What a field of a job file means",
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
        tree_.verb<RunOptions>(root_, "run", "Run a job; an existing run directory is resumed",
                               "weft run deploy/jobs/r1-zero-arithmetic.yaml", verb_run);
    run->add_option("JOB", r->job, "The job file")->required();
    add_set(run, r->set);
    run->add_option("--dir", r->dir, "The run directory (default: runs/<name>)")
        ->type_name("RUNDIR");
    run->add_flag("-q,--quiet", r->quiet, "No progress, only errors");
    run->add_flag("--prepare", r->prepare,
                  "Make the run directory for 'weft agent' on each node; start nothing");

    auto [resume, s] = tree_.verb<ResumeOptions>(
        root_, "resume", "Go on with a run from its newest complete checkpoint",
        "weft resume r1-zero-arithmetic", verb_resume);
    resume->add_option("RUN", s->run, "A run directory or a name below runs/")->required();
    add_set(resume, s->set);
    resume->add_flag("-q,--quiet", s->quiet, "No progress, only errors");
  }

  void add_reading_verbs() {
    auto [status, s] = tree_.verb<StatusOptions>(root_, "status", "How one run is doing",
                                                 "weft status r1-zero-arithmetic", verb_status);
    add_run(status, s->run);
    status->add_flag("--waits", s->waits, "Say who waits for whom now, or did at the end");
    status->add_option("--expect", s->expect, "Exit 1 unless the run is in this state")
        ->type_name("STATE")
        ->check(CLI::IsMember({"running", "finished", "failed", "stopped", "dead"}));
    add_format(status, s->format);

    auto [ls, l] = tree_.verb<LsOptions>(root_, "ls", "List runs", "weft ls", verb_ls);
    ls->add_option("DIR", l->parent, "The directory that holds them (default: runs)");
    add_format(ls, l->format);

    auto [logs, g] =
        tree_.verb<LogsOptions>(root_, "logs", "What the workers wrote",
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

    auto [events, e] = tree_.verb<EventsOptions>(
        root_, "events", "What happened to a run: starts, checkpoints, failures",
        "weft events r1-zero-arithmetic", verb_events);
    add_run(events, e->run);
    events->add_option("--kind", e->kind, "Only this kind, such as evaluation or worker_failed")
        ->type_name("KIND");
    add_format(events, e->format);

    auto [samples, m] = tree_.verb<SamplesOptions>(
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

  void add_generate() {
    auto [sub, o] = tree_.verb<GenerateOptions>(
        root_, "generate", "Complete a prompt with a trained model",
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

  void add_talk() {
    auto [version, v] = tree_.verb<VersionOptions>(root_, "version", "Version and build",
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
  VerbTree tree_;
};

/// The tree and the builder that its callbacks point to.
struct Tree : CLI::App {
  explicit Tree(Command& command) : CLI::App("", "weft"), builder(*this, command) {
    builder.build();
  }
  Builder builder;
};

}  // namespace

void add_format(CLI::App* sub, Format& format) {
  sub->add_option_function<std::string>(
         "-o,--output", [&format](const std::string& text) { format = kFormats.at(text); },
         "table, json, jsonl, yaml or name")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"table", "json", "jsonl", "yaml", "name"}));
  sub->add_flag_callback(
      "--json", [&format] { format = Format::Json; }, "The same as -o json");
}
void add_set(CLI::App* sub, std::vector<std::string>& set) {
  sub->add_option("--set", set, "Override a field: grpo.beta=0.001 (repeatable)")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
}
void add_run(CLI::App* sub, std::string& run) {
  sub->add_option("RUN", run, "A run directory or a name below runs/; the newest when left out");
}

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
