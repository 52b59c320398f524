// Is what a manifest promises still there?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/manifest.h"

namespace weft::trainer::checkpoint {

enum class Mode {
  Manifest,  // manifest and checksum list: files may be missing, and are checked as they are read
  Size,      // manifest, checksum list, and every file's size
  Full,      // and every byte of every file and tensor
};

struct Damage {
  std::string file;    // relative to the checkpoint
  std::string tensor;  // "" when it is about the file as a whole
  std::string reason;
};

struct VerifyReport {
  Mode mode = Mode::Size;
  std::uint64_t files = 0;  // checked
  std::uint64_t bytes = 0;  // of them
  std::vector<Damage> damage;
  std::vector<std::string> strays;  // files that the manifest does not know: no damage
  bool ok() const { return damage.empty(); }
  /// One line: "3 damaged: model/...: reason; ..." or "".
  std::string summary() const;
};

/// Reads and checks a directory's manifest. Errors: NotFound when there is none; Corrupt; Io.
Expected<Manifest> load_manifest(const fs::path& directory, Disk& disk = Disk::real());

/// Everything that is wrong with a checkpoint, not only the first. Never writes.
/// Errors: NotFound when `directory` does not exist; Io when it cannot be listed. All else,
/// unreadable files included, is in the report.
Expected<VerifyReport> verify(const fs::path& directory, Mode mode, Disk& disk = Disk::real());

/// verify(), and the manifest, which is read once for both. Errors of `manifest`: load_manifest's.
struct Examined {
  VerifyReport report;
  Expected<Manifest> manifest;
};
Expected<Examined> examine(const fs::path& directory, Mode mode, Disk& disk = Disk::real());

}  // namespace weft::trainer::checkpoint
