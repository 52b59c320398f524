#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"
#include "runtime/cli/render.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"
#include "trainer/checkpoint/checkpoint.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace checkpoint = trainer::checkpoint;
namespace fs = std::filesystem;

struct Found {
  fs::path directory;      // the run's ckpt/
  bool synthetic = false;  // of a rehearsal: no model is in them
  std::vector<checkpoint::Entry> entries;
};

Expected<Found> find_checkpoints(const CheckpointOptions& options) {
  WEFT_TRY_ASSIGN(const fs::path run, find_run(options.run));
  Found found{runtime::RunPaths{run}.checkpoints(), is_rehearsal(run), {}};
  WEFT_TRY_ASSIGN(found.entries, checkpoint::list(found.directory, checkpoint::Mode::Size));
  return found;
}

/// The entry that the user named by step ("40") or by name ("step-000000040").
Expected<checkpoint::Entry> find_entry(const Found& found, const std::string& step) {
  std::vector<std::string> names;
  for (const checkpoint::Entry& entry : found.entries) {
    if (entry.name == step ||
        (entry.state != checkpoint::EntryState::Partial && std::to_string(entry.step) == step))
      return entry;
    names.push_back(entry.name);
  }
  return fail(Code::NotFound, found.directory.string() + " has no checkpoint '" + step +
                                  "'; there are: " + (names.empty() ? "none" : join(names, ", ")));
}

json entry_json(const checkpoint::Entry& entry) {
  json out = {{"name", entry.name},      {"state", checkpoint::to_string(entry.state)},
              {"step", entry.step},      {"bytes", entry.bytes},
              {"time", entry.wall_time}, {"path", entry.directory.string()}};
  if (!entry.reason.empty()) out["reason"] = entry.reason;
  return out;
}

json manifest_json(const checkpoint::Manifest& manifest, const checkpoint::Entry& entry) {
  json out = entry_json(entry);
  json tensors = json::array();
  for (const checkpoint::TensorEntry& tensor : manifest.tensors)
    tensors.push_back({{"item", tensor.item},
                       {"name", tensor.name},
                       {"shape", tensor.shape},
                       {"pieces", tensor.pieces.size()}});
  out.update({{"run", manifest.run},
              {"attempt", manifest.attempt},
              {"tokens", manifest.tokens},
              {"writer", manifest.writer},
              {"fingerprint", manifest.model_fingerprint},
              {"parent", manifest.parent},
              {"layout",
               {{"pipeline", manifest.layout.pipeline},
                {"data", manifest.layout.data},
                {"expert", manifest.layout.expert},
                {"schedule", manifest.layout.schedule}}},
              {"files", manifest.files.size()},
              {"tensors", tensors}});
  return out;
}

/// How one checkpoint verifies, as a record.
json verify_json(const checkpoint::Entry& entry) {
  json out = entry_json(entry);
  out["damage"] = json::array();
  const auto checked = checkpoint::verify(entry.directory, checkpoint::Mode::Full);
  if (!checked) {
    out["ok"] = false;
    out["damage"].push_back({{"file", ""}, {"tensor", ""}, {"reason", checked.error().message}});
    return out;
  }
  out["ok"] = checked->ok();
  out["files"] = checked->files;
  for (const checkpoint::Damage& damage : checked->damage)
    out["damage"].push_back(
        {{"file", damage.file}, {"tensor", damage.tensor}, {"reason", damage.reason}});
  return out;
}

std::string text_of(const json& record, const char* key) { return cell(record, key); }

std::string marked(std::string text, const json& record) {
  return std::move(text) + (record.value("synthetic", false) ? " [synthetic]" : "");
}

}  // namespace

