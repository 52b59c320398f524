// Engine::load_newest and its like: tensors are read by name, whatever layout wrote them.
#include <nlohmann/json.hpp>

#include "runtime/worker/engine.h"
#include "runtime/worker/gather_or_fail.h"
#include "trainer/checkpoint/checkpoint.h"

namespace weft::runtime {

using dualpipe::at_place;
using dualpipe::Place;
using nlohmann::json;
namespace checkpoint = trainer::checkpoint;

namespace {

/// A run without any checkpoint may begin; one whose checkpoints are all damaged may not begin
/// again over what it has written.
Expected<void> nothing_is_lost(const std::filesystem::path& directory,
                               const std::vector<checkpoint::Skipped>& skipped) {
  std::string damaged;
  for (const checkpoint::Skipped& one : skipped)
    if (one.name.find(".partial-") == std::string::npos)
      damaged += "\n  " + one.name + ": " + one.reason;
  if (damaged.empty()) return {};
  return fail(Code::Corrupt, "no checkpoint in " + directory.string() + " can be used:" + damaged +
                                 "\nrestore one of them, or begin again in another directory");
}

}  // namespace

Expected<Engine::Loaded> Engine::load_newest(const std::filesystem::path& directory) {
  Loaded loaded;
  std::vector<checkpoint::Skipped> damaged;  // found so while it was read
  for (;;) {
    // Rank 0 looks at sizes and chooses; everyone checks the hashes of what it reads.
    WEFT_TRY_ASSIGN(
        const std::string text, from_rank_0(*world_, recorder_, [&]() -> Expected<std::string> {
          WEFT_TRY_ASSIGN(const checkpoint::Choice choice,
                          checkpoint::newest_complete(directory, checkpoint::Mode::Size, damaged));
          if (!choice.chosen) WEFT_TRY(nothing_is_lost(directory, choice.skipped));
          json wire = {{"name", choice.chosen ? choice.chosen->name : ""},
                       {"skipped", json::array()}};
          for (const checkpoint::Skipped& skipped : choice.skipped)
            wire["skipped"].push_back("skipped " + skipped.name + ": " + skipped.reason);
          return wire.dump(-1, ' ', false, json::error_handler_t::replace);
        }));
    const json wire = json::parse(text);
    loaded.name = wire["name"];
    loaded.skipped = wire["skipped"].get<std::vector<std::string>>();
    if (loaded.name.empty()) return loaded;
    const Expected<void> read = at_place(
        recorder_, Place::Files, [&] { return read_checkpoint(directory / loaded.name, loaded); });
    const Expected<void> all = all_or_fail(*world_, recorder_, read);
    if (all) return loaded;
    if (all.error().code != Code::Corrupt) return tl::unexpected(all.error());
    damaged.push_back({loaded.name, all.error().message});
  }
}

Expected<Engine::Loaded> Engine::load_chosen(const std::filesystem::path& directory,
                                             const std::string& name) {
  const auto look = [&]() -> Expected<std::string> {
    if (name.empty()) {
      WEFT_TRY_ASSIGN(const checkpoint::Choice choice,
                      checkpoint::newest_complete(directory, checkpoint::Mode::Size));
      if (!choice.chosen) WEFT_TRY(nothing_is_lost(directory, choice.skipped));
      return "";
    }
    const std::filesystem::path path = directory / name;
    if (path.filename() != name || name == "." || name == "..")
      return fail(Code::InvalidArgument, "'" + name + "' is no checkpoint's name");
    std::error_code error;
    if (!std::filesystem::is_directory(path, error))
      return fail(Code::Corrupt, path.string() + " is not there any more");
    return "";
  };
  // One rank looks: on a shared directory all would see the same, and some would see it later.
  WEFT_TRY(from_rank_0(*world_, recorder_, look));
  Loaded loaded;
  loaded.name = name;
  if (name.empty()) return loaded;
  const Expected<void> read =
      at_place(recorder_, Place::Files, [&] { return read_checkpoint(directory / name, loaded); });
  WEFT_TRY(all_or_fail(*world_, recorder_, read));
  return loaded;
}

Expected<Engine::Loaded> Engine::load(const std::filesystem::path& directory,
                                      const std::string& which) {
  if (which.empty()) return load_newest(directory);
  WEFT_TRY_ASSIGN(const auto entries, checkpoint::list(directory));
  for (const checkpoint::Entry& entry : entries) {
    if (entry.state != checkpoint::EntryState::Complete) continue;
    if (entry.name != which && std::to_string(entry.step) != which) continue;
    Loaded loaded;
    loaded.name = entry.name;
    WEFT_TRY(read_checkpoint(entry.directory, loaded));
    return loaded;
  }
  return fail(Code::NotFound, directory.string() + " has no complete checkpoint '" + which +
                                  "'; 'weft ckpt ls' shows what is there");
}

Expected<void> Engine::read_checkpoint(const std::filesystem::path& path, Loaded& loaded,
                                       bool in_parts) {
  WEFT_TRY_ASSIGN(checkpoint::Reader reader,
                  checkpoint::Reader::open(
                      path, in_parts ? checkpoint::Mode::Manifest : checkpoint::Mode::Size));
  snapshot_.taken = false;
  if (average_) average_->finish();
  const checkpoint::Layout& layout = reader.manifest().layout;
  loaded.layout = "pipeline " + std::to_string(layout.pipeline) + " x data " +
                  std::to_string(layout.data) + ", experts over " + std::to_string(layout.expert) +
                  ", " + layout.schedule;
  loaded.step = static_cast<long long>(reader.manifest().step);
  WEFT_TRY_ASSIGN(loaded.state, reader.state());
  reference_.clear();
  const bool reference = !reader.names("ref").empty();
  for (HeldStage& held : stages_) {
    trainer::ParameterSet& set = held.model->parameters();
    std::vector<float>* copy =
        reference ? &reference_.emplace_back(set.values().size(), 0.0f) : nullptr;
    for (int i = 0; i < static_cast<int>(set.items().size()); ++i) {
      const trainer::Parameter& item = set.items()[i];
      WEFT_TRY_ASSIGN(const checkpoint::Shape shape, reader.shape("model", item.name));
      if (shape != item.shape)
        return fail(Code::InvalidArgument,
                    loaded.name + ": tensor " + item.name + " has shape " +
                        checkpoint::to_string(shape) + ", this job's model wants " +
                        checkpoint::to_string(item.shape) + "; resume with the job it came from");
      WEFT_TRY(reader.read("model", item.name, set.value(i)));
      if (copy != nullptr)
        WEFT_TRY(
            reader.read("ref", item.name, std::span<float>(*copy).subspan(item.offset, item.size)));
    }
    set.touch();
  }
  const bool average = average_ && !reader.names("ema").empty();
  if (average_ && !average) average_->restart();
  if (reader.names("optim").empty()) {  // imported weights: the optimizer begins anew
    optimizer_->reset_moments();
    return {};
  }
  std::size_t tensor = 0;
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned()) {
    if (owned.moments == nullptr) continue;
    const std::string& name = owned.set->items()[owned.parameter].name;
    const auto read = [&](auto& moments) -> Expected<void> {
      WEFT_TRY(reader.read("optim", name + kMoment1, std::span(moments[0])));
      return reader.read("optim", name + kMoment2, std::span(moments[1]));
    };
    WEFT_TRY(optimizer_->options().bf16_moments ? read(owned.moments->bf16)
                                                : read(owned.moments->f32));
    if (average) WEFT_TRY(reader.read("ema", name, average_->average(tensor++)));
  }
  return {};
}

}  // namespace weft::runtime
