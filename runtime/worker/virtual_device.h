// A device that computes nothing and takes its time over it: a compute lane and a wire, each doing
// one thing at a time, on a clock that is handed in.
#pragma once

#include "base/clock.h"
#include "comm/communicator.h"

namespace weft::runtime {

/// What the lanes of one rank did in a step.
struct VirtualTally {
  Duration compute{0};        // lengths of the phases that ran
  Duration exchange{0};       // lengths on the wire
  Duration exposed{0};        // of the time for exchanges: what the compute lane waited for
  Duration pair_exchange{0};  // the same, of overlapped pairs alone
  Duration pair_exposed{0};
  Duration late{0};  // sum of how much too late the worker woke up
  Instant end{};     // of the last phase, by the clock
};

/// A phase ends a fixed time after it begins, and it begins when the lane is free and its inputs
/// are there. The lane is free at the *planned* end of the phase before: a worker that is woken up
/// late by a busy machine finds the device done on time, as a device with a queue would be. Not
/// excused is what others see of it: a message leaves when the worker is awake, and a phase whose
/// input had to be waited for begins when that wait ended, by the clock.
/// Threads: one.
class VirtualDevice {
 public:
  explicit VirtualDevice(Clock& clock) : clock_(clock) {}

  /// Both lanes are free at `at`; a new tally.
  void start(Instant at);
  /// Something was waited for until now: nothing can have begun before.
  void waited() { not_before(clock_.now()); }
  /// What the next phase needs left its sender at `left`. A worker that is woken up late finds a
  /// message there that was not there when the lane was free.
  void not_before(Instant left) { free_ = std::max(free_, left); }

  /// Takes `length` on the compute lane and sleeps until it is done.
  void compute(Duration length);
  /// Takes `length` on the wire, after what is on it; returns when it will be done.
  Instant begin_exchange(Duration length, bool in_pair);
  /// The compute lane needs what is on the wire until `end`. Time that was spent in waits since
  /// `needed` counts as exposed.
  void finish_exchange(Instant needed, Instant end, bool in_pair);

  Instant now() const { return clock_.now(); }
  /// When the compute lane is free.
  Instant free() const { return free_; }
  const VirtualTally& tally() const { return tally_; }

 private:
  void sleep();

  Clock& clock_;
  Instant free_{}, wire_free_{};
  VirtualTally tally_;
};

/// A communicator whose waits the device knows of: a wait that found its message there costs
/// nothing, one that had to sleep moves the device's lanes. Point to point only.
class WatchedCommunicator final : public comm::Communicator {
 public:
  WatchedCommunicator(comm::Communicator& inner, VirtualDevice& device)
      : inner_(inner), device_(device) {
    set_wait_bound(inner.wait_bound());
  }
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string_view name() const override { return inner_.name(); }
  comm::Request start_send(int to, comm::Tag tag, comm::ConstBytes data) override {
    return inner_.start_send(to, tag, data);
  }
  comm::Request start_receive(int from, comm::Tag tag, comm::Bytes into) override {
    return inner_.start_receive(from, tag, into);
  }
  Expected<std::size_t> wait(comm::Request request) override;
  bool test(comm::Request request) override { return inner_.test(request); }

 private:
  comm::Communicator& inner_;
  VirtualDevice& device_;
};

}  // namespace weft::runtime
