// Engine::begin_save and Engine::load_newest: each tensor is written once, by its owner, and read
// by name, so that any layout can resume what any other wrote.
#include <array>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "runtime/control/wire_error.h"
#include "runtime/worker/engine.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/saver.h"

namespace weft::runtime {

using dualpipe::at_place;
using dualpipe::Place;
using nlohmann::json;
namespace checkpoint = trainer::checkpoint;

namespace {

constexpr std::chrono::milliseconds kSaveRound{1000};  // ranks tell each other how their saves go

/// Every rank's text, or the first failed rank's error on all of them: nobody goes on alone.
Expected<std::vector<std::string>> gather(comm::Communicator& world,
                                          dualpipe::StepRecorder* recorder,
                                          const Expected<std::string>& mine) {
  json wire = json::object();
  if (mine)
    wire["value"] = *mine;
  else
    put_error(wire, mine.error());
  const std::string said = wire.dump(-1, ' ', false, json::error_handler_t::replace);
  WEFT_TRY_ASSIGN(const auto all, at_place(recorder, Place::Checkpoint,
                                           [&] { return comm::all_gather_text(world, said); }));
  std::vector<std::string> values;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const json given = json::parse(all[rank], nullptr, false);
    if (given.is_object() && given.contains("value") && given["value"].is_string()) {
      values.push_back(given["value"]);
      continue;
    }
    return fail_in("rank " + std::to_string(rank), take_error(given));
  }
  return values;
}

/// Rank 0's text on every rank; `make` runs on rank 0 only.
template <class Make>
Expected<std::string> from_rank_0(comm::Communicator& world, dualpipe::StepRecorder* recorder,
                                  Make make) {
  const Expected<std::string> mine =
      world.rank() == 0 ? at_place(recorder, Place::Files, make) : Expected<std::string>("");
  WEFT_TRY_ASSIGN(const auto all, gather(world, recorder, mine));
  return all[0];
}

std::vector<checkpoint::ExpectedTensor> expected_tensors(const ShardedOptimizer& optimizer,
                                                         bool reference, bool average) {
  std::vector<checkpoint::ExpectedTensor> expected;
  for (const auto& [name, info] : optimizer.tensors()) {
    expected.push_back({"model", name, info.shape});
    if (reference) expected.push_back({"ref", name, info.shape});
    if (!info.trainable) continue;
    if (average) expected.push_back({"ema", name, info.shape});
    expected.push_back({"optim", name + kMoment1, info.shape});
    expected.push_back({"optim", name + kMoment2, info.shape});
  }
  return expected;
}

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

Expected<void> Engine::make_saver() {
  // What tells this incarnation's files from those of one that died in the same directory.
  std::uint64_t drawn = 0;
  if (world_->rank() == 0) {
    std::random_device device;
    drawn = std::uint64_t{device()} << 32 | device();
  }
  WEFT_TRY(comm::broadcast(*world_, 0, std::as_writable_bytes(std::span(&drawn, 1))));
  saver_mark_ = std::to_string(drawn);
  checkpoint::SaverOptions saver;
  saver.rank = rank();
  saver.world = placement_.layout.world();
  saver.mark = saver_mark_;
  saver_ = std::make_unique<checkpoint::Saver>(std::move(saver), *clock_);
  return {};
}

template <class Visit>
void Engine::each_tensor(const Visit& visit) const {
  const auto moments_dtype =
      optimizer_->options().bf16_moments ? checkpoint::Dtype::BF16 : checkpoint::Dtype::F32;
  std::size_t tensor = 0;  // of the average
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned()) {
    const trainer::Parameter& item = owned.set->items()[owned.parameter];
    const auto floats = [](std::span<const float> values) { return std::as_bytes(values); };
    visit("model", item, "", checkpoint::Dtype::F32, floats(owned.set->value(owned.parameter)));
    if (has_reference())
      for (std::size_t i = 0; i < stages_.size(); ++i)
        if (&stages_[i].model->parameters() == owned.set)
          visit("ref", item, "", checkpoint::Dtype::F32,
                floats(std::span(reference_[i]).subspan(item.offset, item.size)));
    if (owned.moments == nullptr) continue;
    visit("optim", item, kMoment1, moments_dtype, owned.moments->bytes(0));
    visit("optim", item, kMoment2, moments_dtype, owned.moments->bytes(1));
    if (average_)
      visit("ema", item, "", checkpoint::Dtype::F32, floats(average_->average(tensor++)));
  }
}

