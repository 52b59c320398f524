// Reads tensors whole from a committed checkpoint, whatever layout wrote it, and checks each
// piece's hash on the way.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "base/small_floats.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"
#include "trainer/checkpoint/verify.h"

namespace weft::trainer::checkpoint {

/// Threads: one at a time (open one each to read in parallel).
class Reader {
 public:
  /// Verifies first. Mode::Size is enough where newest_complete has just looked at the bytes: every
  /// read checks them again. Errors: Corrupt with all damage; NotFound; Io.
  static Expected<Reader> open(const fs::path& directory, Mode mode = Mode::Size,
                               Disk& disk = Disk::real());

  const Manifest& manifest() const { return manifest_; }
  const fs::path& directory() const { return directory_; }
  /// The tensors of an item, sorted.
  std::vector<std::string> names(std::string_view item) const;
  bool has(std::string_view item, std::string_view name) const;
  /// Errors: NotFound.
  Expected<Shape> shape(std::string_view item, std::string_view name) const;
  /// Fills `out` (exactly as many elements as the tensor has) row-major. A tensor in F32 is rounded
  /// to nearest even where BF16 is asked for, and one in BF16 widened where F32 is.
  /// Errors: NotFound, with what is there instead; InvalidArgument for another size; Unsupported
  /// for a dtype other than F32 and BF16; Corrupt for damage, naming file and tensor; Io.
  Expected<void> read(std::string_view item, std::string_view name, std::span<float> out);
  Expected<void> read(std::string_view item, std::string_view name, std::span<Bf16> out);
  /// A tensor's bytes as they are stored, whatever its type. `tensor` is of manifest().
  /// Errors: InvalidArgument for another size; Corrupt, Io.
  Expected<void> read_bytes(const TensorEntry& tensor, std::span<std::byte> out);
  /// The trainer's own JSON text, as given to commit. Errors: Corrupt, Io.
  Expected<std::string> state() const;

 private:
  Reader(fs::path directory, Manifest manifest, Disk& disk)
      : directory_(std::move(directory)), manifest_(std::move(manifest)), disk_(&disk) {}
  Expected<const TensorEntry*> find(std::string_view item, std::string_view name) const;
  Expected<SafetensorsFile*> file(const std::string& path);
  Expected<void> read_piece(const TensorEntry& tensor, const Piece& piece,
                            std::span<std::byte> out);
  Expected<void> read_whole(const TensorEntry& tensor, std::span<std::byte> out);
  template <class T>
  Expected<void> read_as(std::string_view item, std::string_view name, std::span<T> out);

  fs::path directory_;
  Manifest manifest_;
  Disk* disk_;
  std::map<std::string, SafetensorsFile> files_;  // opened so far
};

}  // namespace weft::trainer::checkpoint
