// model.config: a job's model from a Hugging Face config.json.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/expected.h"
#include "runtime/job/job.h"

namespace weft::runtime {

struct ModelFile {
  trainer::ModelConfig model;
  /// Paths of the job fields that the file decides: those that have an effect in such a model.
  std::vector<std::string> decides;
  std::vector<std::string> warnings;
  bool stored_in_fp8 = false;  // its quantization_config: how weights beside it lie on disk
};

/// Errors: no such file; InvalidArgument as trainer::hf::parse_config.
Expected<ModelFile> read_model_file(const std::filesystem::path& path);

/// Copies one field's value from the file's model to the job's.
void copy_model_field(const std::string& path, const ModelFile& from, Job& job);

}  // namespace weft::runtime
