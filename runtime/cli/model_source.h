// The model that a user names: a run, one of its checkpoints, or a Hugging Face directory; with
// what describes it. What `weft ckpt export` and `import` read from.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/hf/export.h"
#include "trainer/tokenizer/bytes.h"

namespace weft::cli {

struct ModelSource {
  std::string name;  // of the run or directory
  trainer::ModelConfig config;
  std::unique_ptr<trainer::hf::TensorSource> tensors;
  std::optional<trainer::tokenizer::ByteVocabulary>
      byte_tokenizer;                        // weft's own, where it is the one
  std::vector<trainer::hf::SideFile> files;  // tokenizer and generation files, byte for byte
  std::vector<std::string> warnings;

  /// The content of one of `files`, or "".
  std::string file(const std::string& file_name) const;
};

struct SourceQuery {
  std::string what;       // "": the newest run below runs/
  std::string step;       // of a run: "40"; "": the newest complete checkpoint
  std::string config;     // a config.json that describes it; "": found beside it
  std::string tokenizer;  // a directory with tokenizer files; "": found beside it
  bool without_next_token = false;
  bool average = false;  // the parameters' moving average in their place
};

/// Errors: NotFound saying what was looked for; those of checkpoints, directories and configs.
Expected<ModelSource> open_model(const SourceQuery& query);

/// The tokenizer and generation files of a directory, byte for byte. Errors: Io.
Expected<std::vector<trainer::hf::SideFile>> side_files(const std::filesystem::path& directory);

}  // namespace weft::cli
