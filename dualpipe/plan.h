// A rank's program made ready to run: everything that does not depend on the step is worked out
// once, so that running it allocates nothing. Internal to the room.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "dualpipe/executor.h"

namespace weft::dualpipe {

/// What to do with a phase. A compute phase is run, a communication phase begun and later finished.
struct PhaseMove {
  enum class What { Run, Begin, Finish };
  What what = What::Run;
  PhaseStep step;
  friend bool operator==(const PhaseMove&, const PhaseMove&) = default;
};

/// One pass alone: nothing overlaps, so each communication phase is finished right away.
enum class Parts { All, ButWeights, WeightsOnly };
std::vector<PhaseMove> plain_moves(std::span<const Phase> phases, bool backward, Parts parts);

/// A merged pair. A communication phase is begun as soon as its own pass has come to it and the
/// communication phases before it in the merged order have begun, and finished just before the
/// next phase of its pass that needs it (weight gradients need none). So the other pass's compute,
/// and the own weight gradients, hide it. Pure; the same on every lane.
std::vector<PhaseMove> overlapped_moves(std::span<const PhaseStep> merged);

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
  bool exchanges = false;  // some move waits for other lanes
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
