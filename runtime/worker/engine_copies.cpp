// Engine::begin_copy and Engine::load_copy: copies of the state in nodes' memory.
#include <set>
#include <utility>

#include "runtime/worker/engine.h"
#include "runtime/worker/gather_or_fail.h"
#include "runtime/worker/node_copies.h"
#include "runtime/worker/spread_copy.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/saver.h"

namespace weft::runtime {

namespace checkpoint = trainer::checkpoint;

void Engine::share_copies(std::unique_ptr<NodeCopies> copies) {
  WEFT_CHECK(!copier_, "copies are shared before the first is begun");
  node_copies_ = std::move(copies);
}

void Engine::begin_copy(const SaveInfo& info) {
  if (!copier_) {
    checkpoint::SaverOptions options;
    options.rank = rank();
    options.world = placement_.layout.world();
    options.mark = saver_mark_;
    options.buffers = 1;
    if (node_copies_) options.elsewhere = node_copies_->elsewhere();
    copier_ = std::make_unique<checkpoint::Saver>(std::move(options), *clock_);
  }
  auto buffer = copier_->borrow();
  copy_state(*buffer);
  copier_->begin(std::move(buffer), info.directory, describe_save(info));
  copy_.asked = copy_.wanted = false;
}

void Engine::allow_copy(long long step) {
  if (node_copies_) node_copies_->allow(static_cast<std::uint64_t>(step));
}

bool Engine::is_copying() const {
  return copier_ && !copier_->wait_idle(std::chrono::milliseconds(0));
}

Expected<std::vector<Engine::Saved>> Engine::finished_copies() {
  return copier_ ? take_ended(*copier_) : Expected<std::vector<Saved>>();
}

/// By file of the manifest: does this rank read any of it?
std::vector<bool> Engine::files_needed(const checkpoint::Manifest& manifest) const {
  std::set<std::string> wanted = {checkpoint::kStateFile};
  const auto want = [&](const char* part, const std::string& name) {
    if (const checkpoint::TensorEntry* tensor = manifest.find(part, name))
      for (const checkpoint::Piece& piece : tensor->pieces) wanted.insert(piece.file);
  };
  for (const HeldStage& held : stages_)
    for (const trainer::Parameter& item : std::as_const(*held.model).parameters().items()) {
      want("model", item.name);
      want("ref", item.name);
    }
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned()) {
    const std::string& name = owned.set->items()[owned.parameter].name;
    want("optim", name + kMoment1);
    want("optim", name + kMoment2);
    want("ema", name);
  }
  std::vector<bool> needed;
  for (const checkpoint::FileEntry& file : manifest.files)
    needed.push_back(wanted.contains(file.path));
  return needed;
}

Expected<Engine::Loaded> Engine::load_copy(const std::filesystem::path& directory,
                                           const std::string& name, std::uint64_t generation,
                                           const CopyNodes& nodes) {
  if (std::filesystem::path(name).filename() != name || name == "." || name == "..")
    return fail(Code::Corrupt, "'" + name + "' is no name of a copy");
  const std::filesystem::path copy = directory.empty() ? "" : directory / name;
  WEFT_TRY(
      spread_copy(*world_, nodes, copy, generation,
                  [this](const checkpoint::Manifest& manifest) { return files_needed(manifest); }));
  Loaded loaded;
  loaded.name = name;
  WEFT_TRY(all_or_fail(*world_, recorder_, read_checkpoint(copy, loaded, true)));
  return loaded;
}

}  // namespace weft::runtime
