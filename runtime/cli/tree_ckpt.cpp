// The verbs of checkpoints: what there is, and how models come in and go out.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

void add_looking(VerbTree& tree, CLI::App& ckpt) {
  const auto add = [&](const char* name, const char* summary, const char* example,
                       int (*function)(const CheckpointOptions&, Io&)) {
    auto [sub, options] = tree.verb<CheckpointOptions>(ckpt, name, summary, example, function);
    add_run(sub, options->run);
    if (std::string(name) != "ls")
      sub->add_option("--step", options->step, "The checkpoint of this step")->type_name("N");
    add_format(sub, options->format);
  };
  add("ls", "List the checkpoints of a run and their state", "weft ckpt ls r1-zero-arithmetic",
      verb_ckpt_ls);
  add("show", "What one checkpoint, or a file named *.gguf, holds",
      "weft ckpt show r1-zero-arithmetic --step 200", verb_ckpt_show);
  add("verify", "Read every byte and compare its hash; exit 1 when damaged",
      "weft ckpt verify r1-zero-arithmetic", verb_ckpt_verify);
}

void add_tending(VerbTree& tree, CLI::App& ckpt) {
  auto [diff, d] = tree.verb<CheckpointDiffOptions>(
      ckpt, "diff", "In what two checkpoints differ, tensor by tensor; exit 1 when they do",
      "weft ckpt diff r1-zero-arithmetic@200 r1-zero-arithmetic@400", verb_ckpt_diff);
  diff->add_option("A", d->a,
                   "A run (its newest checkpoint), RUN@STEP, or a checkpoint's directory")
      ->required();
  diff->add_option("B", d->b, "Another one")->required();
  diff->add_option("--tolerance", d->tolerance,
                   "Values that differ by no more are the same (default: 0)")
      ->type_name("X")
      ->check(at_least(0));
  add_format(diff, d->format);

  auto [prune, p] = tree.verb<PruneOptions>(
      ckpt, "prune", "Remove old checkpoints by the job's rule, or by another one",
      "weft ckpt prune r1-zero-arithmetic --keep 1 --dry-run", verb_ckpt_prune);
  add_run(prune, p->run);
  prune->add_option("--keep", p->keep, "The newest so many stay (default: checkpoint.keep)")
      ->type_name("N")
      ->check(between(1, 10000));
  prune
      ->add_option("--keep-every-steps", p->keep_every_steps,
                   "Those of every so many steps stay (default: checkpoint.keep_every_steps)")
      ->type_name("N")
      ->check(between(0, 1e9));
  prune
      ->add_option("--keep-every", p->keep_every,
                   "The first of every such span of time stays (default: checkpoint.keep_every)")
      ->type_name("TIME");
  prune->add_flag("--dry-run", p->dry_run, "Only show what would be removed");
  prune->add_flag("-y,--yes", p->yes, "Do not ask");
  add_format(prune, p->format);

  const auto add_pin = [&](const char* name, const char* summary, const char* example,
                           int (*function)(const PinOptions&, Io&)) {
    auto [sub, o] = tree.verb<PinOptions>(ckpt, name, summary, example, function);
    sub->add_option("RUN", o->run, "A run directory or a name below runs/")->required();
    sub->add_option("STEP", o->step, "The checkpoint of this step")->required();
  };
  add_pin("pin", "Keep a checkpoint for good: nothing prunes it",
          "weft ckpt pin r1-zero-arithmetic 200", verb_ckpt_pin);
  add_pin("unpin", "Let a pinned checkpoint be pruned as others",
          "weft ckpt unpin r1-zero-arithmetic 200", verb_ckpt_unpin);

  auto [reshard, r] = tree.verb<ReshardVerbOptions>(
      ckpt, "reshard", "The same checkpoint in other files, for readers that take one a rank",
      "weft ckpt reshard r1-zero-arithmetic --ranks 8 -o eight", verb_ckpt_reshard);
  reshard
      ->add_option("SOURCE", r->source,
                   "A run (its newest checkpoint), RUN@STEP, or a checkpoint's directory")
      ->required();
  reshard->add_option("-o,--output", r->output, "A directory that gets the checkpoint; made")
      ->type_name("DIR")
      ->required();
  reshard->add_option("--step", r->step, "The checkpoint of this step (default: the newest)")
      ->type_name("N");
  reshard->add_option("--ranks", r->ranks, "So many files an item, of equal size")
      ->type_name("N")
      ->check(between(1, 16384));
  reshard
      ->add_option("--layout", r->layout,
                   "pipeline=P,data=D,expert=E,schedule=KIND: each tensor in the file of a rank "
                   "that would hold it")
      ->type_name("LAYOUT");
  reshard->add_flag("-q,--quiet", r->quiet, "No progress");
  reshard->add_flag_callback(
      "--json", [format = &r->format] { *format = Format::Json; }, "The report as JSON");
}

