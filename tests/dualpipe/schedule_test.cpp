#include "dualpipe/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "all_sizes.h"
#include "base/files.h"
#include "dualpipe/check.h"
#include "dualpipe/flow.h"
#include "dualpipe/text.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;

int count(const std::vector<Action>& program, Op op) {
  return static_cast<int>(
      std::count_if(program.begin(), program.end(), [op](const Action& a) { return a.op == op; }));
}

TEST(Kind, NamesRoundTripAndAMistypedOneIsAnsweredWithTheNearest) {
  for (Kind kind : kAllKinds) EXPECT_EQ(*parse_kind(to_string(kind)), kind);
  EXPECT_THAT(parse_kind("dualpip").error().message, HasSubstr("did you mean 'dualpipe'?"));
  EXPECT_THAT(parse_kind("").error().message, HasSubstr("Known are gpipe"));
}

TEST(Placement, EveryStageLiesWhereItsPositionSaysItDoes) {
  for (Kind kind : kAllKinds) {
    for (int ranks : {2, 4, 6}) {
      std::map<int, int> owners;
      for (int position = 0; position < ranks; ++position) {
        const auto stages = stages_of(kind, ranks, position, 3);
        for (std::size_t i = 0; i < stages.size(); ++i) {
          ++owners[stages[i]];
          const int direction = kind == Kind::DualPipe ? static_cast<int>(i) : 0;
          EXPECT_EQ(position_of(kind, ranks, direction, stages[i], 3), position);
        }
      }
      EXPECT_EQ(static_cast<int>(owners.size()), num_stages(kind, ranks, 3));
      for (const auto& [stage, times] : owners) EXPECT_EQ(times, num_directions(kind));
    }
  }
}

TEST(OneFOneB, ReadsAsInThePaperForFourStages) {
  EXPECT_EQ(to_text(must_generate(Kind::OneFOneB, 2, 3)),
            "weft.schedule/v1 kind=1f1b ranks=2 micro_batches=3\n"
            "0: F:0.0.0 F:0.0.1 B:0.0.0 F:0.0.2 B:0.0.1 B:0.0.2\n"
            "1: F:0.1.0 B:0.1.0 F:0.1.1 B:0.1.1 F:0.1.2 B:0.1.2\n");
}

TEST(Generate, EveryScheduleOfEveryLegalSizeIsSound) {
  for_all_sizes(8, 24, [](const Schedule& schedule) {
    const CheckReport report = check(schedule);
    ASSERT_TRUE(report.ok()) << report.text;
  });
}

TEST(Generate, EveryLoweredScheduleIsSound) {
  for_all_sizes(6, 16, [](const Schedule& schedule) {
    const Schedule lowered = add_step_end(add_messages(schedule));
    const CheckReport report = check(lowered);
    ASSERT_TRUE(report.ok()) << report.text;
  });
}

// Hence gradients do not depend on the schedule.
TEST(Generate, WeightGradientsAddUpInAscendingMicroBatchOrder) {
  for_all_sizes(8, 24, [](const Schedule& schedule) {
    for (const auto& program : schedule.programs) {
      std::map<std::pair<int, int>, int> next;
      for (const Action& a : program) {
        if (a.op != Op::B && a.op != Op::W && a.op != Op::FB) continue;
        const Chunk& chunk = a.op == Op::FB ? a.other : a.chunk;
        ASSERT_EQ((next[{chunk.direction, chunk.stage}]++), chunk.micro_batch);
      }
    }
  });
}

TEST(DualPipe, HasTheCountsOfThePublishedAlgorithm) {
  for (int ranks = 2; ranks <= 16; ranks += 2) {
    for (int n = 2 * ranks; n <= 2 * ranks + 12; n += 2) {
      const Schedule schedule = must_generate(Kind::DualPipe, ranks, n);
      for (int rank = 0; rank < ranks; ++rank) {
        SCOPED_TRACE(testing::Message() << ranks << " ranks, " << n << " mb, rank " << rank);
        const auto& program = schedule.programs[static_cast<std::size_t>(rank)];
        const int q = std::min(rank, ranks - 1 - rank);
        const int half = ranks / 2;
        const int pairs = 2 * (n / 2 - ranks + q + 1) - (q == half - 1 ? 1 : 0) + (half - q - 1);
        EXPECT_EQ(count(program, Op::FB), pairs);
        EXPECT_EQ(count(program, Op::F), n - pairs);
        EXPECT_EQ(count(program, Op::BI), ranks - 1 - q);
        EXPECT_EQ(count(program, Op::W), ranks - 1 - q);
        EXPECT_EQ(count(program, Op::B), n - pairs - (ranks - 1 - q));
      }
    }
  }
}

