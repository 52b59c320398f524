#include "runtime/rehearse/virtual_rings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/files.h"
#include "dualpipe/recorder.h"
#include "dualpipe/ring_layout.h"

namespace weft::runtime {

using dualpipe::Action;
using dualpipe::Op;
using dualpipe::Record;

namespace {

constexpr std::uint64_t kSimulatedClock = 0x73796e7468657469;  // all ranks share it

Record record_of(const Action& action, int index, const dualpipe::Slot& slot, std::int64_t begin,
                 double scale) {
  Record record;
  record.what = Record::What::Action;
  record.op = static_cast<std::uint8_t>(action.op);
  record.action = index;
  record.micro_batch = action.chunk.micro_batch;
  record.stage = static_cast<std::int16_t>(action.chunk.stage);
  record.direction = static_cast<std::uint8_t>(action.chunk.direction);
  if (action.op == Op::FB) {
    record.other_micro_batch = action.other.micro_batch;
    record.other_stage = static_cast<std::int16_t>(action.other.stage);
    record.other_direction = static_cast<std::uint8_t>(action.other.direction);
  }
  record.begin_ns = begin + static_cast<std::int64_t>(slot.begin * scale * 1e9);
  record.end_ns = begin + static_cast<std::int64_t>(slot.end * scale * 1e9);
  return record;
}

/// The recorder stamps steps and passes with the real clock; here they get simulated time.
template <class Value, class Change>
void change(std::vector<std::byte>& ring, std::size_t at, Change how) {
  Value value;
  std::memcpy(&value, ring.data() + at, sizeof value);
  how(value);
  std::memcpy(ring.data() + at, &value, sizeof value);
}

std::vector<std::byte> ring_of(int position, const scheduler::Layout& layout,
                               const StepModel& model, const std::vector<VirtualStepTimes>& steps,
                               const std::string& stage, int attempt, WallTime start) {
  const std::vector<Action>& program = model.schedule().programs[position];
  const dualpipe::RingSize size{std::max<std::size_t>(1, steps.size()), program.size() + 1};
  const std::size_t slots = size.steps + 1;
  const std::size_t records =
      dualpipe::ring::kHeaderBytes + slots * sizeof(dualpipe::ring::StepSlot);
  // Words, for their alignment.
  std::vector<std::uint64_t> memory(dualpipe::ring_bytes(size) / 8 + 1, 0);
  dualpipe::RingInfo info;
  info.rank = position * layout.data;
  info.world = layout.world();
  info.position = position;
  info.attempt = attempt;
  info.kind = static_cast<std::int32_t>(model.schedule().kind);
  info.ranks = model.schedule().ranks;
  info.micro_batches = model.schedule().micro_batches;
  info.chunks = model.schedule().chunks;
  info.wall_ns = start.time_since_epoch().count();
  info.clock = kSimulatedClock;
  dualpipe::StepRecorder recorder(
      {reinterpret_cast<std::byte*>(memory.data()), dualpipe::ring_bytes(size)}, size, info);
  std::vector<std::pair<std::int64_t, std::int64_t>> times;  // of each step
  for (const VirtualStepTimes& step : steps) {
    const std::int64_t begin = step.begin.time_since_epoch().count();
    const double scale = step.seconds / model.seconds();
    recorder.begin_step(step.step, stage);
    recorder.begin_pass(dualpipe::Program::Train);
    for (std::size_t i = 0; i < program.size(); ++i)
      recorder.add(record_of(program[i], static_cast<int>(i), model.timeline().slots[position][i],
                             begin, scale * model.scale()));
    recorder.end_pass();
    recorder.end_step();
    times.emplace_back(begin, begin + static_cast<std::int64_t>(step.seconds * 1e9));
  }
  recorder.stand({}, 0);
  std::vector<std::byte> ring(dualpipe::ring_bytes(size));
  std::memcpy(ring.data(), memory.data(), ring.size());
  for (std::size_t s = 0; s < times.size(); ++s) {
    change<dualpipe::ring::StepSlot>(
        ring, dualpipe::ring::kHeaderBytes + s * sizeof(dualpipe::ring::StepSlot),
        [&](dualpipe::ring::StepSlot& slot) {
          slot.begin_ns = times[s].first;
          slot.end_ns = times[s].second;
        });
    const std::size_t pass = s * (program.size() + 1) + program.size();
    change<Record>(ring, records + pass * sizeof(Record), [&](Record& record) {
      record.begin_ns = times[s].first;
      record.end_ns = times[s].second;
    });
  }
  return ring;
}

}  // namespace

Expected<void> write_virtual_rings(const std::filesystem::path& directory,
                                   const scheduler::Layout& layout, const StepModel& model,
                                   const std::vector<VirtualStepTimes>& steps,
                                   const std::string& stage, int attempt, WallTime start) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return io_error("create", directory, error.value());
  for (int position = 0; position < layout.pipeline; ++position) {
    const std::vector<std::byte> ring =
        ring_of(position, layout, model, steps, stage, attempt, start);
    WEFT_TRY(
        write_file_atomically(directory / fmt::format("rank-{:04}.ring", position * layout.data),
                              {reinterpret_cast<const char*>(ring.data()), ring.size()}));
  }
  return {};
}

}  // namespace weft::runtime
