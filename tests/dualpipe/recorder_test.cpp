#include "dualpipe/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "recording.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;

Record at(std::int64_t begin, std::int64_t end) {
  Record record;
  record.what = Record::What::Phase;
  record.begin_ns = begin;
  record.end_ns = end;
  record.action = static_cast<std::int32_t>(begin % 1000);
  return record;
}

void record_step(StepRecorder& recorder, long long step, int records) {
  recorder.begin_step(step, "pretrain");
  recorder.begin_pass(Program::Train);
  const std::int64_t now = StepRecorder::now_ns();
  for (int i = 0; i < records; ++i) recorder.add(at(now + i, now + i + 1));
  recorder.end_pass();
  recorder.end_step();
}

TEST(StepRecorder, KeepsTheLastStepsWhole) {
  MemoryRing ring({.steps = 3, .records = 11});
  for (int step = 1; step <= 20; ++step) record_step(ring.recorder(), step, 10);
  const auto read = ring.read();
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_GE(read->steps.size(), 3u);
  for (std::size_t i = read->steps.size() - 3; i < read->steps.size(); ++i) {
    const RecordedStep& step = read->steps[i];
    EXPECT_EQ(step.step, 20 - static_cast<long long>(read->steps.size() - 1 - i));
    EXPECT_TRUE(step.closed);
    EXPECT_EQ(step.stage, "pretrain");
    EXPECT_EQ(step.missing, 0u);
    ASSERT_EQ(step.records.size(), 11u);
    EXPECT_EQ(step.records.front().program, Program::Train);
    EXPECT_EQ(step.records.back().what, Record::What::Pass);
  }
}

TEST(StepRecorder, AStepLargerThanTheRingKeepsItsNewestRecordsAndCountsTheOthers) {
  MemoryRing ring({.steps = 1, .records = 8});
  record_step(ring.recorder(), 1, 5);
  record_step(ring.recorder(), 2, 99);
  const auto read = ring.read();
  ASSERT_TRUE(read);
  ASSERT_EQ(read->steps.size(), 2u);
  EXPECT_TRUE(read->steps[0].records.empty());
  EXPECT_EQ(read->steps[0].missing, 6u);
  EXPECT_EQ(read->steps[1].records.size() + read->steps[1].missing, 100u);
  EXPECT_GE(read->steps[1].records.size(), 15u);
  EXPECT_EQ(read->steps[1].records.back().what, Record::What::Pass);
}

TEST(StepRecorder, AnOpenStepIsReadAsSuchWithWhereItStands) {
  MemoryRing ring({.steps = 2, .records = 8});
  record_step(ring.recorder(), 1, 2);
  ring.recorder().begin_step(2, "grpo");
  const std::int64_t now = StepRecorder::now_ns();
  ring.recorder().add(at(now, now));
  Here here;
  here.doing = Here::Doing::WaitsReceive;
  here.op = static_cast<std::uint8_t>(Op::RecvF);
  here.peer = 3;
  here.stage = 1;
  here.micro_batch = 5;
  ring.recorder().stand(here, 77);
  const auto read = ring.read();
  ASSERT_TRUE(read);
  ASSERT_EQ(read->steps.size(), 2u);
  EXPECT_FALSE(read->steps[1].closed);
  EXPECT_EQ(read->steps[1].records.size(), 1u);
  here.since_ns = 77;
  here.step = 2;  // the recorder knows these
  here.pass = 1;
  EXPECT_EQ(read->here, here);
  const auto head = read_here(ring.bytes().first(kRingPage));
  ASSERT_TRUE(head);
  EXPECT_EQ(head->here, here);
  EXPECT_FALSE(read_here(ring.bytes().first(kRingPage - 1)));
  EXPECT_EQ(describe(read->here),
            "waits for the activation for dir 0 stage 1 mb 5 from position 3");
}

