#include "dualpipe/ring.h"

#include <algorithm>
#include <cstring>

#include "dualpipe/flow.h"
#include "dualpipe/ring_layout.h"
#include "dualpipe/stage.h"

namespace weft::dualpipe {

using namespace ring;

namespace {

/// Above these a header is damaged, not large.
constexpr std::uint64_t kSlotsMax = 1 << 20, kRecordsMax = std::uint64_t{1} << 32;
constexpr std::int64_t kRanksMax = 1 << 16;
constexpr std::int64_t kTimeMax = std::int64_t{1} << 61;  // sums of two still fit

template <class Value>
Value load(std::span<const std::byte> bytes, std::size_t at) {
  Value value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::size_t head_bytes(const Fixed& fixed) {
  return kHeaderBytes + fixed.step_slots * sizeof(StepSlot);
}

tl::unexpected<Error> corrupt(const std::string& what) { return fail(Code::Corrupt, what); }

Expected<Fixed> read_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) return corrupt("too short for a ring of recorded steps");
  const Fixed fixed = load<Fixed>(bytes, 0);
  if (std::memcmp(fixed.magic, kMagic, sizeof kMagic) != 0)
    return corrupt("no ring of recorded steps, or one that was never begun");
  if (fixed.version != kVersion || fixed.record_bytes != sizeof(Record))
    return corrupt("written by another version of weft (ring version " +
                   std::to_string(fixed.version) + ", this one reads " + std::to_string(kVersion) +
                   ")");
  return fixed;
}

Expected<Fixed> read_fixed(std::span<const std::byte> bytes) {
  WEFT_TRY_ASSIGN(const Fixed fixed, read_header(bytes));
  if (fixed.step_slots < 1 || fixed.step_slots > kSlotsMax || fixed.record_capacity < 1 ||
      fixed.record_capacity > kRecordsMax ||
      bytes.size() != head_bytes(fixed) + fixed.record_capacity * sizeof(Record))
    return corrupt("its size does not fit its header");
  return fixed;
}

Expected<Kind> checked_kind(const RingInfo& info) {
  const auto inside = [](std::int64_t value, std::int64_t low, std::int64_t high) {
    return value >= low && value < high;
  };
  const bool rank = inside(info.world, 1, kRanksMax) && inside(info.rank, 0, info.world) &&
                    inside(info.position, 0, info.world) && inside(info.lane, 0, info.world);
  const bool size = inside(info.ranks, 1, kRanksMax) && inside(info.micro_batches, 1, 1 << 20) &&
                    inside(info.chunks, 1, 1 << 10) && info.position < info.ranks &&
                    inside(info.expert, 1, kRanksMax);
  const bool clock = inside(info.monotonic_ns, 0, kTimeMax) && inside(info.wall_ns, 0, kTimeMax);
  if (!rank || !size || !clock || !inside(info.kind, 0, 64))
    return corrupt("its header names impossible ranks or sizes");
  const Kind kind = static_cast<Kind>(info.kind);
  if (!parse_kind(to_string(kind))) return corrupt("its header names no schedule");
  return kind;
}

/// Known enumerators, and times in order.
bool makes_sense(const Record& r) {
  if (to_string(r.what) == "?" || to_string(r.program) == "?") return false;
  if (r.op > static_cast<std::uint8_t>(Op::Snapshot) || r.direction > 1 || r.other_direction > 1)
    return false;
  if (to_string(static_cast<PhaseKind>(r.phase)) == "?") return false;
  if (r.begin_ns < 0 || r.end_ns < r.begin_ns || r.end_ns > kTimeMax) return false;
  if (r.head_ns < 0 || r.tail_ns < 0) return false;
  const std::int64_t lasted = r.end_ns - r.begin_ns;
  return r.head_ns <= lasted && r.tail_ns <= lasted - r.head_ns;
}

Here checked(Here here) {
  const bool known = here.doing <= Here::Doing::Meets && here.since_ns >= 0 &&
                     here.since_ns <= kTimeMax && here.action >= -1 && here.message >= -1 &&
                     here.pass_micro_batches >= 0 && here.pass_micro_batches < 1 << 20 &&
                     here.op <= static_cast<std::uint8_t>(Op::Snapshot) && here.direction <= 1 &&
                     to_string(here.program) != "?" && to_string(here.place) != "?" &&
                     to_string(static_cast<PhaseKind>(here.phase)) != "?" &&
                     here.part <= static_cast<std::uint8_t>(Part::Again) && here.backward <= 1;
  return known ? here : Here{};
}

class Reader {
 public:
  Reader(const Fixed& fixed, std::span<const std::byte> ring, std::span<const std::byte> later)
      : fixed_(fixed),
        ring_(ring),
        later_(later),
        live_(load<Live>(ring, kLiveOffset)),
        cursor_later_(std::max(live_.cursor, load<Live>(later, kLiveOffset).cursor)) {}

