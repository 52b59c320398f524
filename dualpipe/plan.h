// A rank's program made ready to run: everything that does not depend on the step is worked out
// once, so that running it allocates nothing. Internal to the room.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dualpipe/executor.h"
#include "dualpipe/overlap.h"
#include "dualpipe/record.h"

namespace weft::dualpipe {

/// Messages of pipeline communicators carry what they are. Never 0.
comm::Tag message_tag(const Action& action);

/// A hand-over between two stages of this rank.
struct LocalHandOver {
  bool wanted = false;
  Chunk to;
};

/// One half of a compute action: a pass of a chunk.
struct PassRun {
  bool wanted = false;
  Chunk chunk;
  int receive = -1;  // index of the receive action that brings its input
  LocalHandOver give;
};

struct PlannedAction {
  Action action;
  std::string text;  // for errors and set_serving
  comm::Tag tag = 0;
  PassRun forward, backward;
  std::vector<PhaseMove> moves;
  Here standing;                // where a rank stands that has begun it
  std::vector<Here> standings;  // that has begun each of the moves
};

struct Plan {
  std::vector<Action> program;
  std::vector<PlannedAction> actions;
  // What the moves were made of; the plan is made anew when a stage changes its lists.
  std::vector<std::vector<Phase>> forward_phases, backward_phases;
};

/// Errors: InvalidArgument when a stage is not here or nothing brings an input.
Expected<Plan> make_plan(std::span<const Action> program, std::span<Stage* const> stages,
                         bool overlap);
bool fits(const Plan& plan, std::span<const Action> program, std::span<Stage* const> stages);

}  // namespace weft::dualpipe
