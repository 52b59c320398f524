#include "runtime/cli/checkpoint_source.h"

#include "base/text.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"
#include "trainer/checkpoint/checkpoint.h"

namespace weft::cli {
namespace {

namespace checkpoint = trainer::checkpoint;
namespace fs = std::filesystem;

bool there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

}  // namespace

Expected<std::string> checkpoint_name(const fs::path& ckpt_dir, const std::string& step) {
  WEFT_TRY_ASSIGN(const auto entries, checkpoint::list(ckpt_dir));
  std::vector<std::string> names;
  for (const checkpoint::Entry& entry : entries) {
    if (entry.state != checkpoint::EntryState::Complete) continue;
    if (entry.name == step || std::to_string(entry.step) == step) return entry.name;
    names.push_back(entry.name);
  }
  return fail(Code::NotFound, ckpt_dir.string() + " has no complete checkpoint '" + step +
                                  "'; there are: " + (names.empty() ? "none" : join(names, ", ")));
}

Expected<NamedCheckpoint> find_checkpoint(const std::string& text, const std::string& step) {
  if (!text.empty() && there(fs::path(text) / checkpoint::kManifestFile)) {
    const fs::path directory = fs::absolute(text + "/.").lexically_normal().parent_path();
    const fs::path run = directory.parent_path().parent_path();
    return NamedCheckpoint{text, there(runtime::RunPaths{run}.run()) ? run : fs::path()};
  }
  const std::size_t at = step.empty() ? text.rfind('@') : std::string::npos;
  const std::string which = at == std::string::npos ? step : text.substr(at + 1);
  const std::string name = text.substr(0, at);
  // A directory of checkpoints without a run, as reshard makes it, is as good as a run.
  const auto entries =
      name.empty() ? Expected<std::vector<checkpoint::Entry>>{} : checkpoint::list(name);
  fs::path run, ckpt = name;
  if (!entries || entries->empty()) {
    WEFT_TRY_ASSIGN(run, find_run(name));
    ckpt = runtime::RunPaths{run}.checkpoints();
  }
  if (!which.empty()) {
    WEFT_TRY_ASSIGN(const std::string found, checkpoint_name(ckpt, which));
    return NamedCheckpoint{ckpt / found, run};
  }
  WEFT_TRY_ASSIGN(const checkpoint::Choice choice,
                  checkpoint::newest_complete(ckpt, checkpoint::Mode::Size));
  if (!choice.chosen) return fail(Code::NotFound, "no complete checkpoint in " + ckpt.string());
  return NamedCheckpoint{choice.chosen->directory, run};
}

}  // namespace weft::cli
