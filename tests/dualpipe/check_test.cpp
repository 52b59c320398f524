#include "dualpipe/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "all_sizes.h"
#include "dualpipe/flow.h"
#include "dualpipe/text.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;

Schedule parsed(const std::string& text) {
  auto schedule = parse(text);
  EXPECT_TRUE(schedule) << (schedule ? "" : schedule.error().message);
  return schedule ? *schedule : Schedule{};
}

TEST(Check, SaysThatASoundScheduleIsSoundAndHowMuchItHolds) {
  const CheckReport report = check(must_generate(Kind::DualPipe, 4, 8));
  EXPECT_TRUE(report.ok());
  EXPECT_THAT(report.peak_activations, testing::ElementsAre(5, 5, 5, 5));
  EXPECT_THAT(report.text, HasSubstr("sound. Peak activations per rank: 5 5 5 5"));
}

TEST(Check, MarksTheGuiltyStepInTheGrid) {
  Schedule schedule = must_generate(Kind::OneFOneB, 2, 2);
  schedule.programs[1][2].chunk.micro_batch = 0;  // F0 B0 F0 B1
  const CheckReport report = check(schedule);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.problems[0].rank, 1);
  EXPECT_EQ(report.problems[0].action, 2);
  EXPECT_THAT(report.text, HasSubstr("second forward of dir 0 stage 1 mb 0"));
  EXPECT_THAT(report.text, HasSubstr(">F0<"));
}

// Whatever one action is taken out, doubled or swapped with another rank's work: it is noticed.
TEST(Check, NoticesEveryActionThatIsMissingOrDoubled) {
  for (Kind kind : kAllKinds) {
    const Schedule good = must_generate(kind, 2, 4);
    for (std::size_t rank = 0; rank < good.programs.size(); ++rank) {
      for (std::size_t i = 0; i < good.programs[rank].size(); ++i) {
        Schedule missing = good;
        missing.programs[rank].erase(missing.programs[rank].begin() + static_cast<long>(i));
        EXPECT_FALSE(check(missing).ok()) << to_text(missing);
        Schedule doubled = good;
        doubled.programs[rank].push_back(good.programs[rank][i]);
        EXPECT_FALSE(check(doubled).ok()) << to_text(doubled);
      }
    }
  }
}

TEST(Check, NoticesEveryMessageThatIsMissingOrDoubledOrMisdirected) {
  const Schedule good = add_messages(must_generate(Kind::DualPipe, 4, 8));
  for (std::size_t rank = 0; rank < good.programs.size(); ++rank) {
    for (std::size_t i = 0; i < good.programs[rank].size(); ++i) {
      if (!is_message(good.programs[rank][i].op)) continue;
      Schedule bad = good;
      bad.programs[rank][i].peer += 1;
      EXPECT_FALSE(check(bad).ok());
      bad = good;
      bad.programs[rank].erase(bad.programs[rank].begin() + static_cast<long>(i));
      EXPECT_FALSE(check(bad).ok());
      bad = good;
      bad.programs[rank].push_back(good.programs[rank][i]);
      EXPECT_FALSE(check(bad).ok());
    }
  }
}

TEST(Check, NoticesMessagesThatOvertakeEachOther) {
  const CheckReport report =
      check(parsed("weft.schedule/v1 kind=gpipe ranks=2 micro_batches=2\n"
                   "0: F:0.0.0 F:0.0.1 SendF:0.0.1>1 SendF:0.0.0>1\n"
                   "1: RecvF:0.1.0<0 F:0.1.0 RecvF:0.1.1<0 F:0.1.1\n"));
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.text, HasSubstr("expected here is the activation of dir 0 stage 0 mb 0, but "
                                     "what is sent is the activation of dir 0 stage 0 mb 1"));
}

TEST(Check, NoticesAnOrderThatNoClockCanRun) {
  const CheckReport report =
      check(parsed("weft.schedule/v1 kind=1f1b ranks=2 micro_batches=2\n"
                   "0: F:0.0.0 B:0.0.0 F:0.0.1 B:0.0.1\n"
                   "1: F:0.1.0 F:0.1.1 B:0.1.0 B:0.1.1\n"));
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.text, HasSubstr("waits for the gradient of dir 0 stage 1 mb 0 (position 1)"));
  EXPECT_THAT(report.text, HasSubstr("waits for the activation of dir 0 stage 0 mb 1"));
  EXPECT_THAT(report.text, HasSubstr(">B0<"));
  EXPECT_THAT(report.text, HasSubstr(">F1<"));
}

// Possible as a computation and with buffers, but each rank sends before it listens.
TEST(Check, NoticesADeadlockThatOnlyRendezvousSendsHave) {
  const std::string text =
      "weft.schedule/v1 kind=dualpipe ranks=2 micro_batches=2\n"
      "0: F:0.0.0 SendF:0.0.0>1 F:1.1.0x\n";
  EXPECT_FALSE(parse(text));
  const CheckReport report = check(
      parsed("weft.schedule/v1 kind=interleaved ranks=2 micro_batches=2 chunks=2\n"
             "0: F:0.0.0 SendF:0.0.0>1 F:0.0.1 SendF:0.0.1>1 RecvF:0.2.0<1 F:0.2.0 SendF:0.2.0>1"
             " RecvF:0.2.1<1 F:0.2.1 SendF:0.2.1>1\n"
             "1: RecvF:0.1.0<0 F:0.1.0 SendF:0.1.0>0 RecvF:0.1.1<0 F:0.1.1 SendF:0.1.1>0"
             " RecvF:0.3.0<0 F:0.3.0 RecvF:0.3.1<0 F:0.3.1\n"));
  EXPECT_TRUE(report.ok()) << report.text;  // adjacent messages start together
  const CheckReport bad = check(
      parsed("weft.schedule/v1 kind=dualpipe ranks=2 micro_batches=4\n"
             "0: F:0.0.0 SendF:0.0.0>1 F:0.0.1 SendF:0.0.1>1 RecvF:1.1.0<1 F:1.1.0 RecvF:1.1.1<1"
             " F:1.1.1\n"
             "1: F:1.0.0 SendF:1.0.0>0 F:1.0.1 SendF:1.0.1>0 RecvF:0.1.0<0 F:0.1.0 RecvF:0.1.1<0"
             " F:0.1.1\n"));
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.text, HasSubstr("deadlock with rendezvous sends: position 0 waits for position "
                                  "1 in SendF dir 0 stage 0 mb 0 to position 1"));
}

TEST(Check, AcceptsAnythingWithoutHarm) {
  EXPECT_FALSE(check(Schedule{}).ok());
  for (const char* header :
       {"kind=dualpipe ranks=1 micro_batches=1", "kind=1f1b ranks=0 micro_batches=0",
        "kind=interleaved ranks=1 micro_batches=100000000 chunks=100000000",
        "kind=zbv ranks=1 micro_batches=1"}) {
    std::string text = "weft.schedule/v1 " + std::string(header) + "\n";
    if (text.find("ranks=0") == std::string::npos) {
      text += "0: F:9.9.9 B:0.0.5 W:0.0.0 FB:0.0.0+1.1.1 SendF:0.0.0>7 RecvB:1.1.0<0 Reduce:3\n";
    }
    const auto schedule = parse(text);
    ASSERT_TRUE(schedule) << schedule.error().message;
    EXPECT_FALSE(check(*schedule).ok());
    timeline(*schedule);
  }
}

}  // namespace
}  // namespace weft::dualpipe