  std::vector<RecordedStep> steps() const {
    std::vector<RecordedStep> steps;
    const std::uint64_t opened = live_.steps;
    const std::uint64_t count = std::min(opened, fixed_.step_slots);
    for (std::uint64_t n = opened - count; n < opened; ++n) {
      const StepSlot slot = slot_of(ring_, n);
      const StepSlot again = slot_of(later_, n);
      // Being filled for another step by now, or not ours at all.
      const bool open = slot.seal == 2 * n + 1, closed = slot.seal == 2 * n + 2;
      if (!open && !closed) continue;
      if (again.seal != slot.seal && !(open && again.seal == 2 * n + 2)) continue;
      steps.push_back(read_step(slot, closed));
    }
    return steps;
  }

 private:
  StepSlot slot_of(std::span<const std::byte> bytes, std::uint64_t n) const {
    return load<StepSlot>(bytes, kHeaderBytes + n % fixed_.step_slots * sizeof(StepSlot));
  }

  RecordedStep read_step(const StepSlot& slot, bool closed) const {
    RecordedStep step;
    step.step = slot.step;
    step.stage.assign(slot.stage, strnlen(slot.stage, sizeof slot.stage));
    step.closed = closed;
    step.begin_ns = std::clamp<std::int64_t>(slot.begin_ns, 0, kTimeMax);
    const std::uint64_t first = std::min(slot.first, live_.cursor);
    const std::uint64_t count =
        closed ? std::min(slot.count, live_.cursor - first) : live_.cursor - first;
    // What the writer may have begun to overwrite since.
    const std::uint64_t capacity = fixed_.record_capacity;
    const std::uint64_t oldest = cursor_later_ >= capacity ? cursor_later_ - capacity + 1 : 0;
    const std::uint64_t begin = std::min(std::max(first, oldest), first + count);
    step.missing = begin - first;
    std::int64_t end = step.begin_ns;
    for (std::uint64_t n = begin; n < first + count; ++n) {
      const Record record = load<Record>(ring_, head_bytes(fixed_) + n % capacity * sizeof(Record));
      if (!makes_sense(record) || record.begin_ns < step.begin_ns) {
        ++step.damaged;
        continue;
      }
      end = std::max(end, record.end_ns);
      step.records.push_back(record);
    }
    step.end_ns = closed ? std::clamp(slot.end_ns, end, std::max(end, kTimeMax)) : end;
    return step;
  }

  const Fixed& fixed_;
  std::span<const std::byte> ring_, later_;
  Live live_;
  std::uint64_t cursor_later_;
};

}  // namespace

std::size_t ring_head_bytes(std::span<const std::byte> ring) {
  const auto fixed = read_fixed(ring);
  return fixed ? head_bytes(*fixed) : 0;
}

Expected<RankRecording> read_ring(std::span<const std::byte> ring,
                                  std::span<const std::byte> later) {
  WEFT_TRY_ASSIGN(const Fixed fixed, read_fixed(ring));
  if (later.size() < head_bytes(fixed) ||
      std::memcmp(ring.data(), later.data(), sizeof(Fixed)) != 0)
    return corrupt("it was replaced while it was being read; try again");
  RankRecording recording;
  WEFT_TRY_ASSIGN(recording.kind, checked_kind(fixed.info));
  recording.info = fixed.info;
  recording.bytes = ring.size();
  recording.here = checked(load<Here>(later, kLiveOffset + offsetof(Live, here)));
  recording.steps = Reader(fixed, ring, later).steps();
  return recording;
}

Expected<RankHere> read_here(std::span<const std::byte> page) {
  static_assert(kRingPage == kHeaderBytes);
  WEFT_TRY_ASSIGN(const Fixed fixed, read_header(page));
  RankHere rank;
  WEFT_TRY_ASSIGN(rank.kind, checked_kind(fixed.info));
  rank.info = fixed.info;
  rank.here = checked(load<Here>(page, kLiveOffset + offsetof(Live, here)));
  return rank;
}

}  // namespace weft::dualpipe
