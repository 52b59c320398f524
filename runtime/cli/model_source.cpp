#include "runtime/cli/model_source.h"

#include "base/files.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/load.h"
#include "runtime/store/run_store.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/hf/directory.h"
#include "trainer/hf/index_file.h"
#include "trainer/hf/tokenizer_files.h"

namespace weft::cli {
namespace {

namespace checkpoint = trainer::checkpoint;
namespace fs = std::filesystem;
namespace hf = trainer::hf;
using runtime::RunPaths;

constexpr std::size_t kConfigBytesMax = 16 << 20;
constexpr std::size_t kSideFileBytesMax = 256 << 20;
constexpr const char* kSideFiles[] = {"tokenizer.json",     "tokenizer_config.json",
                                      "added_tokens.json",  "special_tokens_map.json",
                                      "vocab.json",         "merges.txt",
                                      "chat_template.json", "chat_template.jinja",
                                      "tokenizer.model",    "generation_config.json"};

bool there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

/// Owns the reader that its base looks into.
class OwnedCheckpoint final : public hf::TensorSource {
 public:
  OwnedCheckpoint(checkpoint::Reader reader, bool average)
      : reader_(std::move(reader)), source_(reader_, average) {}
  std::string name() const override { return source_.name(); }
  bool has(std::string_view tensor) const override { return source_.has(tensor); }
  Expected<checkpoint::Shape> shape(std::string_view tensor) override {
    return source_.shape(tensor);
  }
  Expected<void> read(std::string_view tensor, std::span<float> out) override {
    return source_.read(tensor, out);
  }

