// The file operations that checkpoints use, as something handed in: the real disk, or in tests one
// that fails or loses power at the N-th operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::checkpoint {

namespace fs = std::filesystem;

/// Large writes whose offset, size and address are multiples of the one go past the page cache.
inline constexpr std::size_t kDirectAlignment = 4096, kDirectBytes = std::size_t{1} << 20;

/// An open file; closed by its destructor. Threads: one at a time.
class File {
 public:
  virtual ~File() = default;
  virtual Expected<std::uint64_t> size() = 0;
  /// Fills `out` from `offset`. Errors: Corrupt when the file ends before; Io.
  virtual Expected<void> read_at(std::uint64_t offset, std::span<std::byte> out) = 0;
  /// Writes all of `bytes`: large aligned ones (above) past the page cache where the file system
  /// can. Errors: Io.
  virtual Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// fdatasync. Errors: Io.
  virtual Expected<void> sync() = 0;
};

/// Errors of all: Io with the action, the path, errno's reason and for a full or read-only disk
/// what to do; NotFound for a missing path. Threads: any (the real one holds no state).
class Disk {
 public:
  virtual ~Disk() = default;
  /// Creates or empties a file for writing.
  virtual Expected<std::unique_ptr<File>> create(const fs::path& path) = 0;
  /// Opens an existing regular file for reading.
  virtual Expected<std::unique_ptr<File>> open(const fs::path& path) = 0;
  /// mkdir -p; an existing directory is fine.
  virtual Expected<void> make_directories(const fs::path& path) = 0;
  virtual Expected<void> rename(const fs::path& from, const fs::path& to) = 0;
  /// Swaps two existing names; atomic where the file system can (renameat2), else three renames.
  virtual Expected<void> exchange(const fs::path& a, const fs::path& b) = 0;
  virtual Expected<void> symlink(const std::string& target, const fs::path& path) = 0;
  /// Removes a file or a whole tree; nothing there is fine. Never follows a symlink.
  virtual Expected<void> remove_tree(const fs::path& path) = 0;
  virtual Expected<void> sync_directory(const fs::path& path) = 0;
  /// The names in a directory, sorted.
  virtual Expected<std::vector<std::string>> names_in(const fs::path& path) = 0;

  /// The disk of this machine.
  static Disk& real();
};

/// The whole of a file. Errors: as Disk; Corrupt when longer than `max_bytes`.
Expected<std::string> read_text(Disk& disk, const fs::path& path, std::uint64_t max_bytes);
/// The first `bytes` of a file, a piece after the other. Errors: as File::read_at.
Expected<void> read_pieces(File& file, std::uint64_t bytes,
                           const std::function<void(std::span<const std::byte>)>& take);
/// A new file with `content`, synced; the directory is not.
Expected<void> write_text(Disk& disk, const fs::path& path, const std::string& content);

}  // namespace weft::trainer::checkpoint
