// One simulated rank's end of a group. Internal to comm/sim.
#pragma once

#include <optional>
#include <string>

#include "comm/operations.h"
#include "comm/sim/sim_network.h"

namespace weft::comm {

class SimCommunicator final : public Communicator {
 public:
  SimCommunicator(SimNetwork& network, SimGroup& group, int rank);
  ~SimCommunicator() override;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(group_.spec.ranks.size()); }
  std::string_view name() const override { return group_.spec.name; }

  Request start_send(int to, Tag tag, ConstBytes data) override;
  Request start_receive(int from, Tag tag, Bytes into) override;
  Expected<std::size_t> wait(Request request) override;
  bool test(Request request) override;

  // Called by the network as messages move, whoever has the turn.
  /// The last byte of the oldest message to `to` is out.
  void sent_to(int to);
  /// Gives messages that have arrived to the receives that were started.
  void take_from(int from);

 private:
  int world_rank(int rank) const { return group_.spec.ranks[static_cast<std::size_t>(rank)]; }
  void match_own();
  /// Sets the fault when the operation can never end.
  void look_for_fault(const Operation& op);
  void set_fault(const Operation& op, Code code, std::string_view why);

  SimNetwork& network_;
  Turns& turns_;
  SimGroup& group_;
  int rank_;
  Operations operations_;
  std::optional<Error> fault_;  // the first one; ends the group
};

}  // namespace weft::comm
