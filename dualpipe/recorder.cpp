#include "dualpipe/recorder.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "base/check.h"
#include "dualpipe/ring_layout.h"

namespace weft::dualpipe {

using namespace ring;

namespace {

std::uint64_t& word(std::byte* at) { return *reinterpret_cast<std::uint64_t*>(at); }

/// A reader of another process may look at any of it at any time. Released, so that it sees nothing
/// of this before what was stored earlier: the cursor that says what lay here is gone.
template <class Value>
void store(std::byte* at, const Value& value) {
  static_assert(sizeof(Value) % 8 == 0);
  std::uint64_t words[sizeof(Value) / 8];
  std::memcpy(words, &value, sizeof value);
  for (std::size_t i = 0; i < std::size(words); ++i)
    std::atomic_ref(word(at + 8 * i)).store(words[i], std::memory_order_release);
}

void publish(std::byte* at, std::uint64_t value) {
  std::atomic_ref(word(at)).store(value, std::memory_order_release);
}

}  // namespace

std::string_view to_string(Record::What what) {
  constexpr std::string_view kNames[] = {"pass",    "action",    "phase",     "exchange", "send",
                                         "receive", "world sum", "optimizer", "draw",     "gather"};
  const auto i = static_cast<std::size_t>(what);
  return i < std::size(kNames) ? kNames[i] : "?";
}

std::string_view to_string(Program program) {
  constexpr std::string_view kNames[] = {"none", "train", "score", "rollout"};
  const auto i = static_cast<std::size_t>(program);
  return i < std::size(kNames) ? kNames[i] : "?";
}

std::size_t ring_bytes(const RingSize& size) {
  const std::size_t slots = size.steps + 1;
  return kHeaderBytes + slots * sizeof(StepSlot) + slots * size.records * sizeof(Record);
}

StepRecorder::StepRecorder(std::span<std::byte> memory, const RingSize& size, const RingInfo& info)
    : live_(memory.data() + kLiveOffset),
      slots_(memory.data() + kHeaderBytes),
      records_(slots_ + (size.steps + 1) * sizeof(StepSlot)),
      num_slots_(size.steps + 1),
      capacity_((size.steps + 1) * size.records) {
  WEFT_CHECK(memory.size() == ring_bytes(size) && capacity_ > 0);
  WEFT_CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % 8 == 0);
  Fixed fixed{{}, kVersion, sizeof(Record), capacity_, num_slots_, info};
  std::memcpy(memory.data(), &fixed, sizeof fixed);
  stand({});
  // What begins with the magic is whole.
  std::uint64_t magic = 0;
  std::memcpy(&magic, kMagic, sizeof magic);
  publish(memory.data(), magic);
}

std::int64_t StepRecorder::now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void StepRecorder::begin_step(long long step, std::string_view stage) {
  if (open_) end_step();
  std::byte* slot = slots_ + steps_ % num_slots_ * sizeof(StepSlot);
  publish(slot, 0);
  first_ = cursor_;
  StepSlot entry{0, step, now_ns(), 0, first_, 0, {}};
  std::memcpy(entry.stage, stage.data(), std::min(stage.size(), sizeof entry.stage));
  store(slot, entry);
  publish(slot, 2 * steps_ + 1);
  publish(live_ + offsetof(Live, steps), ++steps_);
  pass_ = -1;
  open_ = true;
}

void StepRecorder::end_step() {
  if (!open_) return;
  open_ = false;
  std::byte* slot = slots_ + (steps_ - 1) % num_slots_ * sizeof(StepSlot);
  const auto end = static_cast<std::uint64_t>(now_ns());
  std::atomic_ref(word(slot + offsetof(StepSlot, end_ns))).store(end, std::memory_order_relaxed);
  std::atomic_ref(word(slot + offsetof(StepSlot, count)))
      .store(cursor_ - first_, std::memory_order_relaxed);
  publish(slot, 2 * steps_);
}

void StepRecorder::begin_pass(Program program) {
  ++pass_;
  program_ = program;
  pass_begin_ns_ = now_ns();
}

void StepRecorder::end_pass() {
  Record record;
  record.what = Record::What::Pass;
  record.begin_ns = pass_begin_ns_;
  record.end_ns = now_ns();
  add(record);
  program_ = Program::None;
  Here idle;
  idle.since_ns = record.end_ns;
  stand(idle);
}

void StepRecorder::add(Record record) {
  if (!open_) return;
  record.pass = program_ == Program::None ? -1 : pass_;
  record.program = program_;
  store(records_ + cursor_ % capacity_ * sizeof(Record), record);
  publish(live_ + offsetof(Live, cursor), ++cursor_);
}

void StepRecorder::stand(const Here& here) { store(live_ + offsetof(Live, here), here); }

}  // namespace weft::dualpipe
