// Writes a model as a GGUF file that llama.cpp loads, one tensor at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/gguf/deepseek2.h"
#include "trainer/hf/export.h"

namespace weft::trainer::gguf {

struct ExportOptions {
  Type type = Type::BF16;
  std::uint64_t shard_bytes = 0;  // 0: one file
  std::string name;               // of the model, for people
  Vocabulary vocabulary;
  hf::OnProgress on_progress;
};

struct ExportReport {
  std::vector<std::string> files;  // paths
  std::uint64_t tensors = 0;
  std::uint64_t bytes = 0;  // of tensors
};

/// `file` ends in .gguf; more than one file is named "<name>-00001-of-0000N.gguf", as llama.cpp
/// finds them. Each appears whole or not at all. Memory: one of our tensors as F32 and as it is
/// stored; merged experts are written one by one.
/// Errors: as hf::export_directory; Unsupported for a model that GGUF cannot express;
/// InvalidArgument for a value beyond F16, naming the tensor.
Expected<ExportReport> export_file(hf::TensorSource& source, const ModelConfig& config,
                                   const std::filesystem::path& file, const ExportOptions& options,
                                   checkpoint::Disk& disk = checkpoint::Disk::real());

/// `out` gets `values` in one of the types that are written; rows are whole blocks. Q8_0: 32 codes
/// and their scale (largest magnitude / 127, as F16), as ggml's quantize_row_q8_0_ref makes them.
/// Errors: InvalidArgument for a value that the type cannot hold.
Expected<void> encode(std::span<const float> values, Type type, std::vector<std::byte>& out);

}  // namespace weft::trainer::gguf
