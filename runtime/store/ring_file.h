// The flight recorder's ring as a file of the run directory, mapped into the worker: what a rank
// did in its last steps outlives the rank, and anybody may read it without asking.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "dualpipe/recorder.h"
#include "dualpipe/ring.h"

namespace weft::runtime {

/// The writing end. Its blocks are taken from the disk when it is created, so that a disk which
/// fills up later does not stop the run.
class RingFile {
 public:
  /// A ring that lies there already (an attempt before) becomes <path>.previous. Of `info`, the
  /// process and the clocks are filled in here. Errors: Io, and then nothing is left behind.
  static Expected<std::unique_ptr<RingFile>> create(const std::filesystem::path& path,
                                                    const dualpipe::RingSize& size,
                                                    dualpipe::RingInfo info, const Clock& clock);
  ~RingFile();
  RingFile(const RingFile&) = delete;
  RingFile& operator=(const RingFile&) = delete;

  dualpipe::StepRecorder& recorder() { return *recorder_; }

 private:
  RingFile(std::byte* memory, std::size_t bytes) : memory_(memory), bytes_(bytes) {}

  std::byte* memory_;
  std::size_t bytes_;
  std::unique_ptr<dualpipe::StepRecorder> recorder_;
};

/// The reading end; the writer may be at work. Errors: NotFound, Io, Corrupt.
Expected<dualpipe::RankRecording> read_ring_file(const std::filesystem::path& path);

/// Who stands where, read in one look: the ring's first page alone. Errors: as read_ring_file.
Expected<dualpipe::RankHere> read_here_file(const std::filesystem::path& path);
/// Equal for processes that see the same monotonic clock: those of one boot of one host.
std::uint64_t clock_name();

struct RingFiles {
  std::vector<dualpipe::RankRecording> recordings;  // ascending rank
  std::vector<std::string> unreadable;              // each with the reason
};
/// Every ring below `directory`; none when there is no such directory.
RingFiles read_ring_files(const std::filesystem::path& directory);

}  // namespace weft::runtime
