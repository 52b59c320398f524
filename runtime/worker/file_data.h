// A job's files as data sets: which sources, how they are indexed, packed and mixed.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "runtime/job/job.h"
#include "trainer/corpus/dataset.h"

namespace weft::runtime {

/// What one stage of the recipe learns from and is evaluated on.
struct StageData {
  std::unique_ptr<trainer::corpus::Dataset> train;
  std::unique_ptr<trainer::corpus::Dataset> validation;  // null: nothing is held out
  long long validation_windows = 0;                      // of them, so many are looked at
};

/// A value that never changes once opened. Threads: any.
struct FileData {
  std::unique_ptr<trainer::corpus::Coder> coder;
  StageData pretrain, cold_start;     // empty when the recipe has no such stage
  std::vector<std::string> warnings;  // about the sources, each once

  /// Decides which tokens come; "" of no data.
  std::string fingerprint() const;
};

/// The directory of the indexes: data.cache, or `data` in the run directory.
std::filesystem::path data_directory(const Job& job, const std::filesystem::path& run);

/// The tokenizer as the corpus uses it.
Expected<std::unique_ptr<trainer::corpus::Coder>> make_coder(const Job& job);
trainer::corpus::IndexSpec index_spec(const Job& job, const std::string& pattern,
                                      bool has_held_out);
/// Packing of a stage; cold_start learns answers alone and always packs whole samples.
trainer::corpus::PackOptions pack_options(const Job& job, bool cold_start);

/// Opens the indexes of job.data (task `files`), making those that are missing.
/// Errors: those of Index::open and Dataset::open.
Expected<FileData> open_file_data(const Job& job, const std::filesystem::path& directory,
                                  const trainer::corpus::ProgressFunction& progress = {});

/// data.weights as numbers. Errors: InvalidArgument naming the word.
Expected<std::vector<double>> parse_weights(const std::string& text);

}  // namespace weft::runtime