TEST(StepRecorder, AMeetingIsCountedAndWhatFailedInItStaysThere) {
  MemoryRing ring({.steps = 2, .records = 8});
  StepRecorder& recorder = ring.recorder();
  recorder.begin_pass(Program::Rollout, 4);
  recorder.end_pass();
  const auto here = [&] { return read_here(ring.bytes().first(kRingPage))->here; };
  const auto meet = [&](Place place, bool well) {
    return at_place(&recorder, place, [&]() -> Expected<void> {
      EXPECT_EQ(here().place, place);
      if (well) return {};
      return fail(Code::DeadlineExceeded, "nobody came");
    });
  };
  EXPECT_TRUE(meet(Place::Gather, true));
  EXPECT_EQ(here().turn, 1);
  EXPECT_EQ(here().doing, Here::Doing::Idle);
  EXPECT_TRUE(meet(Place::Draw, true));  // alone: not counted, as not every rank draws
  EXPECT_EQ(here().turn, 1);
  EXPECT_FALSE(meet(Place::Gather, false));
  EXPECT_EQ(here().doing, Here::Doing::Meets);
  EXPECT_EQ(here().turn, 2);
  EXPECT_EQ(here().pass, 1u);
  EXPECT_EQ(here().pass_micro_batches, 4);
  recorder.begin_pass(Program::Rollout, 4);
  recorder.end_pass();
  EXPECT_EQ(describe(here()), "meets all ranks in the exchange of drawn tokens");
}

TEST(StepRecorder, BetweenStepsNothingIsRecorded) {
  MemoryRing ring({.steps = 2, .records = 8});
  ring.recorder().begin_pass(Program::Rollout);
  ring.recorder().add(at(1, 2));
  ring.recorder().end_pass();
  const auto read = ring.read();
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->steps.empty());
}

TEST(StepRecorder, AReaderBesideTheWriterNeverSeesAHalfWrittenRecord) {
  MemoryRing ring({.steps = 2, .records = 16});
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (long long step = 1; !stop; ++step) {
      ring.recorder().begin_step(step, "pretrain");
      for (int i = 0; i < 16; ++i) {
        Record record = at(0, 0);
        record.begin_ns = record.end_ns = StepRecorder::now_ns();
        record.bytes =
            static_cast<std::uint64_t>(record.begin_ns);  // both ends of the record agree
        record.layer = static_cast<std::int16_t>(record.begin_ns & 0x7fff);
        record.micro_batch = static_cast<std::int32_t>(step);
        ring.recorder().add(record);
      }
      ring.recorder().end_step();
    }
  });
  int seen = 0;
  for (int look = 0; look < 300 || seen == 0; ++look) {
    const auto read = ring.read();
    ASSERT_TRUE(read);
    for (const RecordedStep& step : read->steps) {
      EXPECT_EQ(step.damaged, 0u);
      for (const Record& record : step.records) {
        ++seen;
        EXPECT_EQ(record.bytes, static_cast<std::uint64_t>(record.begin_ns));
        EXPECT_EQ(record.layer, record.begin_ns & 0x7fff);
        EXPECT_EQ(record.micro_batch, step.step);
      }
    }
  }
  stop = true;
  writer.join();
}

TEST(ReadRing, RefusesWhatIsNoRingAndSaysWhy) {
  MemoryRing ring({.steps = 1, .records = 4});
  record_step(ring.recorder(), 1, 2);
  const auto bytes = ring.bytes();
  const auto error_of = [](std::span<const std::byte> some) {
    const auto read = read_ring(some, some);
    return read ? std::string("none") : read.error().message;
  };
  EXPECT_EQ(error_of(bytes), "none");
  EXPECT_THAT(error_of(bytes.first(100)), HasSubstr("too short"));
  EXPECT_THAT(error_of(bytes.first(bytes.size() - 8)), HasSubstr("size"));
  std::vector<std::byte> other(bytes.begin(), bytes.end());
  other[8] = std::byte{99};
  EXPECT_THAT(error_of(other), HasSubstr("another version"));
  other.assign(bytes.size(), std::byte{0});
  EXPECT_THAT(error_of(other), HasSubstr("no ring"));
}

}  // namespace
}  // namespace weft::dualpipe
