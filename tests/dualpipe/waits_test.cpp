// Who waited for whom, against worlds of ranks that are walked as far as the messages let them.
#include "dualpipe/waits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;
using Doing = Here::Doing;

/// Ranks walk a training pass, then another; one of them stops for good.
class Walk {
 public:
  Walk(const WaitsWorld& world, bool says) : world_(world), says_(says) {
    const Size size{world.positions, world.micro_batches};
    schedule_ = add_step_end(add_messages(*generate(world.kind, size)));
    next_.assign(static_cast<std::size_t>(world.world()), 0);
    message_.assign(next_.size(), -1);
  }

  int length(int rank) const { return static_cast<int>(program(rank).size()); }
  const Action& action(int rank, int i) const {
    return program(rank)[static_cast<std::size_t>(i % length(rank))];
  }

  /// `stopped` never ends action `at` of the first pass.
  std::vector<Standing> run(int stopped, int at) {
    std::ranges::fill(next_, 0);
    std::ranges::fill(message_, -1);
    for (bool moved = true; moved;) {
      moved = false;
      for (int rank = 0; rank < world_.world(); ++rank)
        while (next(rank) < 2 * length(rank) && !(rank == stopped && next(rank) == at) &&
               can(rank)) {
          ++next(rank);
          moved = true;
        }
    }
    std::vector<Standing> all;
    for (int rank = 0; rank < world_.world(); ++rank)
      all.push_back(standing(rank, rank == stopped));
    return all;
  }

 private:
  const std::vector<Action>& program(int rank) const {
    return schedule_.programs[static_cast<std::size_t>(rank / world_.lanes)];
  }
  int& next(int rank) { return next_[static_cast<std::size_t>(rank)]; }

  /// Index in the other's walk of an action that fits.
  template <class Fits>
  int find(int rank, int pass, Fits fits) const {
    const auto found = std::ranges::find_if(program(rank), fits);
    if (found == program(rank).end()) return -1;
    return pass * length(rank) + static_cast<int>(found - program(rank).begin());
  }

  /// The receive that brings this chunk's input, if any, and has it been sent?
  bool input(int rank, int pass, Op receive, const Chunk& chunk) {
    const int index =
        find(rank, pass, [&](const Action& a) { return a.op == receive && a.chunk == chunk; });
    if (index < 0) return true;
    const Flow flow(schedule_);
    const Chunk maker = receive == Op::RecvF ? *flow.before(chunk) : *flow.after(chunk);
    const int from = action(rank, index).peer * world_.lanes + rank % world_.lanes;
    const Op send = receive == Op::RecvF ? Op::SendF : Op::SendB;
    const int sent =
        find(from, pass, [&](const Action& a) { return a.op == send && a.chunk == maker; });
    if (next(from) > sent) return true;
    message_[static_cast<std::size_t>(rank)] = index % length(rank);
    return false;
  }

  bool can(int rank) {
    const int pass = next(rank) / length(rank);
    const Action& now = action(rank, next(rank));
    message_[static_cast<std::size_t>(rank)] = -1;
    if (now.op == Op::Reduce || now.op == Op::Update) {
      for (int other = 0; other < world_.world(); ++other) {
        const int there = find(other, pass, [&](const Action& a) {
          return a.op == now.op && (a.op == Op::Update || a.chunk.stage == now.chunk.stage);
        });
        if (there >= 0 && next(other) < there) return false;
      }
      return true;
    }
    if (!is_compute(now.op)) return true;
    if ((now.op == Op::F || now.op == Op::FB) && !input(rank, pass, Op::RecvF, now.chunk))
      return false;
    if ((now.op == Op::B || now.op == Op::BI) && !input(rank, pass, Op::RecvB, now.chunk))
      return false;
    if (now.op == Op::FB && !input(rank, pass, Op::RecvB, now.other)) return false;
    // The lanes of an expert group do a compute action together.
    const int first = rank - rank % world_.lanes % world_.expert;
    for (int other = first; other < first + world_.expert; ++other)
      if (next(other) < next(rank)) return false;
    return true;
  }

