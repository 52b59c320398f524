// Any bytes as a ring of recorded steps: refused, or what is read back keeps its promises, is
// summed up, and is drawn as a Chrome trace.
#include <span>

#include "base/check.h"
#include "dualpipe/measured.h"
#include "tests/dualpipe/recording.h"
#include "tests/fuzz/replay.h"

using namespace weft::dualpipe;

namespace {

void draw(const RankRecording& recording) {
  for (const MeasuredStep& step : measured_steps(std::span(&recording, 1))) {
    const StepSummary summary = summarize(step);
    WEFT_CHECK(summary.positions.size() == static_cast<std::size_t>(step.size.ranks));
    const auto costs = measured_costs(step);
    const bool small = step.size.ranks <= 8 && step.size.micro_batches <= 32;
    if (costs && small) {
      const auto prediction = predict(step, *costs, "fuzz");
      WEFT_CHECK(!to_chrome_trace(step, prediction ? &*prediction : nullptr).empty());
    } else {
      WEFT_CHECK(!to_chrome_trace(step, nullptr).empty());
    }
  }
  WEFT_CHECK(!describe(recording.here).empty());
}

}  // namespace

/// What was there when the ring was read a second time: its own first bytes, one of them changed by
/// the last byte of the input.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  std::vector<std::byte> later(bytes.begin(), bytes.end());
  if (size > 2048) later[1024 + data[size - 1] % 64] ^= std::byte{1};
  for (const std::span<const std::byte> second : {bytes, std::span<const std::byte>(later)}) {
    const auto recording = read_ring(bytes, second);
    if (!recording) {
      WEFT_CHECK(recording.error().code == weft::Code::Corrupt &&
                 !recording.error().message.empty());
      continue;
    }
    for (const RecordedStep& step : recording->steps) {
      WEFT_CHECK(step.begin_ns <= step.end_ns);
      for (const Record& r : step.records) {
        WEFT_CHECK(r.begin_ns >= step.begin_ns && r.end_ns <= step.end_ns);
        WEFT_CHECK(r.head_ns + r.tail_ns <= r.end_ns - r.begin_ns);
      }
    }
    draw(*recording);
  }
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  std::vector<std::string> seeds;
  for (const int steps : {0, 1, 3}) {
    RingInfo info = MemoryRing::default_info();
    info.world = 4;
    info.ranks = 2;
    info.micro_batches = 4;
    info.kind = static_cast<int>(Kind::DualPipe);
    MemoryRing ring({.steps = 2, .records = 12}, info);
    for (int step = 0; step < steps; ++step) {
      ring.recorder().begin_step(step, "pretrain");
      ring.recorder().begin_pass(Program::Train);
      const std::int64_t base = StepRecorder::now_ns();
      for (int i = 0; i < 10; ++i) {
        Record record;
        record.what = static_cast<Record::What>(1 + i % 5);
        record.op = static_cast<std::uint8_t>(i);
        record.begin_ns = base + 10 * i;
        record.end_ns = base + 10 * i + 9;
        record.head_ns = record.tail_ns = 2;
        record.peer = 1;
        record.stage = record.layer = record.micro_batch = 0;
        ring.recorder().add(record);
      }
      ring.recorder().end_pass();
      if (step < 2) ring.recorder().end_step();
    }
    const auto bytes = ring.bytes();
    seeds.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return seeds;
}
