// One training step of a pipeline as data: what each rank does, and in which order. There is one
// such type: generators make it, passes lower it, check proves it, the timeline costs it, the
// executor runs it.
//
// A Schedule holds no tensor, opens no socket and reads no clock.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::dualpipe {

enum class Kind { GPipe, OneFOneB, Interleaved, ZeroBubble, ZBV, DualPipe, DualPipeV };

/// "gpipe", "1f1b", "interleaved", "zb1p", "zbv", "dualpipe", "dualpipev".
std::string_view to_string(Kind kind);
Expected<Kind> parse_kind(std::string_view text);

enum class Op {
  F,        // forward
  B,        // full backward
  BI,       // backward for input
  W,        // weight gradient
  FB,       // overlapped: forward of `chunk` with full backward of `other`
  SendF,    // activation of `chunk` (computed here) to `peer`
  RecvF,    // activation that `chunk` (computed here) needs, from `peer`
  SendB,    // input gradient of `chunk` (computed here) to `peer`
  RecvB,    // output gradient that `chunk` (computed here) needs, from `peer`
  Reduce,   // sum stage `chunk.stage`'s gradients over the ranks that hold it
  Update,   // optimizer step
  Snapshot  // state is consistent: a checkpoint may be taken
};
std::string_view to_string(Op op);

/// One micro-batch on one stage. Micro-batches count from 0 within each direction.
struct Chunk {
  int direction = 0;
  int stage = 0;
  int micro_batch = 0;
  friend bool operator==(const Chunk&, const Chunk&) = default;
};

struct Action {
  Op op = Op::F;
  Chunk chunk;
  Chunk other;    // FB only: the backward half
  int peer = -1;  // messages only: pipeline position of the other side
  friend bool operator==(const Action&, const Action&) = default;
};

/// programs[p] is the work of pipeline position p in issue order.
struct Schedule {
  Kind kind = Kind::OneFOneB;
  int ranks = 0;          // pipeline positions
  int micro_batches = 0;  // DualPipe: both directions together
  int chunks = 1;         // stages a rank holds, per direction (interleaved)
  std::vector<std::vector<Action>> programs;
  friend bool operator==(const Schedule&, const Schedule&) = default;
};

struct Size {
  int ranks = 1;
  int micro_batches = 1;
  int chunks = 2;  // interleaved only
};

/// The rule that this kind puts on sizes. Errors: InvalidArgument with the rule and the nearest
/// legal sizes.
Expected<void> check_size(Kind kind, const Size& size);
/// One step: compute actions only (F, B, BI, W, FB). Errors: as check_size.
Expected<Schedule> generate(Kind kind, const Size& size);
/// Forward only (evaluation, reference log-probabilities, rollout): F actions in an order that
/// fills both directions. Any micro_batches >= 1 for one direction, even and >= 2 for DualPipe.
Expected<Schedule> generate_forward(Kind kind, const Size& size);

/// How stages map to positions: the facts that generators, lowering and placement share.
int num_stages(Kind kind, int ranks, int chunks = 2);
int num_directions(Kind kind);  // 2 for DualPipe, else 1
/// Stages that position holds, one per direction for DualPipe (index = direction), else ascending.
std::vector<int> stages_of(Kind kind, int ranks, int position, int chunks = 2);
int position_of(Kind kind, int ranks, int direction, int stage, int chunks = 2);

/// Adds SendF/RecvF/SendB/RecvB around the compute actions (after taking out any that are there).
/// Local hand-overs get no message. What comes from a file goes through check() first: chunks that
/// do not exist are not survived.
Schedule add_messages(const Schedule& schedule);
/// Adds Reduce for each stage that a position holds (ascending stage), then Update, then Snapshot.
Schedule add_step_end(const Schedule& schedule);

}  // namespace weft::dualpipe
