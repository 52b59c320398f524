// The sends and receives of a run that are under way. Internal to the room.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "dualpipe/action_recorder.h"
#include "dualpipe/plan.h"
#include "dualpipe/stage.h"

namespace weft::dualpipe {

class OpenMessages {
 public:
  /// All must outlive it.
  OpenMessages(std::span<Stage* const> stages, comm::Communicator& pipeline,
               ActionRecorder& recorder)
      : stages_(stages), pipeline_(pipeline), recorder_(recorder) {}

  /// A run of so many actions begins.
  void reset(std::size_t num_actions) { receives_.assign(num_actions, {}); }

  // `i`: index of the action in the plan.
  void start_receive(const PlannedAction& planned, std::size_t i);
  /// Waits until what action i receives is there; nothing when it has been waited for.
  Expected<void> await_receive(const Plan& plan, std::size_t i);
  Expected<void> start_send(const PlannedAction& planned, std::size_t i);
  /// Waits for all sends.
  Expected<void> settle_sends();

 private:
  // Sends that may be under way before the oldest is waited for.
  static constexpr std::size_t kMaxSends = 16;
  struct OpenSend {
    comm::Request request;
    const PlannedAction* planned = nullptr;
    std::size_t index = 0;
    std::size_t bytes = 0;
    ActionRecorder::Started started;
  };
  struct OpenReceive {
    comm::Request request;
    std::size_t bytes = 0;
    bool open = false;
    ActionRecorder::Started started;
  };

  Stage& stage(const Chunk& chunk) { return *stages_[static_cast<std::size_t>(chunk.stage)]; }
  Expected<void> end_oldest_send();

  const std::span<Stage* const> stages_;
  comm::Communicator& pipeline_;
  ActionRecorder& recorder_;
  std::vector<OpenReceive> receives_;  // by action index
  std::array<OpenSend, kMaxSends> sends_;
  std::size_t oldest_send_ = 0;
  std::size_t num_sends_ = 0;
};

}  // namespace weft::dualpipe