void Engine::take_snapshot() {
  const Instant begin = clock_->now();
  if (!snapshot_.buffer) snapshot_.buffer = saver_->borrow();
  copy_state(*snapshot_.buffer);
  snapshot_.taken = true;
  snapshot_.stall_seconds += seconds(clock_->now() - begin);
}

std::size_t Engine::state_bytes() const {
  if (average_) average_->finish();
  std::size_t bytes = 0;
  each_tensor([&](const char*, const trainer::Parameter&, const char*, checkpoint::Dtype,
                  std::span<const std::byte> values) { bytes += values.size(); });
  return bytes;
}

void Engine::copy_state(checkpoint::Snapshot& into) const {
  into.clear(state_bytes());
  each_tensor([&](const char* part, const trainer::Parameter& item, const char* suffix,
                  checkpoint::Dtype dtype, std::span<const std::byte> values) {
    into.add({part, item.name + suffix, item.shape, nullptr, {}, {}, dtype}, values);
  });
}

checkpoint::ManifestInfo Engine::describe_save(const SaveInfo& info) const {
  checkpoint::ManifestInfo manifest;
  manifest.attempt = info.attempt;
  manifest.step = info.step;
  if (rank() == 0) {
    const scheduler::Layout& layout = placement_.layout;
    manifest.run = info.run;
    manifest.tokens = info.tokens;
    manifest.wall_time = info.wall_time;
    manifest.writer = "weft " WEFT_VERSION;
    manifest.model_fingerprint = info.fingerprint;
    manifest.parent = info.parent;
    manifest.layout = {layout.pipeline, layout.data, layout.expert,
                       std::string(dualpipe::to_string(layout.kind))};
    manifest.state = info.state;
    manifest.expected = expected_tensors(*optimizer_, has_reference(), has_average());
    manifest.keep = info.keep;
    manifest.keep_every_steps = info.keep_every_steps;
    manifest.keep_every_seconds = info.keep_every_seconds;
  }
  return manifest;
}

void Engine::begin_save(const SaveInfo& info) {
  if (!snapshot_.taken) take_snapshot();
  const Instant begin = clock_->now();
  saver_->begin(std::move(snapshot_.buffer), info.directory, describe_save(info));
  snapshot_.asked = snapshot_.wanted = snapshot_.taken = false;
  snapshot_.stall_seconds += seconds(clock_->now() - begin);
}

Expected<std::vector<Engine::Saved>> Engine::finished_saves() { return take_ended(*saver_); }

Expected<std::vector<Engine::Saved>> Engine::take_ended(checkpoint::Saver& saver) {
  WEFT_TRY_ASSIGN(std::vector<checkpoint::Saved> ended, saver.take_finished());
  std::vector<Saved> saved;
  for (checkpoint::Saved& one : ended)
    saved.push_back({static_cast<long long>(one.step), std::move(one.name), one.bytes,
                     one.write_seconds, one.commit_seconds, std::move(one.warnings)});
  return saved;
}

Expected<std::vector<Engine::Saved>> Engine::finish_saves() {
  // In rounds, so that a slow disk is not taken for a silent rank.
  for (;;) {
    const bool idle = saver_->wait_idle(std::min(options_.wait_bound / 4, kSaveRound));
    std::array<double, 2> open_failed = {idle ? 0.0 : 1.0, saver_->has_failed() ? 1.0 : 0.0};
    WEFT_TRY(comm::all_reduce_sum(*world_, std::span(open_failed)));
    // A rank that could not even leave its report fails alone; nobody waits for that report.
    if (open_failed[0] == 0 || open_failed[1] > 0) break;
  }
  Expected<std::vector<Saved>> saved = finished_saves();
  WEFT_TRY(gather(*world_, recorder_,
                  saved ? Expected<std::string>("") : tl::unexpected(saved.error())));
  return saved;
}

Expected<std::string> Engine::save(const SaveInfo& info) {
  begin_save(info);
  WEFT_TRY_ASSIGN(const std::vector<Saved> saved, finish_saves());
  return from_rank_0(*world_, recorder_, [&] { return Expected<std::string>(saved.back().name); });
}

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
    const auto all =
        gather(*world_, recorder_, read ? Expected<std::string>("") : tl::unexpected(read.error()));
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
  WEFT_TRY(all_have_read(read));
  return loaded;
}

Expected<void> Engine::all_have_read(const Expected<void>& read) {
  WEFT_TRY(
      gather(*world_, recorder_, read ? Expected<std::string>("") : tl::unexpected(read.error())));
  return {};
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