 private:
  checkpoint::Reader reader_;
  hf::CheckpointSource source_;
};

Expected<trainer::ModelConfig> read_config(const fs::path& path, ModelSource& source) {
  WEFT_TRY_ASSIGN(const std::string text, read_file(path, kConfigBytesMax));
  WEFT_TRY_ASSIGN(hf::Parsed parsed, hf::parse_config(text, path.string()));
  source.warnings.insert(source.warnings.end(), parsed.warnings.begin(), parsed.warnings.end());
  return parsed.config;
}

/// What a run says of its model and tokenizer: its job, or what an import has put there.
Expected<void> describe(const fs::path& run, const SourceQuery& query, ModelSource& source) {
  const RunPaths paths{run};
  const fs::path imported = run / kImportedDirectory;
  std::optional<runtime::Job> job;
  if (there(paths.resolved())) {
    runtime::Loaded loaded =
        runtime::load_job(paths.resolved(), {.overrides = {}, .check_files = false});
    if (!loaded.ok())
      return fail(Code::Corrupt, paths.resolved().string() + " cannot be read:\n" +
                                     runtime::print(loaded.diagnostics, {}));
    job = std::move(loaded.job);
  }
  if (!query.config.empty()) {
    WEFT_TRY_ASSIGN(source.config, read_config(query.config, source));
  } else if (job) {
    source.config = job->model;
  } else if (there(imported / "config.json")) {
    WEFT_TRY_ASSIGN(source.config, read_config(imported / "config.json", source));
  } else {
    return fail(Code::NotFound, "nothing beside the checkpoint describes its model: neither " +
                                    paths.resolved().string() + " nor " +
                                    (imported / "config.json").string() +
                                    "; name a config.json by --config");
  }
  if (there(imported)) {
    WEFT_TRY_ASSIGN(source.files, side_files(imported));
  }
  if (!source.file("tokenizer.json").empty() || !job) return {};
  if (job->tokenizer.kind == "bpe") {
    const fs::path path = job->tokenizer.path;
    WEFT_TRY_ASSIGN(source.files, side_files(fs::is_directory(path) ? path : path.parent_path()));
    return {};
  }
  source.byte_tokenizer = trainer::tokenizer::ByteVocabulary{job->tokenizer.numbers};
  source.files =
      hf::byte_tokenizer_files(*source.byte_tokenizer, source.config.max_position_embeddings);
  return {};
}

Expected<ModelSource> open_checkpoint(const fs::path& directory, const fs::path& run,
                                      const SourceQuery& query) {
  if (is_rehearsal(run))
    return fail(Code::InvalidArgument,
                run.string() + " is a rehearsal: there is no model in its checkpoints");
  ModelSource source;
  source.name = fs::absolute(run).lexically_normal().filename().string();
  WEFT_TRY(describe(run, query, source));
  WEFT_TRY_ASSIGN(checkpoint::Reader reader, checkpoint::Reader::open(directory));
  if (query.average && reader.names("ema").empty())
    return fail(Code::NotFound, directory.string() +
                                    " has no moving average of the parameters: train with "
                                    "optimizer.ema_decay, or leave out --ema");
  source.tensors = std::make_unique<OwnedCheckpoint>(std::move(reader), query.average);
  return source;
}

Expected<ModelSource> open_run(const fs::path& run, const SourceQuery& query) {
  const fs::path ckpt = RunPaths{run}.checkpoints();
  if (query.step.empty()) {
    WEFT_TRY_ASSIGN(const checkpoint::Choice choice,
                    checkpoint::newest_complete(ckpt, checkpoint::Mode::Size));
    if (!choice.chosen) return fail(Code::NotFound, "no complete checkpoint in " + ckpt.string());
    WEFT_TRY_ASSIGN(ModelSource source, open_checkpoint(choice.chosen->directory, run, query));
    for (const checkpoint::Skipped& one : choice.skipped)
      source.warnings.push_back("skipped " + one.name + ": " + one.reason);
    return source;
  }
  WEFT_TRY_ASSIGN(const auto entries, checkpoint::list(ckpt));
  for (const checkpoint::Entry& entry : entries)
    if (entry.state == checkpoint::EntryState::Complete &&
        (entry.name == query.step || std::to_string(entry.step) == query.step))
      return open_checkpoint(entry.directory, run, query);
  return fail(Code::NotFound, ckpt.string() + " has no complete checkpoint '" + query.step +
                                  "'; 'weft ckpt ls' shows what is there");
}

Expected<ModelSource> open_directory(const fs::path& path, const SourceQuery& query) {
  if (query.average)
    return fail(Code::NotFound,
                path.string() + " is a Hugging Face directory: it has no moving average (--ema)");
  ModelSource source;
  source.name = fs::absolute(path / ".").lexically_normal().parent_path().filename().string();
  WEFT_TRY_ASSIGN(hf::Directory directory, hf::Directory::open(path, query.without_next_token));
  source.config = directory.config();
  source.warnings = directory.warnings();
  source.tensors = std::make_unique<hf::Directory>(std::move(directory));
  WEFT_TRY_ASSIGN(source.files, side_files(path));
  return source;
}

Expected<ModelSource> open_any(const SourceQuery& query) {
  const fs::path path = query.what;
  if (!query.what.empty()) {
    if (there(path / hf::kSingleFile) || there(path / hf::kIndexFile))
      return open_directory(path, query);
    if (there(path / checkpoint::kManifestFile))
      return open_checkpoint(
          path, fs::absolute(path / ".").parent_path().parent_path().parent_path(), query);
    if (there(RunPaths{path}.checkpoints())) return open_run(path, query);
    if (there(path / "config.json"))  // says what is missing
      return open_directory(path, query);
  }
  WEFT_TRY_ASSIGN(const fs::path run, find_run(query.what));
  return open_run(run, query);
}

}  // namespace

std::string ModelSource::file(const std::string& file_name) const {
  for (const hf::SideFile& one : files)
    if (one.name == file_name) return one.content;
  return "";
}

Expected<std::vector<hf::SideFile>> side_files(const fs::path& directory) {
  std::vector<hf::SideFile> files;
  for (const char* const name : kSideFiles) {
    if (!there(directory / name)) continue;
    WEFT_TRY_ASSIGN(std::string content, read_file(directory / name, kSideFileBytesMax));
    files.push_back({name, std::move(content)});
  }
  return files;
}

Expected<ModelSource> open_model(const SourceQuery& query) {
  WEFT_TRY_ASSIGN(ModelSource source, open_any(query));
  if (query.tokenizer.empty()) return source;
  WEFT_TRY_ASSIGN(source.files, side_files(query.tokenizer));
  if (source.file("tokenizer.json").empty())
    return fail(Code::NotFound, query.tokenizer + " has no tokenizer.json");
  source.byte_tokenizer.reset();
  return source;
}

}  // namespace weft::cli
