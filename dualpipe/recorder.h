// The flight recorder: keeps what a rank did during its last steps in a ring of memory that other
// processes may read at any time, also after this one was killed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/expected.h"
#include "dualpipe/record.h"
#include "dualpipe/schedule.h"

namespace weft::dualpipe {

/// Who records, and by which schedule. Lies in the ring as it is.
struct RingInfo {
  std::int32_t rank = 0, world = 1;
  std::int32_t position = 0, lane = 0;
  std::int32_t attempt = 0;
  std::int32_t pid = 0;
  std::int32_t kind = 0;  // Kind, with its size: enough to generate the schedule again
  std::int32_t ranks = 0, micro_batches = 0, chunks = 0;
  std::int32_t expert = 1;  // neighbouring lanes that exchange their tokens
  std::int32_t spare = 0;
  std::int64_t monotonic_ns = 0, wall_ns = 0;  // the same moment on both clocks
  std::uint64_t clock = 0;                     // equal for ranks that share a monotonic clock
  friend bool operator==(const RingInfo&, const RingInfo&) = default;
};
static_assert(std::has_unique_object_representations_v<RingInfo>);

struct RingSize {
  std::size_t steps = 8;       // closed steps to keep; one more is being written
  std::size_t records = 4096;  // of a step
};
/// What such a ring takes.
std::size_t ring_bytes(const RingSize& size);

/// Writes a ring. Nothing locks, waits or allocates; a full ring forgets its oldest records.
/// Threads: one writer; readers need nothing from it. Cost: a record is nine stores.
class StepRecorder {
 public:
  /// `memory`: ring_bytes(size) bytes on a multiple of 8, all zero; must outlive the recorder.
  StepRecorder(std::span<std::byte> memory, const RingSize& size, const RingInfo& info);
  StepRecorder(const StepRecorder&) = delete;
  StepRecorder& operator=(const StepRecorder&) = delete;

  /// Between steps nothing is recorded, but `stand` still tells where the rank is.
  void begin_step(long long step, std::string_view stage);
  void end_step();
  bool open() const { return open_; }

  /// `micro_batches`: of a forward-only pass; a training pass has the ring's.
  void begin_pass(Program program, int micro_batches = 0);
  void end_pass();

  /// `pass` and `program` are filled in here.
  void add(Record record);
  /// Where this rank stands, and since when; the pass and the step are filled in here.
  void stand(const Here& here, std::int64_t since_ns);
  /// Beside the actions of a program: comes to a place, and has done with it.
  void enter(Place place);
  void leave();
  /// From now on it stands where it stands: what failed there is to be found there.
  void freeze() { frozen_ = true; }

  /// Of this step's passes: what its phases took, without any wait for another rank.
  std::int64_t self_ns() const { return self_ns_; }

  static std::int64_t now_ns();

 private:
  void stand_in_pass();

  std::byte* live_;
  std::byte* slots_;
  std::byte* records_;
  std::uint64_t num_slots_;
  std::uint64_t capacity_;
  std::uint64_t cursor_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t first_ = 0;  // of the open step
  bool open_ = false;
  std::int32_t pass_ = -1;
  Program program_ = Program::None;
  std::int64_t pass_begin_ns_ = 0;
  std::int64_t self_ns_ = 0;
  Here here_;
  bool frozen_ = false;
};

/// Records its own lifetime as `what`; does nothing without a recorder.
class Recorded {
 public:
  Recorded(StepRecorder* recorder, Record::What what)
      : recorder_(recorder), what_(what), begin_ns_(recorder ? StepRecorder::now_ns() : 0) {}
  ~Recorded() {
    if (recorder_ == nullptr) return;
    Record record;
    record.what = what_;
    record.begin_ns = begin_ns_;
    record.end_ns = StepRecorder::now_ns();
    recorder_->add(record);
  }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

 private:
  StepRecorder* recorder_;
  Record::What what_;
  std::int64_t begin_ns_;
};

/// The pass that goes on while it lives; does nothing without a recorder.
class RecordedPass {
 public:
  RecordedPass(StepRecorder* recorder, Program program, int micro_batches = 0)
      : recorder_(recorder) {
    if (recorder_ != nullptr) recorder_->begin_pass(program, micro_batches);
  }
  ~RecordedPass() {
    if (recorder_ != nullptr) recorder_->end_pass();
  }
  RecordedPass(const RecordedPass&) = delete;
  RecordedPass& operator=(const RecordedPass&) = delete;

 private:
  StepRecorder* recorder_;
};

/// Does what is done at `place`; when a meeting fails, that is where this rank stays.
template <class Do>
auto at_place(StepRecorder* recorder, Place place, Do what) {
  if (recorder == nullptr) return what();
  recorder->enter(place);
  auto done = what();
  if (done || !is_meeting(place))
    recorder->leave();
  else
    recorder->freeze();
  return done;
}

}  // namespace weft::dualpipe
