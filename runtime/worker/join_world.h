// A worker's way into its generation's world: shared memory alone where all ranks are on one node,
// else TCP to the ranks of the other nodes as well.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/expected.h"
#include "comm/communicator.h"
#include "comm/local/local_transport.h"
#include "comm/tcp/tcp_world.h"
#include "runtime/job/job.h"

namespace weft::runtime {

/// First open, then tell address(), then, with what came back for all ranks, join. Threads: one.
class WorldPlace {
 public:
  /// `descriptor`: the node's shared memory, inherited. `listen`: this node's address for the other
  /// nodes, "" where all ranks are here. Errors: Corrupt (the memory), Unavailable (the address).
  static Expected<WorldPlace> open(int descriptor, const std::string& listen);

  /// Where the ranks of other nodes reach this one; "" where there are none.
  std::string address() const { return far_ ? far_->endpoint() : ""; }

  /// `assignment`: the agent's; its "world" {run, ranks_here, addresses, secret} counts where there
  /// are other nodes, "attempt" is the generation. Once. Errors: those of the worlds; Corrupt for
  /// an assignment that cannot be.
  Expected<std::unique_ptr<comm::Transport>> join(int rank, const Job& job,
                                                  const nlohmann::json& assignment);
  /// After a join that failed: the lowest rank that was missing, or -1.
  int missing_rank() const { return far_ ? far_->missing_rank() : -1; }

 private:
  explicit WorldPlace(comm::LocalWorld node) : node_(std::move(node)) {}

  comm::LocalWorld node_;
  std::optional<comm::TcpWorld> far_;
};

}  // namespace weft::runtime
