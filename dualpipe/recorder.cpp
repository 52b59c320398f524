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

constexpr std::size_t kStandWords = offsetof(Here, pass) / 8;
static_assert(offsetof(Here, pass) == 8 * kStandWords && offsetof(Here, since_ns) == 0);

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
  stand({}, 0);
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
  self_ns_ = 0;
  open_ = true;
  here_.step = static_cast<std::int32_t>(step);
  stand_in_pass();
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

void StepRecorder::begin_pass(Program program, int micro_batches) {
  ++pass_;
  program_ = program;
  pass_begin_ns_ = now_ns();
  ++here_.pass;
  here_.pass_micro_batches = micro_batches;
  stand_in_pass();
  Here here;
  here.action = 0;
  here.doing = Here::Doing::Works;
  stand(here, pass_begin_ns_);
}

void StepRecorder::end_pass() {
  Record record;
  record.what = Record::What::Pass;
  record.begin_ns = pass_begin_ns_;
  record.end_ns = now_ns();
  add(record);
  program_ = Program::None;
  stand_in_pass();
  stand({}, record.end_ns);
}

void StepRecorder::add(Record record) {
  if (record.what == Record::What::Phase) self_ns_ += record.end_ns - record.begin_ns;
  if (record.what == Record::What::Exchange) self_ns_ += record.head_ns;
  if (!open_) return;
  record.pass = program_ == Program::None ? -1 : pass_;
  record.program = program_;
  store(records_ + cursor_ % capacity_ * sizeof(Record), record);
  publish(live_ + offsetof(Live, cursor), ++cursor_);
}

// Word by word from memory that was written long ago (plans hold what to say): what is put together
// from bytes just now would have to wait for those stores.
void StepRecorder::stand(const Here& here, std::int64_t since_ns) {
  if (frozen_) return;
  std::byte* at = live_ + offsetof(Live, here);
  std::uint64_t words[kStandWords];
  std::memcpy(words, &here, sizeof words);
  words[0] = static_cast<std::uint64_t>(since_ns);
  for (std::size_t i = 0; i < kStandWords; ++i)
    std::atomic_ref(word(at + 8 * i)).store(words[i], std::memory_order_release);
  std::memcpy(static_cast<void*>(&here_), words, sizeof words);
}

void StepRecorder::stand_in_pass() {
  if (frozen_) return;
  here_.program = program_;
  std::byte* at = live_ + offsetof(Live, here);
  std::uint64_t words[sizeof(Here) / 8];
  std::memcpy(words, &here_, sizeof words);
  for (std::size_t i = kStandWords; i < std::size(words); ++i)
    std::atomic_ref(word(at + 8 * i)).store(words[i], std::memory_order_release);
}

void StepRecorder::enter(Place place) {
  Here here = here_;
  here.place = place;
  here.doing = is_meeting(place) ? Here::Doing::Meets : Here::Doing::Works;
  here.turn = static_cast<std::uint16_t>(here.turn + (is_meeting(place) ? 1 : 0));
  stand(here, now_ns());
}

void StepRecorder::leave() {
  Here here = here_;
  here.place = Place::None;
  here.doing = here.action >= 0 ? Here::Doing::Works : Here::Doing::Idle;
  stand(here, now_ns());
}

}  // namespace weft::dualpipe
