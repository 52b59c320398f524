// What a schedule costs: every action gets a begin and an end, given the costs of the operations.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "dualpipe/schedule.h"

namespace weft::dualpipe {

/// How long the operations take on a rank, in one unit of your choice.
struct OpCosts {
  double f = 1;
  double b = 2;  // full backward
  double bi = 1;
  double w = 1;
  double fb = 3;  // overlapped pair
  double of(Op op) const;
};

struct Costs {
  OpCosts op;
  std::vector<OpCosts> per_rank;  // empty, or one for each rank instead of `op`
  double send = 0;                // latency of a message
  double bytes = 0;               // of a message
  double bandwidth = 0;           // bytes per time unit that a rank can send; 0: no limit
  // Where it is set, it says what a compute action takes instead of `op` and `per_rank`: for stages
  // of unequal length.
  std::function<double(int rank, const Action& action)> of_action;
};

/// "F=1,BI=1,W=1,FB=3,send=0", also B, bytes and bandwidth. What is not given: F, BI and W are 1,
/// B = BI + W, FB = F + B, the rest 0. Errors: InvalidArgument naming the key.
Expected<Costs> parse_costs(std::string_view text);

/// Where an action lies in time; begin = end for what costs nothing.
struct Slot {
  double begin = 0;
  double end = 0;
  bool ran = false;
};

/// A message on its sender's communication lane, which carries one at a time.
struct Transfer {
  Op op = Op::SendF;  // SendF or SendB
  Chunk chunk;        // computed by the sender
  int from = 0;
  int to = 0;
  double begin = 0;
  double end = 0;  // it is there
};

/// A rank that cannot go on: `action` waits for the activation (or gradient) of `needs`.
struct Stuck {
  int rank = 0;
  int action = 0;
  Chunk needs;
  bool gradient = false;
};

struct Timeline {
  std::vector<std::vector<Slot>> slots;  // as Schedule::programs
  std::vector<Transfer> transfers;
  std::vector<double> busy;    // per rank
  std::vector<double> bubble;  // per rank: makespan - busy
  double makespan = 0;
  std::vector<Stuck> stuck;  // empty when every action ran
};

/// Runs the schedule in virtual time: a rank works in program order, an action begins when its rank
/// is free and what it needs has arrived. Message actions cost nothing by themselves; the transfers
/// follow from the compute actions, so a schedule may be costed before or after add_messages.
/// Errors: InvalidArgument when a chunk does not exist or lies on another rank, when per_rank has
/// the wrong length, or when ranks wait for each other for ever (who for whom).
Expected<Timeline> timeline(const Schedule& schedule, const Costs& costs = {});

/// The same for a schedule whose chunks all exist; ends with `stuck` filled instead of an error.
Timeline simulate(const Schedule& schedule, const Costs& costs = {});

/// Ranks, micro-batches and chunks fit each other and the programs.
Expected<void> check_shape(const Schedule& schedule);

/// As check_shape, and every chunk of a compute action exists and lies on the rank that works on
/// it.
Expected<void> check_chunks(const Schedule& schedule);

/// "position 1 at F dir 0 stage 1 mb 0 waits for the activation of dir 0 stage 0 mb 0 (position 0)"
std::string describe(const Schedule& schedule, const Stuck& stuck);

}  // namespace weft::dualpipe
