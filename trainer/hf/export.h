// Writes a model as a Hugging Face directory, one tensor at a time.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trainer/hf/export_plan.h"
#include "trainer/hf/tensor_source.h"

namespace weft::trainer::hf {

namespace fs = std::filesystem;

/// Called after each tensor: bytes of weights written so far and in all.
using OnProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// A small file that goes beside the weights, byte for byte: tokenizer.json and its like.
struct SideFile {
  std::string name;
  std::string content;
};

struct ExportOptions {
  Precision precision = Precision::Bf16;
  bool drop_next_token = false;
  std::uint64_t shard_bytes = 5'000'000'000;
  bool sha256 = false;  // SHA256SUMS, in the format of sha256sum -c
  TokenIds token_ids;   // config.json repeats them
  std::vector<SideFile> files;
  OnProgress on_progress;
};

struct ExportReport {
  std::vector<std::string> files;  // in the order written
  std::uint64_t tensors = 0;
  std::uint64_t bytes = 0;  // of tensors
};

/// config.json, weights, index (for more than one weight file), side files. The directory appears
/// whole or not at all: it is written beside itself and renamed. Memory: one tensor as F32 and as
/// it is stored.
/// Errors: InvalidArgument when `directory` already holds something, or the source does not hold
/// what `config` describes; Corrupt for NaN or infinity, naming the tensor; those of the source;
/// Io.
Expected<ExportReport> export_directory(TensorSource& source, const ModelConfig& config,
                                        const fs::path& directory, const ExportOptions& options,
                                        checkpoint::Disk& disk = checkpoint::Disk::real());

/// Reads a whole tensor into `values`, resized, after comparing its shape; refuses NaN and
/// infinity. What every way out of a checkpoint begins with.
Expected<void> read_checked(TensorSource& source, const std::string& tensor,
                            const checkpoint::Shape& shape, std::vector<float>& values);

/// A directory or file that is written beside `target` and takes its name at the end. Errors:
/// InvalidArgument when something is there already; Io.
Expected<fs::path> prepare_target(const fs::path& target, checkpoint::Disk& disk);
Expected<void> publish_target(const fs::path& partial, const fs::path& target,
                              checkpoint::Disk& disk);

}  // namespace weft::trainer::hf