/// What both kinds of export take.
void add_export_options(CLI::App* sub, ExportOptions& o, const char* output_help,
                        const std::vector<std::string>& dtypes) {
  sub->add_option("SOURCE", o.source,
                  "A run, a checkpoint's directory, or a Hugging Face directory; the newest run "
                  "when left out");
  sub->add_option("-o,--output", o.output, output_help)->type_name("PATH")->required();
  sub->add_option("--step", o.step, "The checkpoint of this step (default: the newest)")
      ->type_name("N");
  sub->add_option("--dtype", o.dtype, "How weights are stored (default: bf16)")
      ->type_name("TYPE")
      ->check(CLI::IsMember(dtypes));
  sub->add_option("--config", o.config, "A config.json, where nothing beside the checkpoint is one")
      ->type_name("PATH");
  sub->add_option("--tokenizer", o.tokenizer, "A directory with the tokenizer's files")
      ->type_name("DIR");
  sub->add_flag("--ema", o.average, "The parameters' moving average (optimizer.ema_decay)");
  sub->add_flag("-q,--quiet", o.quiet, "No progress");
  sub->add_flag_callback(
      "--json", [format = &o.format] { *format = Format::Json; }, "The report as JSON");
}

void add_exports(VerbTree& tree, CLI::App& ckpt) {
  CLI::App* out = ckpt.add_subcommand("export", "Write a model for other programs");
  out->footer("weft ckpt export hf r1-zero-arithmetic -o model");
  out->require_subcommand(1);

  auto [hf, h] = tree.verb<ExportOptions>(
      *out, "hf", "As a Hugging Face directory: config, safetensors, tokenizer",
      "weft ckpt export hf r1-zero-arithmetic -o model --dtype bf16", verb_ckpt_export_hf);
  h->shard_size = "5GB";
  add_export_options(hf, *h, "The directory to make", {"f32", "bf16", "fp8"});
  hf->add_flag("--drop-mtp", h->drop_next_token, "Without next-token modules");
  hf->add_option("--shard-size", h->shard_size, "The most a weight file holds (default: 5GB)")
      ->type_name("BYTES");
  hf->add_flag("--sha256", h->sha256, "Also SHA256SUMS, for sha256sum -c");

  auto [gguf, g] = tree.verb<ExportOptions>(
      *out, "gguf", "As a GGUF file, for llama.cpp (architecture deepseek2)",
      "weft ckpt export gguf r1-zero-arithmetic -o model.gguf --dtype q8_0", verb_ckpt_export_gguf);
  add_export_options(gguf, *g, "The file to make; its name ends in .gguf",
                     {"f32", "f16", "bf16", "q8_0"});
  gguf->add_option("--shard-size", g->shard_size, "Cut into files of at most so much")
      ->type_name("BYTES");
}

void add_imports(VerbTree& tree, CLI::App& ckpt) {
  CLI::App* in = ckpt.add_subcommand("import", "Read a model of other programs");
  in->footer("weft ckpt import hf DeepSeek-V3-tiny -o runs/tiny");
  in->require_subcommand(1);
  auto [sub, o] = tree.verb<ImportOptions>(
      *in, "hf", "A Hugging Face directory, as the checkpoint that a run begins with",
      "weft ckpt import hf model -o runs/mine", verb_ckpt_import_hf);
  sub->add_option("DIR", o->directory, "The Hugging Face directory")->required();
  sub->add_option("-o,--output", o->output, "The run directory to be, for weft run JOB --dir")
      ->type_name("RUN")
      ->required();
  sub->add_flag("--drop-mtp", o->drop_next_token, "Without next-token modules");
  sub->add_flag("-q,--quiet", o->quiet, "No progress");
  sub->add_flag_callback(
      "--json", [format = &o->format] { *format = Format::Json; }, "The report as JSON");
}

}  // namespace

void add_checkpoints(VerbTree& tree) {
  CLI::App* ckpt =
      tree.root().add_subcommand("ckpt", "List, verify, compare, keep, recut, export checkpoints");
  ckpt->footer("weft ckpt verify r1-zero-arithmetic");
  ckpt->require_subcommand(1);
  add_looking(tree, *ckpt);
  add_tending(tree, *ckpt);
  add_exports(tree, *ckpt);
  add_imports(tree, *ckpt);
}

}  // namespace weft::cli
