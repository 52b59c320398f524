// What the simulated ranks share during one run: turns, links, groups, and the messages under way.
// Internal to comm/sim.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "comm/sim/sim_world.h"
#include "comm/sim/turns.h"

namespace weft::comm {

class SimCommunicator;

struct SimMessage {
  Tag tag = 0;
  std::vector<std::byte> bytes;
};

/// One directed pair of one group. Messages begin to leave and arrive in the order sent.
struct SimChannel {
  std::deque<SimMessage> messages;  // sent and not yet taken
  std::size_t num_sent = 0, num_departed = 0, num_out = 0, num_arrived = 0, num_taken = 0;
  std::size_t num_receives = 0;  // started
};

struct SimGroup {
  GroupSpec spec;
  std::string text;
  int named_by = 0;
  std::vector<SimChannel> channels;       // from * size + to, ranks of the group
  std::vector<SimCommunicator*> members;  // null: not made yet, or gone

  SimChannel& channel(int from, int to) {
    return channels[static_cast<std::size_t>(from) * spec.ranks.size() +
                    static_cast<std::size_t>(to)];
  }
};

class SimNetwork {
 public:
  SimNetwork(int num_ranks, const SimOptions& options);

  int num_ranks() const { return num_ranks_; }
  Turns& turns() { return turns_; }

  /// The index-th group of every rank. Errors: InvalidArgument when another rank named it
  /// differently, which also ends every wait of the world.
  Expected<SimGroup*> group(std::size_t index, const GroupSpec& spec, int world_rank);

  /// Lets those messages begin to leave that may; after every start of an operation.
  void depart(SimGroup& group, int from, int to);

  void kill(int world_rank);
  void stop(int world_rank);

  /// "" or why nobody of the group may wait any more.
  std::string end_reason(const SimGroup& group) const;

 private:
  struct Link {
    SimLink cost;
    Duration free_at{0};
  };
  Link& link(int from, int to) { return links_[static_cast<std::size_t>(from * num_ranks_ + to)]; }
  void arrive(SimGroup& group, int from, int to);

  int num_ranks_;
  std::size_t eager_bytes_max_;
  Turns turns_;
  std::vector<Link> links_;
  std::deque<SimGroup> groups_;
  std::vector<std::optional<Duration>> killed_at_;
  std::string end_reason_;
};

}  // namespace weft::comm