TEST(DualPipeV, HasTheCountsOfThePublishedAlgorithm) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int n = 2 * ranks; n <= 2 * ranks + 7; ++n) {
      const Schedule schedule = must_generate(Kind::DualPipeV, ranks, n);
      for (int rank = 0; rank < ranks; ++rank) {
        SCOPED_TRACE(testing::Message() << ranks << " ranks, " << n << " mb, rank " << rank);
        const auto& program = schedule.programs[static_cast<std::size_t>(rank)];
        const int pairs =
            2 * (n - 2 * ranks + rank + 1) - (rank == ranks - 1 ? 1 : 0) + (ranks - rank - 1);
        EXPECT_EQ(count(program, Op::FB), pairs);
        EXPECT_EQ(count(program, Op::F), 2 * n - pairs);
        EXPECT_EQ(count(program, Op::BI), 2 * ranks - 1 - rank);
        EXPECT_EQ(count(program, Op::W), 2 * ranks - 1 - rank);
      }
    }
  }
}

TEST(DualPipe, IsTheSameSeenFromEitherEnd) {
  const Schedule schedule = must_generate(Kind::DualPipe, 6, 18);
  for (std::size_t rank = 0; rank < 6; ++rank) {
    auto mirrored = schedule.programs[rank];
    for (Action& a : mirrored) {
      a.chunk.direction ^= 1;
      if (a.op == Op::FB) a.other.direction ^= 1;
    }
    EXPECT_EQ(mirrored, schedule.programs[5 - rank]);
  }
}

TEST(DualPipe, IsTheGoldenScheduleForEightRanksAndTwentyMicroBatches) {
  const std::string path = WEFT_GOLDEN_DIR "/dualpipe_8x20.txt";
  const std::string text = to_text(must_generate(Kind::DualPipe, 8, 20));
  if (std::getenv("WEFT_UPDATE_GOLDEN") != nullptr) {
    ASSERT_TRUE(write_file_atomically(path, text));
  }
  EXPECT_EQ(*read_file(path), text);
}

TEST(Peak, IsTheKnownOneForEachKind) {
  for_all_sizes(8, 24, [](const Schedule& s) {
    const auto peaks = peak_activations(s);
    for (int rank = 0; rank < s.ranks; ++rank) {
      const int peak = peaks[static_cast<std::size_t>(rank)];
      if (s.kind == Kind::GPipe) {
        ASSERT_EQ(peak, s.micro_batches);
      }
      if (s.kind == Kind::OneFOneB) {
        ASSERT_EQ(peak, std::min(s.ranks - rank, s.micro_batches));
      }
      if (s.kind == Kind::ZeroBubble) {
        ASSERT_EQ(peak, std::min(s.ranks, s.micro_batches));
      }
      if (s.kind == Kind::DualPipe) {
        ASSERT_EQ(peak, s.ranks + 1);
      }
      if (s.kind == Kind::DualPipeV) {
        ASSERT_EQ(peak, 2 * s.ranks + 1);
      }
      if (s.kind == Kind::ZBV && s.micro_batches >= 2 * s.ranks) {
        ASSERT_LE(peak, 2 * s.ranks);
      }
    }
  });
  EXPECT_EQ(peak_activations(must_generate(Kind::Interleaved, 8, 20))[0], 25);
}

TEST(CheckSize, NamesTheRuleAndTheNearestLegalSizes) {
  const auto odd = check_size(Kind::DualPipe, {3, 8, 2});
  EXPECT_EQ(odd.error().code, Code::InvalidArgument);
  EXPECT_THAT(odd.error().message, HasSubstr("ranks must be even"));
  EXPECT_THAT(odd.error().message,
              HasSubstr("2 ranks with 8 micro-batches, or 4 ranks with 8 micro-batches"));
  const auto few = check_size(Kind::DualPipe, {8, 12, 2});
  EXPECT_THAT(few.error().message, HasSubstr("8 ranks with 16 micro-batches"));
  EXPECT_THAT(few.error().message, HasSubstr("6 ranks with 12 micro-batches"));
  EXPECT_THAT(check_size(Kind::DualPipeV, {4, 5, 2}).error().message,
              HasSubstr("4 ranks with 8 micro-batches, or 2 ranks with 5 micro-batches"));
  EXPECT_THAT(check_size(Kind::Interleaved, {4, 9, 2}).error().message,
              HasSubstr("8 or 10 micro-batches"));
  EXPECT_FALSE(check_size(Kind::OneFOneB, {0, 1, 2}));
  EXPECT_FALSE(check_size(Kind::OneFOneB, {1, 0, 2}));
  EXPECT_FALSE(check_size(Kind::OneFOneB, {-5, 1, 2}));
  EXPECT_FALSE(check_size(Kind::OneFOneB, {4096, 1 << 20, 2}));
  EXPECT_FALSE(check_size(Kind::Interleaved, {4, 8, 1}));
}

