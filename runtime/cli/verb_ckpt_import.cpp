#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/files.h"
#include "base/units.h"
#include "runtime/cli/model_source.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"
#include "runtime/worker/recipe_state.h"
#include "trainer/hf/directory.h"
#include "trainer/hf/import.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
namespace hf = trainer::hf;

/// What describes the imported model, beside its checkpoint: for jobs, and for a later export.
Expected<void> write_description(const fs::path& directory, const hf::Directory& model) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return io_error("create directory", directory, error.value());
  WEFT_TRY(write_file_atomically(directory / "config.json", hf::write_config(model.config())));
  WEFT_TRY_ASSIGN(const std::vector<hf::SideFile> files, side_files(model.path()));
  for (const hf::SideFile& file : files)
    WEFT_TRY(write_file_atomically(directory / file.name, file.content));
  return {};
}

Expected<hf::ImportReport> import_hf(const ImportOptions& options, Io& io) {
  WEFT_TRY_ASSIGN(hf::Directory model,
                  hf::Directory::open(options.directory, options.drop_next_token));
  for (const std::string& one : model.warnings()) io.err << "weft: warning: " << one << "\n";
  const fs::path run = options.output;
  hf::ImportOptions to;
  to.run = fs::absolute(run / ".").lexically_normal().parent_path().filename().string();
  to.wall_time = format_time(io.clock.wall_now());
  to.writer = "weft import";
  to.state = runtime::to_json_text(runtime::RecipeState{});
  Progress progress(io, options.quiet);
  to.on_progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.show(fmt::format("importing {} of {}", format_bytes(done), format_bytes(total)));
  };
  WEFT_TRY_ASSIGN(
      hf::ImportReport report,
      hf::import_checkpoint(model, model.config(), runtime::RunPaths{run}.checkpoints(), to));
  WEFT_TRY(write_description(run / kImportedDirectory, model));
  return report;
}

}  // namespace

int verb_ckpt_import_hf(const ImportOptions& options, Io& io) {
  const auto done = import_hf(options, io);
  if (!done) {
    const int code = report(done.error(), io);
    return code == kConfiguration ? kUsage : code;
  }
  const std::string directory = done->committed.directory.string();
  const json out = {{"checkpoint", directory}, {"tensors", done->tensors}, {"bytes", done->bytes}};
  print_object(
      io, options.format, "ckpt.import.hf", out, "checkpoint",
      {{"checkpoint", directory},
       {"tensors", fmt::format("{} in {}", done->tensors, format_bytes(done->bytes))},
       {"train it", "weft run JOB --dir " + options.output},
       {"its shape", (fs::path(options.output) / kImportedDirectory / "config.json").string()}});
  return kOk;
}

}  // namespace weft::cli