  Standing standing(int rank, bool stopped) {
    Standing one;
    one.known = true;
    one.age_ns = 1000 + rank;
    const int at = next(rank), pass = at / length(rank);
    Here& here = one.here;
    here.program = Program::Train;
    here.pass = static_cast<std::uint32_t>(std::min(pass, 1)) + 1;
    here.step = static_cast<std::int32_t>(here.pass);
    if (pass == 2) return one;
    const Action& now = action(rank, at);
    here.action = at % length(rank);
    here.doing = Doing::Works;
    here.op = static_cast<std::uint8_t>(now.op);
    here.stage = static_cast<std::int16_t>(now.chunk.stage);
    here.micro_batch = now.chunk.micro_batch;
    here.direction = static_cast<std::uint8_t>(now.chunk.direction);
    if (stopped) {
      here.turn = is_compute(now.op) ? 1 : 0;
      return one;
    }
    const int message = message_[static_cast<std::size_t>(rank)];
    if (now.op == Op::Update) {
      here.doing = Doing::Meets;
      here.place = Place::WorldSum;
      here.turn = 1;
    } else if (message >= 0 && says_) {
      here.doing = Doing::WaitsReceive;
      here.message = message;
    } else if (is_compute(now.op) && message < 0) {
      here.doing = Doing::Exchanges;
      here.turn = 3;
      here.message = 2;
    }
    return one;
  }

  WaitsWorld world_;
  bool says_;  // who waits for a message says for which
  Schedule schedule_;
  std::vector<int> next_, message_;
};

constexpr Kind kKinds[] = {Kind::GPipe, Kind::OneFOneB, Kind::Interleaved, Kind::ZeroBubble,
                           Kind::ZBV,   Kind::DualPipe, Kind::DualPipeV};

void name_every_stop(const WaitsWorld& world) {
  for (const bool says : {true, false}) {
    Walk walk(world, says);
    for (int rank = 0; rank < world.world(); ++rank)
      for (int at = 0; at < walk.length(rank); ++at) {
        const auto standings = walk.run(rank, at);
        const auto found = find_waits(world, standings);
        ASSERT_TRUE(found) << found.error().message;
        const std::string told = std::string(to_string(world.kind)) + " rank " +
                                 std::to_string(rank) + " at " + std::to_string(at) + " " +
                                 describe(walk.action(rank, at)) + "\n" +
                                 to_text(*found, standings);
        ASSERT_EQ(found->culprits.size(), 1u) << told;
        ASSERT_EQ(found->culprits[0].rank, rank) << told;
        ASSERT_EQ(standings[static_cast<std::size_t>(rank)].here.action, at) << told;
        // Everybody else waits, in the end for it.
        ASSERT_EQ(found->chain.size(), standings.size() - 1) << told;
        ASSERT_EQ(found->culprits[0].waiters, world.world() - 1) << told;
      }
  }
}

TEST(Waits, NameTheRankAndTheActionAtWhichItStoppedInEverySchedule) {
  for (const Kind kind : kKinds)
    for (const int positions : {3, 4})
      for (const int micro_batches : {3, 8})
        if (check_size(kind, {positions, micro_batches}))
          name_every_stop({kind, positions, 1, 1, micro_batches});
}

TEST(Waits, NameTheRankAlsoAmongLanesThatExchangeOrReduceTogether) {
  for (const Kind kind : {Kind::OneFOneB, Kind::DualPipe, Kind::DualPipeV})
    for (const int expert : {1, 2, 4}) name_every_stop({kind, 2, 4, expert, 4});
}

/// Four ranks of 1F1B that all wait, or work, as told.
struct Four {
  WaitsWorld world{Kind::OneFOneB, 4, 1, 1, 4};
  std::vector<Standing> ranks{4};
  Four() {
    for (Standing& one : ranks) {
      one.known = true;
      one.age_ns = 1'000'000;
      one.here.pass = 1;
      one.here.step = 7;
      one.here.program = Program::Train;
      one.here.doing = Doing::Works;
    }
  }
  void meets(int rank, Place place, int turn) {
    Here& here = ranks[static_cast<std::size_t>(rank)].here;
    here.action = -1;
    here.doing = Doing::Meets;
    here.place = place;
    here.turn = static_cast<std::uint16_t>(turn);
  }
  void idles(int rank) {
    ranks[static_cast<std::size_t>(rank)].here.action = -1;
    ranks[static_cast<std::size_t>(rank)].here.doing = Doing::Idle;
  }
  Diagnosis find() { return *find_waits(world, ranks); }
  std::vector<int> culprits() {
    std::vector<int> out;
    for (const Culprit& one : find().culprits) out.push_back(one.rank);
    return out;
  }
};

TEST(Waits, OutsideTheProgramNameWhoDidNotComeToTheMeeting) {
  Four four;
  for (const int rank : {0, 1, 3}) four.meets(rank, Place::Gather, 1);
  four.idles(2);
  EXPECT_EQ(four.culprits(), std::vector<int>{2});
  EXPECT_THAT(
      to_text(four.find(), four.ranks),
      HasSubstr("rank 0 waits for rank 2: meets all ranks in the exchange of drawn tokens"));
}

