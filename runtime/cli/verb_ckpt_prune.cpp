#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/units.h"
#include "runtime/cli/checkpoint_source.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/load.h"
#include "runtime/store/lease.h"
#include "runtime/store/run_store.h"
#include "trainer/checkpoint/checkpoint.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace checkpoint = trainer::checkpoint;
namespace fs = std::filesystem;
using runtime::RunPaths;

/// The run's own rule (its job's fields), and what the command line says instead.
Expected<checkpoint::PruneRule> rule_of(const fs::path& run, const PruneOptions& options) {
  const RunPaths paths{run};
  runtime::CheckpointJob fields;
  std::error_code error;
  if (fs::exists(paths.resolved(), error)) {
    const runtime::Loaded loaded =
        runtime::load_job(paths.resolved(), {.overrides = {}, .check_files = false});
    if (!loaded.ok())
      return fail(Code::Corrupt, paths.resolved().string() + " cannot be read:\n" +
                                     runtime::print(loaded.diagnostics, {}));
    fields = loaded.job.checkpoint;
  }
  checkpoint::PruneRule rule;
  rule.keep = options.keep > 0 ? options.keep : fields.keep;
  rule.keep_every_steps = static_cast<std::uint64_t>(
      options.keep_every_steps >= 0 ? options.keep_every_steps : fields.keep_every_steps);
  rule.keep_every_seconds = fields.keep_every_s;
  if (!options.keep_every.empty()) {
    WEFT_TRY_ASSIGN(const Duration span, parse_duration(options.keep_every));
    rule.keep_every_seconds = seconds(span);
  }
  // While the run lives its writers may be at partial checkpoints: the newest attempts' are theirs.
  WEFT_TRY_ASSIGN(const json state, runtime::read_state(run));
  const bool lives = runtime::is_alive(paths);
  rule.attempt = state.value("attempt", std::uint64_t{0}) + (lives ? 0 : 2);
  if (lives) {
    WEFT_TRY_ASSIGN(const auto newest,
                    checkpoint::newest_complete(paths.checkpoints(), checkpoint::Mode::Size));
    if (newest.chosen) rule.step = newest.chosen->step;
  }
  return rule;
}

/// Nothing is removed unless somebody says so (ux 1.3). Ok: go on.
std::optional<int> refused(const PruneOptions& options, std::size_t count, Io& io) {
  if (options.yes || count == 0) return std::nullopt;
  if (!io.err_tty) {
    io.err << "weft: error: nothing is removed without --yes; --dry-run only shows what would be\n";
    return kUsage;
  }
  io.err << "Remove " << count << " for good? [y/N] " << std::flush;
  std::string answer;
  std::getline(io.in, answer);
  if (answer == "y" || answer == "yes") return std::nullopt;
  io.err << "weft: nothing was removed\n";
  return kNotSo;
}

}  // namespace

int verb_ckpt_prune(const PruneOptions& options, Io& io) {
  const auto run = find_run(options.run);
  if (!run) return report(run.error(), io);
  const fs::path ckpt = RunPaths{*run}.checkpoints();
  const auto rule = rule_of(*run, options);
  if (!rule) return report(rule.error(), io);
  const auto plan = checkpoint::plan_prune(ckpt, *rule);
  if (!plan) return report(plan.error(), io);
  std::vector<json> records;
  std::size_t doomed = 0;
  for (const checkpoint::Fate& fate : *plan) {
    doomed += fate.remove ? 1 : 0;
    records.push_back({{"name", fate.entry.name},
                       {"step", fate.entry.step},
                       {"bytes", fate.entry.bytes},
                       {"remove", fate.remove},
                       {"reason", fate.reason}});
  }
  print_list(
      io, options.format, "ckpt.prune", records,
      {{"NAME", [](const json& r) { return cell(r, "name"); }},
       {"FATE", [](const json& r) { return r["remove"].get<bool>() ? "remove" : "keep"; }},
       {"SIZE", [](const json& r) { return format_bytes(r["bytes"].get<std::uint64_t>()); }, true},
       {"WHY", [](const json& r) { return cell(r, "reason"); }}},
      "name");
  if (options.dry_run) return kOk;
  if (const auto code = refused(options, doomed, io)) return *code;
  const auto removed = checkpoint::prune(ckpt, *rule);
  if (!removed) return report(removed.error(), io);
  io.err << "weft: removed " << removed->size() << ", kept " << plan->size() - removed->size()
         << "\n";
  return kOk;
}

namespace {

int set_pin(const PinOptions& options, bool pinned, Io& io) {
  const auto run = find_run(options.run);
  if (!run) return report(run.error(), io);
  const fs::path ckpt = RunPaths{*run}.checkpoints();
  const auto name = checkpoint_name(ckpt, options.step);
  if (!name) return report(name.error(), io);
  const auto done = pinned ? checkpoint::pin(ckpt, *name) : checkpoint::unpin(ckpt, *name);
  if (!done) return report(done.error(), io);
  io.err << "weft: " << *name
         << (pinned ? " stays until it is unpinned: weft ckpt unpin "
                    : " is pruned as others: weft ckpt pin ")
         << options.run << " " << options.step << (pinned ? "\n" : " keeps it\n");
  return kOk;
}

}  // namespace

int verb_ckpt_pin(const PinOptions& options, Io& io) { return set_pin(options, true, io); }
int verb_ckpt_unpin(const PinOptions& options, Io& io) { return set_pin(options, false, io); }

}  // namespace weft::cli
