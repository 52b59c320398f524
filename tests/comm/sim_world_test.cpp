// Simulated time: when messages land, that nothing depends on real time or threads, and what peers
// learn of ranks that are gone.
#include "comm/sim/sim_world.h"

#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <vector>

#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using Groups = std::vector<std::unique_ptr<Communicator>>;

Groups groups_of(const SimWorld::Rank& rank, std::vector<GroupSpec> specs = {}) {
  if (specs.empty()) {
    specs.push_back({"all", {}});
    for (int r = 0; r < rank.transport.world_size(); ++r) specs[0].ranks.push_back(r);
  }
  return value_of(rank.transport.make_groups(specs));
}

Duration now_of(const SimWorld::Rank& rank) { return rank.clock.now().time_since_epoch(); }
void sleep(const SimWorld::Rank& rank, Duration time) {
  rank.clock.sleep_until(rank.clock.now() + time);
}

SimOptions links(Duration latency, double bytes_per_second) {
  SimOptions options;
  options.link = [=](int, int) { return SimLink{latency, bytes_per_second}; };
  return options;
}

void expect_error(const Error& error, Code code, std::initializer_list<const char*> parts) {
  EXPECT_EQ(error.code, code) << error.message;
  for (const char* part : parts)
    EXPECT_NE(error.message.find(part), std::string::npos) << error.message;
}

TEST(SimWorld, AMessageLandsAfterItsLatencyAndItsBytes) {
  SimWorld world(2, links(milliseconds(5), 1e6));
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank);
    std::vector<std::byte> data(2000);
    if (rank.rank == 0) {
      sleep(rank, milliseconds(1));
      check(send(*groups[0], 1, 1, data));
      EXPECT_EQ(now_of(rank), milliseconds(3));  // the last byte is out
    } else {
      value_of(receive(*groups[0], 0, 1, data));
      EXPECT_EQ(now_of(rank), milliseconds(8));
    }
  });
  EXPECT_EQ(world.elapsed(), milliseconds(8));
}

TEST(SimWorld, MessagesOfOnePairLeaveOneAfterTheOtherWhateverTheirGroup) {
  SimWorld world(2, links(milliseconds(5), 1e6));
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank, {{"a", {0, 1}}, {"b", {1, 0}}});
    std::vector<std::byte> first(2000), second(3000);
    if (rank.rank == 0) {
      const Request one = groups[0]->start_send(1, 1, first);
      const Request two = groups[1]->start_send(0, 2, second);
      value_of(groups[1]->wait(two));
      EXPECT_EQ(now_of(rank), milliseconds(5));
      value_of(groups[0]->wait(one));
    } else {
      value_of(receive(*groups[1], 1, 2, second));
      EXPECT_EQ(now_of(rank), milliseconds(10));
      value_of(receive(*groups[0], 0, 1, first));  // landed before
      EXPECT_EQ(now_of(rank), milliseconds(10));
    }
  });
}

TEST(SimWorld, MessagesMoveWhileTheirRanksCompute) {
  SimWorld world(2, links(milliseconds(5), 1e6));
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank);
    std::vector<std::byte> data(2000);
    const Request request =
        rank.rank == 0 ? groups[0]->start_send(1, 1, data) : groups[0]->start_receive(0, 1, data);
    sleep(rank, milliseconds(20));
    EXPECT_TRUE(groups[0]->test(request));
    value_of(groups[0]->wait(request));
    EXPECT_EQ(now_of(rank), milliseconds(20));
  });
}

TEST(SimWorld, LongMessagesWaitForTheirReceive) {
  SimOptions options = links(milliseconds(5), 1e6);
  options.eager_bytes_max = 1000;
  SimWorld world(2, options);
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank);
    std::vector<std::byte> data(2000);
    if (rank.rank == 0) {
      check(send(*groups[0], 1, 1, data));
      EXPECT_EQ(now_of(rank), milliseconds(12));
    } else {
      sleep(rank, milliseconds(10));
      value_of(receive(*groups[0], 0, 1, data));
      EXPECT_EQ(now_of(rank), milliseconds(17));
    }
  });
}

TEST(SimWorld, LinksMayDifferByDirection) {
  SimOptions options;
  options.link = [](int from, int) { return SimLink{milliseconds(from == 0 ? 1 : 7), 1e9}; };
  SimWorld world(2, options);
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank);
    check(barrier(*groups[0]));
    EXPECT_EQ(now_of(rank), milliseconds(rank.rank == 0 ? 7 : 1));
  });
}

TEST(SimWorld, ASleepIsExactAndAnEarlierMomentReturnsAtOnce) {
  SimWorld world(3);
  world.run([](const SimWorld::Rank& rank) {
    sleep(rank, seconds(rank.rank + 1) * 1000);
    rank.clock.sleep_until(Instant{});
    EXPECT_EQ(now_of(rank), seconds(rank.rank + 1) * 1000);
  });
  EXPECT_EQ(world.elapsed(), seconds(3000));
}