TEST(Waits, WhoLagsAMeetingBehindIsNamed) {
  Four four;
  for (const int rank : {0, 1, 3}) four.meets(rank, Place::Checkpoint, 2);
  four.meets(2, Place::Checkpoint, 1);
  const Diagnosis found = four.find();
  ASSERT_EQ(found.culprits.size(), 1u);
  EXPECT_EQ(found.culprits[0].rank, 2);
  EXPECT_EQ(found.culprits[0].why, Culprit::Why::Stands);
}

TEST(Waits, ASilentRankIsNamedOnlyWhereSomebodyWaitsForIt) {
  Four four;
  for (const int rank : {0, 1, 2, 3}) four.idles(rank);
  four.ranks[1] = {};
  EXPECT_TRUE(four.culprits().empty());
  EXPECT_EQ(to_text(four.find(), four.ranks), "no rank waits for another");
  four.meets(3, Place::WorldSum, 1);
  four.meets(0, Place::WorldSum, 1);
  four.meets(2, Place::WorldSum, 1);
  EXPECT_EQ(four.culprits(), std::vector<int>{1});
  EXPECT_THAT(to_text(four.find(), four.ranks), HasSubstr("rank 1 is silent"));
}

TEST(Waits, AStoppedProcessIsNamedWhateverItWaitsFor) {
  Four four;
  for (int rank = 0; rank < 4; ++rank) four.meets(rank, Place::WorldSum, 1);
  four.ranks[3].process = Standing::Process::Stopped;
  EXPECT_EQ(four.culprits(), std::vector<int>{3});
  four.ranks[1].process = Standing::Process::Gone;
  EXPECT_THAT(four.culprits(), testing::UnorderedElementsAre(1, 3));
}

TEST(Waits, OfACycleTheLongestSilentIsNamed) {
  // Both wait for the other's message, which no schedule that was checked can do.
  Four four;
  four.world = {Kind::OneFOneB, 2, 1, 1, 4};
  four.ranks.resize(2);
  const Schedule schedule = add_step_end(add_messages(*generate(Kind::OneFOneB, {2, 4})));
  for (std::size_t rank = 0; rank < 2; ++rank) {
    const auto& program = schedule.programs[rank];
    const auto receive = std::ranges::find_if(
        program, [](const Action& a) { return a.op == Op::RecvF || a.op == Op::RecvB; });
    four.ranks[rank].here.action = 0;
    four.ranks[rank].here.doing = Doing::WaitsReceive;
    four.ranks[rank].here.message = static_cast<std::int32_t>(receive - program.begin());
    four.ranks[rank].age_ns = rank == 1 ? 9'000'000 : 1'000'000;
  }
  const Diagnosis found = four.find();
  ASSERT_EQ(found.culprits.size(), 1u);
  EXPECT_EQ(found.culprits[0].rank, 1);
  EXPECT_EQ(found.culprits[0].why, Culprit::Why::Cycle);
}

TEST(Waits, RefuseALayoutThatTheRanksDoNotHave) {
  Four four;
  four.world.lanes = 2;
  EXPECT_FALSE(find_waits(four.world, four.ranks));
}

TEST(Waits, SurviveAnyPositions) {
  // What a ring says is input: whatever it is, there is an answer.
  std::uint64_t state = 1;
  const auto draw = [&](int n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int>((state >> 33) % static_cast<std::uint64_t>(n));
  };
  for (int round = 0; round < 3000; ++round) {
    WaitsWorld world{kKinds[draw(7)], 2 + 2 * draw(2), 1 + draw(2), 1, 8};
    std::vector<Standing> ranks(static_cast<std::size_t>(world.world()));
    for (Standing& one : ranks) {
      one.known = draw(8) != 0;
      one.process = static_cast<Standing::Process>(draw(8) ? 0 : draw(4));
      one.here.doing = static_cast<Doing>(draw(6));
      one.here.action = draw(80) - 1;
      one.here.message = draw(80) - 1;
      one.here.pass = static_cast<std::uint32_t>(draw(3));
      one.here.program = static_cast<Program>(draw(4));
      one.here.place = static_cast<Place>(draw(11));
      one.here.pass_micro_batches = draw(1 << 20);
      one.here.turn = static_cast<std::uint16_t>(draw(3));
    }
    const auto found = find_waits(world, ranks);
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_FALSE(to_text(*found, ranks).empty());
  }
}

}  // namespace
}  // namespace weft::dualpipe
