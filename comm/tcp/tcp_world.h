// A world of processes on several hosts, without MPI: TCP between the nodes, shared memory inside
// each. Made anew for every generation, by processes that need nothing of each other but a table of
// addresses and a secret.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/local/local_transport.h"

namespace weft::comm {

/// Drawn for one run or one generation and given to its ranks alone (never on a command line, in
/// the environment or in a log).
using TcpSecret = std::array<std::byte, 32>;
TcpSecret draw_tcp_secret();

struct TcpWorldOptions {
  std::string run;               // the same on all ranks; at most 256 bytes
  std::uint64_t generation = 0;  // the same on all ranks: who says another is refused
  TcpSecret secret{};
  int rank = 0;                        // of the world
  std::vector<std::string> endpoints;  // by rank: what its TcpWorld::endpoint() said
  /// By rank. Empty: every rank is alone on its node.
  std::vector<int> node_of_rank;
  /// This node's shared memory: its rank i is the i-th of the world's ranks on this node,
  /// ascending. Whoever has it (the agent) ends all waits of the node's ranks with abort(reason),
  /// also while they join. Null: this rank is alone on its node and only itself.
  const LocalWorld* node = nullptr;
  /// For all ranks to connect to this one and this one to them.
  std::chrono::milliseconds join_bound{30'000};
};

/// One rank's place in a world that is about to form. First `listen`; then the caller tells
/// endpoint() to whoever collects them; then, with the table, `join`, on all ranks at about the
/// same time. Nothing that comes in is believed before its sender has proved, by a challenge under
/// HMAC-SHA256, that it knows the secret and speaks of this run and generation. What follows is
/// neither encrypted nor signed: the links are to be the cluster's own.
/// Threads: one.
class TcpWorld {
 public:
  /// Waits for nobody. `host`: an address of this host by which the others reach it; port 0: any
  /// free one. Errors: InvalidArgument (no such address here), Busy (the port is taken), Io.
  static Expected<TcpWorld> listen(const std::string& host = "127.0.0.1", int port = 0);

  TcpWorld(TcpWorld&&) noexcept;
  TcpWorld& operator=(TcpWorld&&) noexcept;
  ~TcpWorld();

  /// "10.0.0.7:41234" or "[fe80::1]:41234".
  const std::string& endpoint() const { return endpoint_; }

  /// Connects to all other ranks (the lower of two to the higher), once in the life of a TcpWorld,
  /// then listens no more. The transport behaves as the local one does, and moreover: a rank whose
  /// process ends without destroying its transport ends the waits of its groups with Unavailable
  /// and its name; messages to and from one that left in good order fail alone.
  /// Errors: InvalidArgument (options that cannot be), DeadlineExceeded (names who did not come
  /// and why), Unavailable (a peer is of another generation, or the node was aborted).
  Expected<std::unique_ptr<Transport>> join(const TcpWorldOptions& options);

  /// Connections that were dropped because they proved nothing, so far.
  int num_strangers() const { return num_strangers_; }
  /// After a join that failed: the lowest rank that had not connected, or -1.
  int missing_rank() const { return missing_rank_; }

 private:
  TcpWorld(int listener, std::string endpoint);

  int listener_;
  std::string endpoint_;
  int num_strangers_ = 0;
  int missing_rank_ = -1;
};

}  // namespace weft::comm