TEST(SimWorld, EveryRunGivesTheSameOrderOfEverything) {
  const auto story = [] {
    std::string text;  // whoever has the turn writes
    SimOptions options = links(milliseconds(1), 1e6);
    SimWorld world(5, options);
    world.run([&text](const SimWorld::Rank& rank) {
      const auto groups = groups_of(rank);
      for (int round = 0; round < 10; ++round) {
        sleep(rank, milliseconds((rank.rank * 7 + round * 3) % 5));
        std::vector<float> values(static_cast<std::size_t>(round) * 700, 1.0f);
        check(all_reduce_sum(*groups[0], values));
        text += std::to_string(rank.rank) + "@" + std::to_string(now_of(rank).count()) + " ";
      }
    });
    return text + std::to_string(world.elapsed().count());
  };
  const std::string once = story();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(story(), once);
}

TEST(SimWorld, APollingLoopSeesTimeMove) {
  SimWorld world(2, links(milliseconds(5), 1e6));
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank);
    int value = 0;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1));
    if (rank.rank == 0) {
      sleep(rank, milliseconds(3));
      return check(send(*groups[0], 1, 1, bytes));
    }
    const Request request = groups[0]->start_receive(0, 1, bytes);
    EXPECT_FALSE(groups[0]->test(request));
    EXPECT_EQ(now_of(rank), Duration{0});  // one look costs nothing
    while (!groups[0]->test(request)) {
    }
    EXPECT_EQ(now_of(rank), milliseconds(8) + std::chrono::microseconds(4));
    value_of(groups[0]->wait(request));
  });
}

TEST(SimWorld, ABoundOfAMinuteIsAMinuteOfSimulatedTime) {
  SimWorld world(2);
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank);
    if (rank.rank == 1) return sleep(rank, seconds(3600));
    groups[0]->set_serving("F mb 3 dir 0 stage 1");
    std::byte byte{};
    const auto result = receive(*groups[0], 1, 7, {&byte, 1});
    ASSERT_FALSE(result);
    expect_error(result.error(), Code::DeadlineExceeded,
                 {"rank 0 receiving from rank 1", "tag 0x7", "60000 ms", "F mb 3 dir 0 stage 1"});
    EXPECT_EQ(now_of(rank), seconds(60));
  });
}

TEST(SimWorld, ARankThatEndsEarlyStillDeliversAndEndsTheWaitsForMore) {
  SimWorld world(2, links(milliseconds(5), 1e6));
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank);
    std::byte byte{static_cast<std::byte>(rank.rank + 1)};
    if (rank.rank == 0) {
      (void)groups[0]->start_send(1, 1, {&byte, 1});
      return;
    }
    value_of(receive(*groups[0], 0, 1, {&byte, 1}));
    EXPECT_EQ(byte, std::byte{1});
    const auto result = receive(*groups[0], 0, 2, {&byte, 1});
    ASSERT_FALSE(result);
    expect_error(result.error(), Code::Unavailable, {"from rank 0", "has ended"});
  });
  EXPECT_LT(world.elapsed(), milliseconds(6));
}

TEST(SimWorld, EveryWaitWithAKilledRankIsUnavailableAndNamesIt) {
  SimWorld world(3);
  world.kill_at(2, milliseconds(12));
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank, {{"all", {0, 1, 2}}, {"pair", {0, 1}}});
    if (rank.rank == 2) {
      sleep(rank, seconds(1));  // is killed here
      EXPECT_EQ(now_of(rank), milliseconds(12));
      EXPECT_FALSE(barrier(*groups[0]));
      return;
    }
    groups[0]->set_serving("B mb 2 dir 1 stage 0");
    const auto result = barrier(*groups[0]);
    ASSERT_FALSE(result);
    expect_error(result.error(), Code::Unavailable,
                 {"rank 2 was killed at 12.000 ms", "barrier #0", "B mb 2 dir 1 stage 0"});
    EXPECT_EQ(now_of(rank), milliseconds(12));
    check(barrier(*groups[1]));  // a group without it goes on
  });
  EXPECT_EQ(world.elapsed(), milliseconds(12));
}

TEST(SimWorld, AStoppedRankIsFoundByTheBoundAlone) {
  SimWorld world(3);
  world.stop_at(2, milliseconds(12));
  world.run([](const SimWorld::Rank& rank) {
    const auto groups = groups_of(rank);
    if (rank.rank == 2) {
      rank.clock.sleep_until(Instant::max());
      EXPECT_EQ(groups[0]->wait_bound(), milliseconds(60'000));
      std::byte byte{};
      EXPECT_FALSE(receive(*groups[0], 0, 1, {&byte, 1}));
      return;
    }
    std::byte byte{};
    const auto result = receive(*groups[0], 2, 1, {&byte, 1});
    ASSERT_FALSE(result);
    expect_error(result.error(), Code::DeadlineExceeded, {"from rank 2"});
    EXPECT_EQ(now_of(rank), seconds(60));
  });
}

TEST(SimWorld, GroupsNamedDifferentlyFailWithBothNames) {
  SimWorld world(2);
  world.run([](const SimWorld::Rank& rank) {
    const auto first = rank.transport.make_groups(std::vector<GroupSpec>{
        rank.rank == 0 ? GroupSpec{"dense", {0, 1}} : GroupSpec{"expert", {1, 0}}});
    if (rank.rank == 0) {
      const auto result = barrier(*first->at(0));
      ASSERT_FALSE(result);
      expect_error(result.error(), Code::Unavailable, {"dense {0, 1}", "expert {1, 0}"});
    } else {
      ASSERT_FALSE(first);
      expect_error(first.error(), Code::InvalidArgument, {"dense {0, 1}", "expert {1, 0}"});
    }
  });
}

}  // namespace
}  // namespace weft::comm
