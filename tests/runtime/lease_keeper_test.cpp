// A leader's lease is renewed beside its work, and what could not be written renews nothing; once
// somebody else leads, nothing more is done.
#include "runtime/coordinator_shell/lease_keeper.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/coordinator_shell/fence.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;

Claim claim_of(std::int64_t beat) {
  Claim claim;
  claim.term = 3;
  claim.beat = beat;
  return claim;
}

/// A directory whose writes the test lets through. Shared with threads that outlive the test's
/// hands.
struct Directory {
  std::mutex mutex;  // held: a write hangs
  std::vector<std::int64_t> beats;
  std::atomic<int> begun{0};
  std::int64_t highest = 3;
  bool full = false;

  Expected<std::int64_t> write(const Claim& claim) {
    ++begun;
    const std::lock_guard lock(mutex);
    if (full) return fail(Code::Io, "no space left on device");
    beats.push_back(claim.beat);
    return highest;
  }
};

class LeaseKeeping : public testing::Test {
 protected:
  LeaseKeeper keeper() {
    return LeaseKeeper([d = directory](const Claim& claim) { return d->write(claim); }, clock);
  }
  static std::optional<LeaseKeeper::Renewal> wait_for(LeaseKeeper& keeper) {
    for (const auto end = std::chrono::steady_clock::now() + 60s;
         std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(1ms))
      if (auto renewal = keeper.take()) return renewal;
    return std::nullopt;
  }
  void wait_until_begun(int writes) const {
    for (const auto end = std::chrono::steady_clock::now() + 60s;
         directory->begun < writes && std::chrono::steady_clock::now() < end;)
      std::this_thread::sleep_for(1ms);
    ASSERT_GE(directory->begun, writes);
  }
  SystemClock clock;
  std::shared_ptr<Directory> directory = std::make_shared<Directory>();
};

TEST_F(LeaseKeeping, ARenewalSaysWhichTermTheDirectoryShowsAndWhenItBegan) {
  LeaseKeeper kept = keeper();
  directory->highest = 5;
  EXPECT_FALSE(kept.take());
  const Instant before = clock.now();
  kept.renew(claim_of(1));
  const auto renewal = wait_for(kept);
  ASSERT_TRUE(renewal && renewal->highest_term);
  EXPECT_EQ(*renewal->highest_term, 5);
  EXPECT_GE(renewal->begun, before);
  EXPECT_LE(renewal->begun, clock.now());
  EXPECT_FALSE(kept.take()) << "it is told once";
}

TEST_F(LeaseKeeping, AWriteThatHangsDelaysNobodyAndRenewsNothing) {
  LeaseKeeper kept = keeper();
  std::unique_lock hangs(directory->mutex);
  kept.renew(claim_of(1));
  wait_until_begun(1);
  const Instant later = clock.now();
  for (int beat = 2; beat <= 9; ++beat) kept.renew(claim_of(beat));  // comes back: this test ends
  EXPECT_FALSE(kept.take());
  hangs.unlock();
  const auto first = wait_for(kept);
  ASSERT_TRUE(first);
  if (first->begun < later) {
    ASSERT_TRUE(wait_for(kept));
  }
  EXPECT_EQ(directory->beats, (std::vector<std::int64_t>{1, 9})) << "only the newest was written";
}

TEST_F(LeaseKeeping, AnErrorIsHandedOnAndTheNextWriteMayWork) {
  LeaseKeeper kept = keeper();
  directory->full = true;
  kept.renew(claim_of(1));
  const auto failed = wait_for(kept);
  ASSERT_TRUE(failed);
  ASSERT_FALSE(failed->highest_term);
  EXPECT_EQ(failed->highest_term.error().code, Code::Io);
  directory->full = false;
  kept.renew(claim_of(2));
  const auto renewal = wait_for(kept);
  EXPECT_TRUE(renewal && renewal->highest_term);
}

TEST_F(LeaseKeeping, TheLastWordIsWrittenLast) {
  LeaseKeeper kept = keeper();
  for (int beat = 1; beat <= 5; ++beat) kept.renew(claim_of(beat));
  EXPECT_TRUE(kept.finish(claim_of(6), 60s));
  EXPECT_EQ(directory->beats.back(), 6);
  directory->full = true;
  EXPECT_FALSE(kept.finish(claim_of(7), 60s));
}

TEST_F(LeaseKeeping, AWriteThatHangsKeepsNobodyFromLeaving) {
  std::unique_lock hangs(directory->mutex);
  {
    LeaseKeeper kept = keeper();
    kept.renew(claim_of(1));
    wait_until_begun(1);
    EXPECT_FALSE(kept.finish(claim_of(2), 1ms));
  }
  hangs.unlock();
}

TEST(Fence, WithoutALaterTermWhatWasDecidedIsDoneInItsOrder) {
  std::deque<CoordinatorAction> waiting = {ClaimGeneration{4}, ListCheckpoints{}};
  EXPECT_FALSE(look_for_successor(3, 3, waiting));
  EXPECT_FALSE(look_for_successor(3, 2, waiting)) << "a directory that shows less than was seen";
  ASSERT_EQ(waiting.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<ClaimGeneration>(waiting.front()));
}

TEST(Fence, WithALaterTermNothingIsDoneAnyMoreButSteppingDown) {
  std::deque<CoordinatorAction> waiting = {ClaimGeneration{4}, RecordEnd{}};
  const auto seen = look_for_successor(3, 4, waiting);
  ASSERT_TRUE(seen);
  EXPECT_TRUE(waiting.empty());
  const CoordinatorOptions options;
  CoordinatorState state = start_state(2, Instant{}, options);
  state.term = 3;
  const Decision decision = decide(std::move(state), *seen, Instant{} + 1s, options);
  ASSERT_EQ(decision.actions.size(), 1u);
  ASSERT_TRUE(std::holds_alternative<StepDown>(decision.actions.front()));
  EXPECT_FALSE(std::get<StepDown>(decision.actions.front()).abdicated);
  EXPECT_TRUE(decision.state.deposed);
}

}  // namespace
}  // namespace weft::runtime
