// What a running step leaves behind: fixed-size records of what a rank did and when, and the place
// at which it stands now. Plain data, written by the executor and the engine (recorder.h), read
// back by another process (ring.h), drawn by measured_trace.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace weft::dualpipe {

/// What a pass is for.
enum class Program : std::uint8_t { None, Train, Score, Rollout };
std::string_view to_string(Program program);

/// Times are nanoseconds of CLOCK_MONOTONIC. An Exchange, Send or Receive goes on beside the
/// compute lane and holds it only for its first `head_ns` (posting, packing) and its last `tail_ns`
/// (waiting, unpacking).
struct Record {
  enum class What : std::uint8_t {
    Pass,       // one run of a program
    Action,     // a compute action, a reduction, an update or a snapshot, its waits included
    Phase,      // a compute phase
    Exchange,   // a dispatch or combine, from begin to the end of finish
    Send,       // from posted to seen complete
    Receive,    // from posted to seen complete
    WorldSum,   // the step's one sum over all ranks
    Optimizer,  // the owners' updates, and the new values spread
    Draw,       // rollout: tokens drawn from logits
    Gather      // rollout: every rank learns them
  };
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t head_ns = 0;
  std::int64_t tail_ns = 0;
  std::uint64_t bytes = 0;
  std::int32_t action = -1;  // index in the program; -1: none
  std::int32_t pass = -1;    // the step's passes count from 0; the recorder fills it in
  std::int32_t micro_batch = -1;
  std::int32_t other_micro_batch = -1;  // the backward half of an overlapped pair
  std::int16_t stage = -1;
  std::int16_t other_stage = -1;
  std::int16_t layer = -1;  // of the stage; phases and exchanges
  std::int16_t peer = -1;   // pipeline position of the other side; messages
  What what = What::Action;
  std::uint8_t op = 0;        // Op, of actions and messages
  std::uint8_t phase = 0;     // PhaseKind, of phases and exchanges
  std::uint8_t part = 0;      // Part
  std::uint8_t backward = 0;  // of phases and exchanges
  std::uint8_t direction = 0;
  std::uint8_t other_direction = 0;
  Program program = Program::None;
  friend bool operator==(const Record&, const Record&) = default;
};
static_assert(sizeof(Record) == 72 && std::has_unique_object_representations_v<Record>);
/// "pass", "action", ...; "?" for no such value.
std::string_view to_string(Record::What what);

/// What ranks do together, or alone, beside the actions of a program.
enum class Place : std::uint8_t {
  None,
  SharedGradients,  // what stages share is summed
  WorldSum,         // the step's one sum over all ranks
  Optimizer,        // updates, and the new values spread
  Gather,           // every rank learns the tokens drawn
  Scores,           // sums of a scoring pass
  Rewards,          // rank 0's rewards are everybody's
  Checkpoint,       // ranks tell each other how saving or loading went
  Begin,            // ranks agree on when a step begins
  Replicas,         // experts' weights go to their replicas; who computed how much
  Draw,             // alone: tokens from logits
  Files             // alone: writes or reads a checkpoint's files
};
/// Is it one that all ranks come to, in one order?
constexpr bool is_meeting(Place place) { return place != Place::None && place < Place::Draw; }
std::string_view to_string(Place place);

/// Where a rank stands at this moment, to be read while it hangs.
struct Here {
  enum class Doing : std::uint8_t {
    Idle,          // between passes
    Works,         // computes, or does what `place` says alone
    WaitsReceive,  // for the message that action `message` of the program receives
    WaitsSend,     // until the message that action `message` sends is taken
    Exchanges,     // with the other lanes, who must have come to turn `message` of the action
    Meets          // all ranks at `place`
  };
  std::int64_t since_ns = 0;
  std::int32_t action = -1;  // begun, not ended; the program's length behind its last; -1: in none
  std::int32_t message = -1;
  std::int32_t micro_batch = -1;
  std::int16_t stage = -1;
  std::int16_t peer = -1;   // whom it waits for; a pipeline position
  std::uint16_t turn = 0;   // moves of the action or meetings, begun by now
  std::int16_t layer = -1;  // of the stage; in an action's moves
  Doing doing = Doing::Idle;
  std::uint8_t op = 0;
  std::uint8_t phase = 0;
  std::uint8_t direction = 0;
  Place place = Place::None;
  std::uint8_t backward = 0;  // which half of an overlapped pair
  std::uint8_t part = 0;
  std::uint8_t spare[5] = {};
  // The recorder fills in the rest.
  std::uint32_t pass = 0;  // passes begun since the worker began: the same number on every rank
  std::int32_t pass_micro_batches = 0;
  std::int32_t step = 0;            // under way, or the last one
  Program program = Program::None;  // of the pass
  std::uint8_t more_spare[3] = {};
  friend bool operator==(const Here&, const Here&) = default;
};
static_assert(sizeof(Here) == 56 && std::has_unique_object_representations_v<Here>);
/// "waits for the activation for dir 0 stage 1 mb 3 from position 0": where a rank stood.
std::string describe(const Here& here);

}  // namespace weft::dualpipe
