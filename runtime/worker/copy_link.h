// Messages of a background thread between the nodes that keep copies of the state: any length, and
// every wait ends when the thread is to end.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "trainer/checkpoint/manifest.h"

namespace weft::runtime {

/// Texts one behind the other, each with its length; what unpack() makes texts of again.
std::string pack(std::span<const std::string> texts);
/// Errors: Corrupt.
Expected<std::vector<std::string>> unpack(std::string_view packed);

/// Threads: one; `stop` may be set by any. The first error closes it: the other nodes hear at once
/// that nothing more comes. Errors of all: Unavailable once `stop` is set, a node is gone or this
/// is closed, DeadlineExceeded when nothing moved for `bound`, Corrupt, Io.
class CopyLink {
 public:
  /// `group`: one rank a node. `stop` outlives it.
  CopyLink(std::unique_ptr<comm::Communicator> group, const std::atomic<bool>& stop,
           std::chrono::milliseconds bound)
      : group_(std::move(group)), stop_(stop), bound_(bound) {}

  Expected<void> send_text(int to, std::string_view text);
  Expected<std::string> receive_text(int from);
  void close() { group_.reset(); }

  /// Files below `directory`: `give` goes to node `to` while `take` comes from node `from` and is
  /// written, each checked against its hash.
  Expected<void> trade_files(const std::filesystem::path& directory, int to,
                             std::span<const trainer::checkpoint::FileEntry> give, int from,
                             std::span<const trainer::checkpoint::FileEntry> take);
  /// `out` goes while an answer comes: nobody waits for the other to begin.
  Expected<std::string> trade_texts(int to, std::string_view out, int from);

 private:
  class Use;
  Expected<void> open() const;
  Expected<std::size_t> finish(comm::Request request);

  std::unique_ptr<comm::Communicator> group_;  // null: closed
  const std::atomic<bool>& stop_;
  std::chrono::milliseconds bound_;
};

}  // namespace weft::runtime
