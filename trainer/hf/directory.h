// A Hugging Face model directory as a source of weights: config.json, safetensors files, and the
// index that joins them. Nothing in it is trusted.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trainer/checkpoint/safetensors.h"
#include "trainer/hf/config.h"
#include "trainer/hf/inventory.h"
#include "trainer/hf/tensor_source.h"

namespace weft::trainer::hf {

namespace fs = std::filesystem;

/// Threads: one. Keeps every weight file open.
class Directory final : public TensorSource {
 public:
  /// Reads config, index and all headers, and compares them: what is promised and missing, what is
  /// there and unknown, shapes and number formats that contradict config.json, an index that
  /// contradicts its files. `without_next_token`: tensors of multi-token prediction may be missing
  /// and are passed over.
  /// Errors: NotFound; Corrupt or InvalidArgument with every problem, a line each, naming file and
  /// tensor; Io.
  static Expected<Directory> open(const fs::path& directory, bool without_next_token = false,
                                  checkpoint::Disk& disk = checkpoint::Disk::real());

  /// As config.json says; without next-token modules when they are passed over.
  const ModelConfig& config() const { return config_; }
  /// What is odd but harmless, a line each.
  const std::vector<std::string>& warnings() const { return warnings_; }
  const fs::path& path() const { return path_; }

  std::string name() const override { return path_.string(); }
  bool has(std::string_view tensor) const override { return found_.contains(tensor); }
  Expected<checkpoint::Shape> shape(std::string_view tensor) override;
  /// FP8 weights come out multiplied by their scales. NaN and infinity are Corrupt.
  Expected<void> read(std::string_view tensor, std::span<float> out) override;

 private:
  struct Place {
    std::size_t file = 0;  // index into files_
    checkpoint::TensorInfo info;
  };
  struct OpenFile {
    std::string name;
    checkpoint::SafetensorsFile content;
  };
  Directory() = default;

  Expected<void> open_files(checkpoint::Disk& disk);
  Expected<void> open_one(checkpoint::Disk& disk, const std::string& name);
  Expected<void> check_tensors(bool without_next_token);
  std::string check_tensor(const Tensor& wanted) const;
  std::string check_scale(const Place& weight) const;
  Expected<void> read_fp8(const Place& place, std::span<float> out);
  std::string where(const Place& place) const;

  fs::path path_;
  ModelConfig config_;
  std::vector<std::string> warnings_;
  std::vector<OpenFile> files_;
  std::map<std::string, Place, std::less<>> found_;
};

/// "…q_a_proj.weight" -> "…q_a_proj.weight_scale_inv".
std::string scale_name(std::string_view weight);

}  // namespace weft::trainer::hf