int verb_ckpt_ls(const CheckpointOptions& options, Io& io) {
  const auto found = find_checkpoints(options);
  if (!found) return report(found.error(), io);
  const auto pinned = checkpoint::pins(found->directory);
  if (!pinned) return report(pinned.error(), io);
  std::vector<json> records;
  for (const checkpoint::Entry& entry : found->entries) {
    records.push_back(entry_json(entry));
    records.back()["pinned"] = pinned->contains(entry.name);
    if (found->synthetic) records.back()["synthetic"] = true;
  }
  print_list(
      io, options.format, "ckpt.ls", records,
      {{"NAME", [](const json& r) { return text_of(r, "name"); }},
       {"STATE", [](const json& r) { return marked(text_of(r, "state"), r); }},
       {"STEP", [](const json& r) { return text_of(r, "step"); }, true},
       {"SIZE", [](const json& r) { return format_bytes(r["bytes"].get<std::uint64_t>()); }, true},
       {"WRITTEN", [&](const json& r) { return ago(r, "time", io.clock); }},
       {"PINNED", [](const json& r) { return r["pinned"].get<bool>() ? "yes" : ""; }},
       {"", [](const json& r) { return r.value("reason", ""); }}},
      "name");
  if (records.empty()) io.err << "No checkpoint yet in " << found->directory.string() << "\n";
  return kOk;
}

int verb_ckpt_show(const CheckpointOptions& options, Io& io) {
  if (options.run.ends_with(".gguf")) return show_gguf(options.run, options.format, io);
  const auto found = find_checkpoints(options);
  if (!found) return report(found.error(), io);
  checkpoint::Entry entry;
  if (!options.step.empty()) {
    const auto named = find_entry(*found, options.step);
    if (!named) return report(named.error(), io);
    entry = *named;
  } else {
    const auto choice = checkpoint::newest_complete(found->directory, checkpoint::Mode::Size);
    if (!choice) return report(choice.error(), io);
    if (!choice->chosen)
      return report({Code::NotFound, "no complete checkpoint in " + found->directory.string()}, io);
    entry = *choice->chosen;
  }
  const auto manifest = checkpoint::load_manifest(entry.directory);
  if (!manifest) return report(manifest.error(), io);
  const json out = manifest_json(*manifest, entry);
  const checkpoint::Layout& layout = manifest->layout;
  print_object(
      io, options.format, "ckpt.show", out, "name",
      {{"name", entry.name},
       {"state",
        checkpoint::to_string(entry.state) + (entry.reason.empty() ? "" : ": " + entry.reason)},
       {"step", std::to_string(manifest->step)},
       {"tokens", std::to_string(manifest->tokens)},
       {"written", manifest->wall_time + " by " + manifest->writer},
       {"layout", fmt::format("pipeline {} x data {}, experts over {}, {}", layout.pipeline,
                              layout.data, layout.expert, layout.schedule)},
       {"tensors", std::to_string(manifest->tensors.size()) + " in " +
                       std::to_string(manifest->files.size()) + " files, " +
                       format_bytes(manifest->bytes())},
       {"resumed from", manifest->parent.empty() ? "-" : manifest->parent},
       {"path", entry.directory.string()}});
  return kOk;
}

int verb_ckpt_verify(const CheckpointOptions& options, Io& io) {
  const auto found = find_checkpoints(options);
  if (!found) return report(found.error(), io);
  std::vector<checkpoint::Entry> entries;
  if (!options.step.empty()) {
    const auto named = find_entry(*found, options.step);
    if (!named) return report(named.error(), io);
    entries.push_back(*named);
  } else {
    for (const checkpoint::Entry& entry : found->entries)
      if (entry.state != checkpoint::EntryState::Partial) entries.push_back(entry);
  }
  if (entries.empty())
    return report({Code::NotFound, "no checkpoint to verify in " + found->directory.string()}, io);
  std::vector<json> records;
  bool whole = true;
  for (const checkpoint::Entry& entry : entries) {
    records.push_back(verify_json(entry));
    if (found->synthetic) records.back()["synthetic"] = true;
    whole &= records.back()["ok"].get<bool>();
  }
  print_list(
      io, options.format, "ckpt.verify", records,
      {{"NAME", [](const json& r) { return text_of(r, "name"); }},
       {"VERDICT",
        [](const json& r) { return marked(r["ok"].get<bool>() ? "whole" : "DAMAGED", r); }},
       {"SIZE", [](const json& r) { return format_bytes(r["bytes"].get<std::uint64_t>()); }, true},
       {"WHAT",
        [](const json& r) {
          std::string what;
          for (const json& damage : r["damage"])
            what += (what.empty() ? "" : "; ") + damage["file"].get<std::string>() + " " +
                    damage["tensor"].get<std::string>() + ": " +
                    damage["reason"].get<std::string>();
          return what;
        }}},
      "name");
  return whole ? kOk : kNotSo;
}

}  // namespace weft::cli
