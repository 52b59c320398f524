// The verbs that need no run: schedules, balancing, models; and traces.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/text.h"
#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

void add_schedule(VerbTree& tree) {
  auto [sub, o] = tree.verb<ScheduleOptions>(
      tree.root(), "schedule", "Draw and cost a pipeline schedule",
      "weft schedule --kind dualpipe --ranks 8 --micro-batches 20", verb_schedule);
  sub->add_option("--kind", o->kind, join(kPipelineKinds, ", "))
      ->type_name("KIND")
      ->check(CLI::IsMember(kPipelineKinds));
  sub->add_option("--ranks", o->ranks, "Pipeline positions")->type_name("P")->check(at_least(1));
  sub->add_option("--micro-batches", o->micro_batches,
                  "Of one step; dualpipe: both directions together")
      ->type_name("N")
      ->check(at_least(1));
  sub->add_option("--chunks", o->chunks, "Stages a rank holds (interleaved)")
      ->type_name("V")
      ->check(at_least(1));
  sub->add_option("--cost", o->cost, "Durations, such as F=1,B=2,BI=1,W=1,FB=3")->type_name("LIST");
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

void add_trace(VerbTree& tree) {
  auto [sub, o] = tree.verb<TraceOptions>(
      tree.root(), "trace", "What the ranks did in a step, as a Chrome trace for Perfetto",
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

void add_balance(VerbTree& tree) {
  auto [sub, o] = tree.verb<BalanceVerbOptions>(
      tree.root(), "balance", "Place experts and their replicas on GPUs by measured load",
      "weft balance --input load.json --replicas 288 --groups 8 --nodes 4 --gpus 32", verb_balance);
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

void add_model(VerbTree& tree) {
  CLI::App* model = tree.root().add_subcommand("model", "Look at a model's description");
  model->footer("weft model show deploy/models/deepseek-v3.config.json");
  model->require_subcommand(1);
  auto [sub, o] = tree.verb<ModelShowOptions>(
      *model, "show", "Layers, parameters, FLOPs, and bytes per rank for a layout",
      "weft model show deploy/models/deepseek-v3.config.json --pipeline 16 --data 128 --expert "
      "64",
      verb_model_show);
  sub->add_option("CONFIG", o->config, "A Hugging Face config.json, a directory with one, or a job")
      ->required();
  const auto count = [sub = sub](const char* name, int& value, const char* help) {
    sub->add_option(name, value, help)->type_name("N")->check(at_least(1));
  };
  count("--context", o->context, "Tokens of a sequence, for FLOPs (default: 4096)");
  count("--pipeline", o->pipeline, "Pipeline positions of a layout to show bytes for");
  count("--data", o->data, "Ranks of a position (default: 1)");
  count("--expert", o->expert, "Of these, how many share the experts (default: 1)");
  sub->add_option("--schedule", o->schedule, join(kPipelineKinds, ", ") + " (default: dualpipe)")
      ->type_name("KIND")
      ->check(CLI::IsMember(kPipelineKinds));
  sub->add_flag("--tensors", o->tensors, "List every tensor with its shape");
  add_format(sub, o->format);
}

}  // namespace

void add_tools(VerbTree& tree) {
  add_schedule(tree);
  add_trace(tree);
  add_balance(tree);
  add_model(tree);
}

}  // namespace weft::cli
