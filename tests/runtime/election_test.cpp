#include "runtime/coordinator/election.h"

#include <gtest/gtest.h>

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;

struct Bench {
  Bench() { clock.advance(1h); }
  /// Reads the directory every half second for `length`; the first step that is more than looking.
  ElectionStep watch(Duration length, int roster = 0) {
    for (Duration at{}; at < length; at += 500ms) {
      clock.advance(500ms);
      const ElectionStep step = elect_on_read(state, claims, clock.now(), false, roster, options);
      if (!std::holds_alternative<std::monostate>(step) &&
          !std::holds_alternative<FollowLeader>(step))
        return step;
      if (renewing && claims.highest) ++claims.highest->beat;
    }
    return {};
  }

  SimClock clock;
  ElectionOptions options;
  ElectionState state;
  Claims claims;
  bool renewing = false;
};

TEST(Election, TheFirstOfTheRosterClaimsAtOnceTheOthersGiveItTime) {
  Bench first, third;
  EXPECT_TRUE(std::holds_alternative<TryClaim>(first.watch(500ms, 0)));
  EXPECT_FALSE(std::holds_alternative<TryClaim>(third.watch(500ms, 2)));
  EXPECT_TRUE(std::holds_alternative<TryClaim>(third.watch(5s, 2)));
}

TEST(Election, ALeaseThatIsRenewedIsNeverTaken) {
  Bench bench;
  bench.claims.highest = Claim{1, "a", 1, "tcp://a:1", 0, false};
  bench.renewing = true;
  EXPECT_TRUE(std::holds_alternative<std::monostate>(bench.watch(120s)));
}

TEST(Election, ALeaseThatStandsStillIsTakenAfterItsBound) {
  Bench bench;
  bench.claims.highest = Claim{7, "a", 1, "tcp://a:1", 41, false};
  EXPECT_TRUE(std::holds_alternative<std::monostate>(bench.watch(4s)));
  const ElectionStep step = bench.watch(10s);
  ASSERT_TRUE(std::holds_alternative<TryClaim>(step));
  EXPECT_EQ(std::get<TryClaim>(step).term, 8);
}

TEST(Election, AClockThatJumpsTakesNoLease) {
  Bench bench;
  bench.claims.highest = Claim{1, "a", 1, "tcp://a:1", 3, false};
  bench.watch(1s);
  bench.clock.advance(1h);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(bench.watch(500ms)))
      << "it has to see the counter stand still several times";
}

TEST(Election, WhoHearsItsLeaderDoesNotEvenLook) {
  Bench bench;
  bench.state.leader = Claim{1, "a", 1, "tcp://a:1", 0, false};
  bench.state.term = 1;
  EXPECT_TRUE(hear_leader(bench.state, 1, bench.clock.now()));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(
      elect_on_tick(bench.state, bench.clock.now() + 1s, false, bench.options)));
  EXPECT_TRUE(std::holds_alternative<ReadDirectory>(
      elect_on_tick(bench.state, bench.clock.now() + 4s, false, bench.options)));
}

TEST(Election, ALowerTermIsNotHeardAndAHigherOneReplacesTheLeader) {
  Bench bench;
  EXPECT_TRUE(hear_leader(bench.state, 4, bench.clock.now()));
  EXPECT_FALSE(hear_leader(bench.state, 3, bench.clock.now()));
  bench.state.leader = Claim{4, "a", 1, "tcp://a:1", 0, false};
  EXPECT_TRUE(hear_leader(bench.state, 5, bench.clock.now()));
  EXPECT_FALSE(bench.state.leader);
}

TEST(Election, AnAbdicatedTermIsTakenWithoutWaitingButNotByWhoAbdicated) {
  Bench other, same;
  other.claims.highest = same.claims.highest = Claim{2, "a", 1, "tcp://a:1", 9, true};
  same.state.not_before = same.clock.now() + 10s;
  EXPECT_TRUE(std::holds_alternative<TryClaim>(other.watch(1s)));
  EXPECT_FALSE(std::holds_alternative<TryClaim>(same.watch(5s)));
}

TEST(Election, AnEndIsSeenBeforeAnythingElse) {
  Bench bench;
  bench.claims.highest = Claim{1, "a", 1, "tcp://a:1", 3, false};
  bench.claims.end = RunEnd{Outcome::Finished, "the recipe is complete"};
  EXPECT_TRUE(std::holds_alternative<SeeEnd>(bench.watch(500ms)));
}

TEST(Election, AClaimThatWasLostOrComesTooLateStartsNothing) {
  Bench bench;
  bench.state.claiming = true;
  EXPECT_FALSE(elect_on_claim(bench.state, 1, false, bench.clock.now()));
  bench.state.claiming = true;
  hear_leader(bench.state, 3, bench.clock.now());
  EXPECT_FALSE(elect_on_claim(bench.state, 2, true, bench.clock.now()));
  bench.state.claiming = true;
  EXPECT_TRUE(elect_on_claim(bench.state, 4, true, bench.clock.now()));
  EXPECT_EQ(bench.state.term, 4);
}

}  // namespace
}  // namespace weft::runtime
