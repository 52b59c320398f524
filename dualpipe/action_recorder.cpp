#include "dualpipe/action_recorder.h"

#include <utility>

namespace weft::dualpipe {
namespace {

/// The parts of a record that an action gives.
Record record_of(Record::What what, const Action& action, std::size_t index) {
  Record record;
  record.what = what;
  record.op = static_cast<std::uint8_t>(action.op);
  record.action = static_cast<std::int32_t>(index);
  record.micro_batch = action.chunk.micro_batch;
  record.stage = static_cast<std::int16_t>(action.chunk.stage);
  record.direction = static_cast<std::uint8_t>(action.chunk.direction);
  record.peer = static_cast<std::int16_t>(action.peer);
  if (action.op == Op::FB) {
    record.other_micro_batch = action.other.micro_batch;
    record.other_stage = static_cast<std::int16_t>(action.other.stage);
    record.other_direction = static_cast<std::uint8_t>(action.other.direction);
  }
  return record;
}

}  // namespace

void ActionRecorder::stand_waiting_there(Here::Doing doing, const PlannedAction& planned,
                                         std::size_t message) {
  Here here = planned.standing;
  here.doing = doing;
  here.action = static_cast<std::int32_t>(action_);
  here.message = static_cast<std::int32_t>(message);
  step_recorder_->stand(here, begin_ns_);
}

void ActionRecorder::record_action(const Action& action, std::int64_t begin_ns) {
  Record record = record_of(Record::What::Action, action, action_);
  record.begin_ns = begin_ns;
  record.end_ns = now();
  step_recorder_->add(record);
}

void ActionRecorder::record_move(const PhaseMove& move, const Chunk& chunk, std::uint64_t bytes) {
  const std::int64_t begin = std::exchange(begin_ns_, now());
  Started& exchange = exchanges_[move.step.backward];
  if (move.what == PhaseMove::What::Begin) {
    exchange = {begin, begin_ns_ - begin};
    return;
  }
  const Phase& phase = move.step.phase;
  const bool finish = move.what == PhaseMove::What::Finish;
  Record record = record_of(finish ? Record::What::Exchange : Record::What::Phase,
                            {Op::F, chunk, {}, -1}, action_);
  record.begin_ns = finish ? exchange.begin_ns : begin;
  record.end_ns = begin_ns_;
  record.phase = static_cast<std::uint8_t>(phase.kind);
  record.part = static_cast<std::uint8_t>(phase.part);
  record.layer = static_cast<std::int16_t>(phase.layer);
  record.backward = move.step.backward;
  if (finish) {
    record.head_ns = exchange.head_ns;
    record.tail_ns = begin_ns_ - begin;
    record.bytes = bytes;
  }
  step_recorder_->add(record);
}

void ActionRecorder::record_message(Record::What what, const Action& action, std::size_t index,
                                    std::size_t bytes, const Started& started) {
  Record record = record_of(what, action, index);
  record.begin_ns = started.begin_ns;
  record.end_ns = now();
  record.head_ns = started.head_ns;
  record.tail_ns = record.end_ns - begin_ns_;
  record.bytes = bytes;
  step_recorder_->add(record);
}

}  // namespace weft::dualpipe
