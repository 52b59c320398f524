// The verbs that need no run: schedules, balancing, models, tokenizers; and traces.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/text.h"
#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"
#include "trainer/tokenizer/train.h"

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
  auto* input =
      sub->add_option("--input", o->input, "JSON: {\"weight\": [[load of each expert] per layer]}")
          ->type_name("FILE");
  sub->add_option("--run", o->run, "The loads that this run reported last, instead of --input")
      ->type_name("RUN")
      ->excludes(input);
  const auto count = [sub = sub](const char* name, int& value, const char* help) {
    return sub->add_option(name, value, help)->type_name("N")->check(at_least(1));
  };
  count("--replicas", o->replicas,
        "Expert slots of a layer, all GPUs together (--run: one more a rank than without)");
  count("--groups", o->groups, "Groups of experts, as in group-limited routing (default: 1)");
  count("--nodes", o->nodes, "Nodes (default: 1)");
  count("--gpus", o->gpus, "GPUs, all nodes together (--run: the run's expert ranks)");
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

void add_data(VerbTree& tree) {
  CLI::App* data = tree.root().add_subcommand("data", "Look at what a job learns from");
  data->footer("weft data show corpus.jsonl");
  data->require_subcommand(1);
  auto [sub, o] = tree.verb<DataShowOptions>(
      *data, "show", "Documents, tokens, lengths and the first windows, boundaries made visible",
      "weft data show 'web/*.jsonl' --set data.context=512 --sample 5", verb_data_show);
  sub->add_option("SOURCE", o->source, "Plain text or JSONL, a glob, or a job file (.yaml)")
      ->required();
  sub->add_option("--sample", o->samples, "So many windows (default: 3)")
      ->type_name("N")
      ->check(between(0, 1000));
  add_set(sub, o->set);
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

void add_tokenizer_train(VerbTree& tree, CLI::App& parent) {
  auto [sub, o] = tree.verb<TokenizerTrainOptions>(
      parent, "train", "Learn a byte-level BPE vocabulary from text",
      "weft tokenizer train --vocab 2048 --input corpus.txt -o my-tokenizer", verb_tokenizer_train);
  sub->add_option("--input", o->input, "A UTF-8 file; may be given several times")
      ->type_name("FILE")
      ->required()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  sub->add_option("-o,--output", o->output, "The directory to write tokenizer.json into")
      ->type_name("DIR")
      ->required();
  sub->add_option("--vocab", o->vocab, "Tokens, special ones included (default: 2048)")
      ->type_name("N")
      ->check(at_least(256));
  const auto names = trainer::tokenizer::pre_tokenizer_names();
  const std::vector<std::string> known(names.begin(), names.end());
  sub->add_option("--pre-tokenizer", o->pre_tokenizer, join(known, ", "))
      ->type_name("NAME")
      ->check(CLI::IsMember(known));
  sub->add_option("--special", o->special,
                  "A special token; the first two are the begin and end token (default: "
                  "DeepSeek's, the think and answer tags, ChatML's)")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  sub->add_option("--min-count", o->min_count, "Rarer pairs are not merged (default: 2)")
      ->type_name("N")
      ->check(at_least(1));
}

void add_tokenizer(VerbTree& tree) {
  CLI::App* family = tree.root().add_subcommand("tokenizer", "Look at, try and learn tokenizers");
  family->footer("weft tokenizer show tokenizer.json");
  family->require_subcommand(1);
  const auto path = [](CLI::App* sub, std::string& to) {
    sub->add_option("FILE", to, "A tokenizer.json, or a directory that holds one")->required();
  };
  auto [show, s] = tree.verb<TokenizerShowOptions>(
      *family, "show", "Size, pipeline and added tokens of a tokenizer",
      "weft tokenizer show tokenizer.json", verb_tokenizer_show);
  path(show, s->path);
  show->add_flag("--tokens", s->tokens, "List every token");
  add_format(show, s->format);
  auto [encode, e] = tree.verb<TokenizerEncodeOptions>(
      *family, "encode", "Text to token ids",
      "weft tokenizer encode tokenizer.json 'Hello there' --json", verb_tokenizer_encode);
  path(encode, e->path);
  // One text: a list option would take a text in brackets apart.
  encode->add_option_function<std::string>(
      "TEXT", [options = e](const std::string& text) { options->text = {text}; },
      "The text; standard input when left out");
  encode->add_flag("--special", e->special, "With what the file puts around a text, such as bos");
  encode->add_flag("--plain", e->plain, "Recognise no added token");
  encode
      ->add_option("--chat", e->chat,
                   "deepseek-r1, chatml or plain-r1-zero: a text is a question, or a JSON list of "
                   "{role, content}; shows what is learned from it")
      ->type_name("TEMPLATE");
  add_format(encode, e->format);
  auto [decode, d] = tree.verb<TokenizerDecodeOptions>(
      *family, "decode", "Token ids to text", "weft tokenizer decode tokenizer.json 19923 2058",
      verb_tokenizer_decode);
  path(decode, d->path);
  decode->add_option("ID", d->ids, "The ids; standard input when left out");
  add_format(decode, d->format);
  add_tokenizer_train(tree, *family);
}

}  // namespace

void add_tools(VerbTree& tree) {
  add_schedule(tree);
  add_trace(tree);
  add_balance(tree);
  add_model(tree);
  add_data(tree);
  add_tokenizer(tree);
}

}  // namespace weft::cli
