// safetensors files: the format of Hugging Face, in the dialect that PyTorch's sharded reader
// (DCP) understands. Plain files of named tensors; what they mean is the manifest's business.
//
// Source: github.com/huggingface/safetensors (format), PyTorch HuggingFaceStorageWriter (metadata).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/box.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/hash.h"

namespace weft::trainer::checkpoint {

/// The types of one byte or more, in the format's own order of alignment.
enum class Dtype {
  Bool,
  U8,
  I8,
  F8_E5M2,
  F8_E4M3,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  F64,
  I64,
  U64
};
/// "F32"
std::string_view to_string(Dtype dtype);
/// Errors: Corrupt, listing what is known.
Expected<Dtype> parse_dtype(std::string_view name);
std::size_t bytes_of(Dtype dtype);

/// A tensor's place in its file; offsets count from the start of the data.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::F32;
  Shape shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct Header {
  std::vector<TensorInfo> tensors;              // by begin; the data is covered without holes
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::uint64_t data_start = 0;                 // of the file: 8 + length of the header
};

inline constexpr std::uint64_t kHeaderBytesMax = 100'000'000;

/// Checks and reads the header text; `data_bytes` is what follows it in the file.
/// Errors: Corrupt, naming the tensor (the caller adds the file): duplicate keys, holes, overlaps,
/// overflow, unknown dtype, sizes that do not fit.
Expected<Header> parse_header(std::string_view json, std::uint64_t data_bytes);

/// The first 8 + N bytes of a file of these tensors (in file order), padded with spaces so that the
/// data starts at a multiple of 4 KiB. Names must be valid UTF-8.
std::string format_header(std::span<const TensorInfo> tensors,
                          const std::map<std::string, std::string>& metadata);

/// One tensor, or one piece of one, to write. References outlive the call.
struct TensorData {
  std::string name;
  Dtype dtype = Dtype::F32;
  Shape shape;
  std::span<const std::byte> bytes;  // row-major, little endian
  Shape offset;                      // in the global tensor, for DCP_SHARDING_INFO; empty: zeros
};

struct WrittenTensor {
  std::string name;
  std::uint64_t bytes = 0;
  Hash128 hash;
};

struct WrittenFile {
  std::uint64_t bytes = 0;
  Hash128 hash;
  std::vector<WrittenTensor> tensors;  // in file order
};

/// Writes a new file with large writes, hashing on the way, and syncs it.
/// Errors: InvalidArgument for a name that is empty, reserved, twice there or not UTF-8, or for
/// bytes that do not fit the shape; Io.
Expected<WrittenFile> write_safetensors(Disk& disk, const fs::path& path,
                                        std::vector<TensorData> tensors);

/// A file of tensors. Threads: one.
class SafetensorsFile {
 public:
  /// Reads and checks the header. Errors: Corrupt, NotFound, Io; each names the file.
  static Expected<SafetensorsFile> open(Disk& disk, const fs::path& path);

  const Header& header() const { return header_; }
  std::uint64_t bytes() const { return bytes_; }
  /// nullptr when there is none of this name.
  const TensorInfo* find(std::string_view name) const;
  /// Fills `out` with a tensor's bytes, which must be as many, and returns their hash, taken while
  /// the disk reads on. Errors: Corrupt, Io.
  Expected<Hash128> read(const TensorInfo& tensor, std::span<std::byte> out);
  /// Fills `out` from anywhere in the file.
  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> out);

 private:
  std::unique_ptr<File> file_;
  std::uint64_t bytes_ = 0;
  Header header_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}  // namespace weft::trainer::checkpoint
