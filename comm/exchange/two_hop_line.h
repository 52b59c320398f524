// The line in which the two-hop exchanges of one group stand. An exchange has two hops of messages,
// one along the rails (to other nodes) and one inside the node; which comes first depends on its
// direction, and the second is written from what the first brought. Internal to comm.
//
// Per directed pair the transport carries one stream of messages, so both sides must start theirs
// in the same order, whenever each of them gets to it. The rule: on the rails, and inside the
// node, every exchange starts its messages after those that began before it. Whoever waits moves
// the line up to its own exchange, oldest first, and waits only for older messages than its own;
// so the oldest exchange always gets on, and no order of ends deadlocks.
#pragma once

#include <optional>
#include <vector>

#include "comm/exchange/expert_layout.h"
#include "comm/exchange/message_set.h"

namespace weft::comm {

/// The messages of one exchange. `first` is filled before it joins the line.
struct TwoHopFlight : ExchangeFlight {
  TwoHopFlight(Communicator& group, std::vector<int> rail_ranks, std::vector<int> node_ranks)
      : rail(group, std::move(rail_ranks)), node(group, std::move(node_ranks)) {}

  /// Writes the second hop's messages from the first one's. Errors: Corrupt.
  virtual Expected<void> relay() = 0;

  MessageSet rail, node;
  bool rail_first = true;
  Tag tag = 0;
  int num_started = 0;  // hops
  std::optional<Error> error;

  MessageSet& first() { return rail_first ? rail : node; }
  MessageSet& second() { return rail_first ? node : rail; }
  bool has_started(bool on_rail) const { return num_started > (on_rail == rail_first ? 0 : 1); }
};

class TwoHopLine {
 public:
  /// The group's line; made at the first call.
  static TwoHopLine& of(Communicator& group);
  static bool idle(const Communicator& group) {
    return !group.two_hop_line_ || group.two_hop_line_->flights_.empty();
  }

  /// Stands at the end of the line from now on; starts what can be started. It must stay alive
  /// until both its hops have started or it leaves.
  void join(TwoHopFlight& flight);
  void leave(const TwoHopFlight& flight);

  /// Starts what can be started without waiting. An error is kept for the flight's own end.
  void advance();
  /// Waits until both hops of this flight, and of all before it, have started.
  Expected<void> advance_to(const TwoHopFlight& flight);

 private:
  enum class Waiting : bool { no, yes };
  bool advance_one(TwoHopFlight& flight, bool rail_free, bool node_free, Waiting waiting);
  void drop_started();

  std::vector<TwoHopFlight*> flights_;  // begun, and not both hops started; oldest first
};

}  // namespace weft::comm
