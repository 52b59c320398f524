// What a run of a program writes down for the recorder: when actions, phases and messages began and
// ended, and where the rank stands meanwhile. Without a recorder it never looks at the clock.
// Internal to the room.
#pragma once

#include <cstdint>

#include "dualpipe/overlap.h"
#include "dualpipe/plan.h"
#include "dualpipe/recorder.h"

namespace weft::dualpipe {

class ActionRecorder {
 public:
  /// When something was started, and how long starting took.
  struct Started {
    std::int64_t begin_ns = 0;
    std::int64_t head_ns = 0;
  };

  void set_recorder(StepRecorder* recorder) { step_recorder_ = recorder; }
  bool is_on() const { return step_recorder_ != nullptr; }
  /// The action being run; the number of actions behind the last.
  void set_action(std::size_t index) { action_ = index; }
  void freeze() {
    if (step_recorder_ != nullptr) step_recorder_->freeze();
  }

  /// What comes next begins now.
  std::int64_t begin() { return begin_ns_ = now(); }
  /// Of what was started since begin().
  Started started() const { return {begin_ns_, now() - begin_ns_}; }

  /// Since begin().
  void stand(const Here& here) {
    if (step_recorder_ != nullptr) step_recorder_->stand(here, begin_ns_);
  }
  /// `message`: index of the action that is waited for, whose text and peer this is about.
  void stand_waiting(Here::Doing doing, const PlannedAction& planned, std::size_t message) {
    if (step_recorder_ != nullptr) stand_waiting_there(doing, planned, message);
  }

  // These want is_on().
  void record_action(const Action& action, std::int64_t begin_ns);
  /// A move begins where the one before it ended: one look at the clock each. `bytes`: of an
  /// exchange that it finishes.
  void record_move(const PhaseMove& move, const Chunk& chunk, std::uint64_t bytes);
  /// The wait for it was from begin() until now.
  void record_message(Record::What what, const Action& action, std::size_t index, std::size_t bytes,
                      const Started& started);

 private:
  std::int64_t now() const { return step_recorder_ != nullptr ? StepRecorder::now_ns() : 0; }
  void stand_waiting_there(Here::Doing doing, const PlannedAction& planned, std::size_t message);

  StepRecorder* step_recorder_ = nullptr;
  std::int64_t begin_ns_ = 0;  // the last look at the clock; 0 without a recorder
  Started exchanges_[2];       // [backward]; a pass has one at a time
  std::size_t action_ = 0;
};

}  // namespace weft::dualpipe