TEST(CheckSize, EverySizeThatItNamesAsLegalIsLegal) {
  for (Kind kind : {Kind::DualPipe, Kind::DualPipeV}) {
    for (int ranks = 1; ranks <= 9; ++ranks) {
      for (int n = 1; n <= 20; ++n) {
        const auto result = check_size(kind, {ranks, n, 2});
        if (result) continue;
        const std::string& message = result.error().message;
        std::string_view rest(message);
        rest.remove_prefix(rest.find("Nearest legal: ") + 15);
        for (;;) {
          int r = 0, m = 0;
          ASSERT_EQ(std::sscanf(std::string(rest).c_str(), "%d ranks with %d", &r, &m), 2)
              << message;
          EXPECT_TRUE(check_size(kind, {r, m, 2})) << message;
          const auto next = rest.find(", or ");
          if (next == std::string_view::npos) break;
          rest.remove_prefix(next + 5);
        }
      }
    }
  }
}

TEST(GenerateForward, RunsEveryChunkOnceAndIsSoundWithMessages) {
  for (Kind kind : kAllKinds) {
    for (int ranks = 1; ranks <= 8; ++ranks) {
      for (int n = 1; n <= 12; ++n) {
        const auto schedule = generate_forward(kind, {ranks, n, 2});
        if (kind == Kind::DualPipe && (ranks % 2 != 0 || n % 2 != 0)) {
          EXPECT_FALSE(schedule);
          continue;
        }
        ASSERT_TRUE(schedule) << schedule.error().message;
        const CheckReport report = check(add_messages(*schedule));
        ASSERT_TRUE(report.ok()) << report.text;
      }
    }
  }
}

TEST(GenerateForward, DualPipeFillsBothDirectionsAtOnce) {
  for (int ranks = 2; ranks <= 8; ranks += 2) {
    for (int n = 2; n <= 24; n += 2) {
      const auto times = timeline(*generate_forward(Kind::DualPipe, {ranks, n, 2}));
      // Half of the micro-batches enter at each end, so that the ramps overlap.
      EXPECT_LE(times->makespan, n + ranks - 1) << ranks << " ranks " << n;
      EXPECT_GE(times->makespan, std::max(n, n / 2 + ranks - 1));
    }
  }
}

TEST(AddMessages, TwiceIsTheSameAsOnce) {
  const Schedule once = add_messages(must_generate(Kind::DualPipe, 4, 8));
  EXPECT_EQ(add_messages(once), once);
}

TEST(AddMessages, AHandOverInsideARankIsNoMessage) {
  EXPECT_EQ(add_messages(must_generate(Kind::OneFOneB, 1, 3)), must_generate(Kind::OneFOneB, 1, 3));
  const Schedule v = add_messages(must_generate(Kind::DualPipeV, 4, 8));
  // The last rank talks to its one neighbour only: two activations and two gradients each.
  int messages = 0;
  for (const Action& a : v.programs[3]) {
    if (!is_message(a.op)) continue;
    ++messages;
    EXPECT_EQ(a.peer, 2);
  }
  EXPECT_EQ(messages, 4 * 8);
}

TEST(AddMessages, DualPipeOfEightRanksAndTwentyMicroBatchesSendsAsManyAsPublished) {
  const Schedule s = add_messages(must_generate(Kind::DualPipe, 8, 20));
  for (std::size_t rank = 0; rank < 8; ++rank) {
    const auto messages = std::count_if(s.programs[rank].begin(), s.programs[rank].end(),
                                        [](const Action& a) { return is_message(a.op); });
    EXPECT_EQ(messages, rank == 0 || rank == 7 ? 40 : 80);
  }
}

TEST(AddStepEnd, ReducesEachStageThenUpdatesThenAllowsASnapshot) {
  const Schedule s = add_step_end(must_generate(Kind::DualPipe, 2, 4));
  const auto& program = s.programs[1];
  ASSERT_GE(program.size(), 4u);
  const std::size_t n = program.size();
  EXPECT_EQ(to_token(program[n - 4]), "Reduce:0");
  EXPECT_EQ(to_token(program[n - 3]), "Reduce:1");
  EXPECT_EQ(to_token(program[n - 2]), "Update");
  EXPECT_EQ(to_token(program[n - 1]), "Snapshot");
}

}  // namespace
}  // namespace weft::dualpipe
