// One node's part in copies of the state that several nodes keep together: the files of its ranks,
// a replica of those of another node, and all of them or none. Everything after the copy into the
// writer's buffer is done on the writers' threads, over a world of their own (one rank a node), so
// that no step's message waits for it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "runtime/worker/copy_link.h"
#include "runtime/worker/copy_nodes.h"
#include "trainer/checkpoint/saver.h"

namespace weft::runtime {

struct NodeCopiesOptions {
  std::string listen = "127.0.0.1";    // where the other nodes reach this one
  std::array<std::byte, 32> secret{};  // of the generation
  std::uint64_t generation = 1;
  int keep = 2;  // of the copies in a node's memory
  std::chrono::milliseconds join_bound{30'000};
  std::chrono::milliseconds bound{600'000};  // in which another node has to go on
};

/// What one rank does for it: most ranks nothing but write.
class NodeCopies {
 public:
  /// Collective over `world`, of a layout with several nodes. Errors, on every rank: why the nodes'
  /// carriers cannot reach each other; those of `world`.
  static Expected<std::unique_ptr<NodeCopies>> open(comm::Communicator& world, CopyNodes nodes,
                                                    const NodeCopiesOptions& options);

  /// How this rank's saver commits.
  trainer::checkpoint::SaverOptions::Elsewhere elsewhere();
  /// First carrier: the copy of this step and those before may be committed. Threads: any.
  void allow(std::uint64_t step);

 private:
  NodeCopies(CopyNodes nodes, int rank, const NodeCopiesOptions& options)
      : nodes_(std::move(nodes)),
        rank_(rank),
        node_(nodes_.node_of_rank[static_cast<std::size_t>(rank)]),
        options_(options) {}
  struct Agreed {
    std::string manifest, state;
  };
  Expected<trainer::checkpoint::Committed> commit(const trainer::checkpoint::Gathered& gathered);
  Expected<std::vector<trainer::checkpoint::FileEntry>> trade(
      const trainer::checkpoint::Gathered& gathered, const std::string& mine);
  Expected<Agreed> agree(const trainer::checkpoint::Gathered& gathered, const std::string& mine);
  Expected<Agreed> decide(const trainer::checkpoint::Gathered& gathered,
                          const std::vector<std::string>& said);
  Error with_partners(Error error) const;
  Expected<void> wait_until_allowed(std::uint64_t step);
  void interrupt();

  const CopyNodes nodes_;
  const int rank_, node_;
  const NodeCopiesOptions options_;
  std::atomic<bool> stop_{false};
  std::unique_ptr<comm::Transport> transport_;  // carriers'
  std::optional<CopyLink> link_;                // carriers'

  std::mutex mutex_;  // guards allowed_
  std::condition_variable changed_;
  std::uint64_t allowed_ = 0;
};

}  // namespace weft::runtime
