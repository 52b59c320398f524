// A safetensors file whose tensors come one by one, in any order: its layout is fixed by the
// header, so a file can be larger than memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trainer/checkpoint/safetensors.h"

namespace weft::trainer::checkpoint {

/// A tensor that a file will hold.
struct TensorPlan {
  std::string name;
  Dtype dtype = Dtype::F32;
  Shape shape;
};

/// What PyTorch's sharded reader wants to know of whole tensors: their offsets, all zero.
std::map<std::string, std::string> whole_tensor_metadata(std::span<const TensorPlan> tensors);

/// Threads: one.
class SafetensorsWriter {
 public:
  /// Creates the file and writes its header; larger elements first, then by name.
  /// Errors: InvalidArgument for names and shapes that a file cannot have; Io.
  static Expected<SafetensorsWriter> create(Disk& disk, const fs::path& path,
                                            std::vector<TensorPlan> tensors,
                                            const std::map<std::string, std::string>& metadata);

  /// All of a tensor's bytes, once. Errors: Io. WEFT_CHECKs name and size: they were planned here.
  Expected<void> put(const std::string& name, std::span<const std::byte> bytes);
  /// Syncs; every tensor must have come. Returns the file's size. Errors: Io.
  Expected<std::uint64_t> finish();

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  std::unique_ptr<File> file_;
  std::vector<TensorInfo> tensors_;  // in file order
  std::map<std::string, std::size_t, std::less<>> waiting_;
  std::uint64_t data_start_ = 0;
};

/// The hash of a file's bytes as they are on the disk, read in pieces. `bytes`: its size, checked.
Expected<Hash128> hash_of_file(Disk& disk, const fs::path& path, std::uint64_t bytes);

}  // namespace weft::trainer::checkpoint
