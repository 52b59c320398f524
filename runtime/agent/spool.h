// What the workers of a node said, kept until the coordinator has written it down: an append-only
// file of the run directory, one a generation and node. A worker's flush is answered once its
// records are here, whether there is a coordinator or not; and a coordinator that comes back, or
// another one, reads from where its journal ends. So no record is lost or counted twice, whoever
// dies.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/expected.h"

namespace weft::runtime {

/// spool/g000003.<node>.jsonl; each line {"rank", "seq", "message"}.
std::filesystem::path spool_file(const std::filesystem::path& directory, int generation,
                                 const std::string& node);

/// The writing end, an agent's. Threads: one.
class SpoolWriter {
 public:
  /// Creates the directory and the file; a torn last line of an agent that died is cut off.
  /// Errors: Io.
  static Expected<SpoolWriter> open(const std::filesystem::path& directory, int generation,
                                    const std::string& node);
  SpoolWriter(SpoolWriter&&) noexcept;
  SpoolWriter& operator=(SpoolWriter&&) noexcept;
  ~SpoolWriter();

  /// A record that was here already (its number is not above the rank's last) is dropped. All or
  /// nothing. Errors: Io.
  Expected<void> append(int rank, long long sequence, const nlohmann::json& message);

 private:
  SpoolWriter(int file, std::filesystem::path path) : file_(file), path_(std::move(path)) {}
  int file_ = -1;
  std::filesystem::path path_;
  std::map<int, long long> last_;  // sequence number by rank
};

/// Bytes that have been taken from each spool file, by its name: what a journal keeps.
using SpoolPositions = std::map<std::string, std::uint64_t>;

struct SpoolRecord {
  int generation = 0;
  int rank = 0;
};

/// Hands every whole line behind `positions` to `take`, generation by generation, and moves
/// `positions` on behind each that was taken without error. Lines that are no records are counted
/// in `damaged` and passed over. Errors: Io, and what `take` says.
Expected<void> read_spools(
    const std::filesystem::path& directory, SpoolPositions& positions, long long& damaged,
    const std::function<Expected<void>(const SpoolRecord&, const nlohmann::json& message)>& take);

/// Removes the files of generations before `generation` that have been read whole.
void remove_read_spools(const std::filesystem::path& directory, SpoolPositions& positions,
                        int generation);

}  // namespace weft::runtime
