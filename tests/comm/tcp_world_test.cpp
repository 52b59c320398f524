// What a world over TCP promises beside what every transport does: who is let in, who is named when
// it does not form, how it ends from outside, and what a cut link does.
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>

#include "comm/tcp/tcp_handshake.h"
#include "comm/tcp/tcp_socket.h"
#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

/// Connects as anybody can, and waits until it may write.
Socket call(const std::string& endpoint) {
  Socket socket = std::move(*begin_connect(endpoint));
  pollfd waiting{socket.get(), POLLOUT, 0};
  EXPECT_EQ(::poll(&waiting, 1, 30'000), 1);
  EXPECT_EQ(connect_error(socket.get()), 0);
  return socket;
}

void say(const Socket& socket, const void* bytes, std::size_t count) {
  EXPECT_EQ(::send(socket.get(), bytes, count, MSG_NOSIGNAL), static_cast<ssize_t>(count));
}

/// How many bytes come before the other side closes.
std::size_t bytes_until_closed(const Socket& socket) {
  std::size_t total = 0;
  for (;;) {
    pollfd waiting{socket.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 30'000) != 1) ADD_FAILURE() << "it is not closed";
    char bytes[4096];
    const ssize_t count = ::recv(socket.get(), bytes, sizeof bytes, 0);
    if (count <= 0) return total;
    total += static_cast<std::size_t>(count);
  }
}

TcpIdentity identity(const TcpWorldOptions& options, int rank) {
  return {options.secret, run_digest(options.run), options.generation, rank,
          static_cast<int>(options.endpoints.size())};
}

/// Both ranks of a world of two join, `changed` one of them with other options; what each says.
std::vector<Expected<void>> join_two(TcpRanks& ranks, int changed,
                                     const std::function<void(TcpWorldOptions&)>& change,
                                     milliseconds bound = milliseconds(400)) {
  std::vector<Expected<void>> results(2);
  {
    std::vector<std::jthread> threads;
    for (int r = 0; r < 2; ++r)
      threads.emplace_back([&, r] {
        TcpWorldOptions own = ranks.options;
        own.rank = r;
        own.join_bound = bound;
        if (r == changed) change(own);
        auto transport = ranks.listening[static_cast<std::size_t>(r)].join(own);
        if (!transport)
          results[static_cast<std::size_t>(r)] = tl::unexpected<Error>(transport.error());
      });
  }
  return results;
}

void expect_names(const Expected<void>& result, Code code, const std::vector<std::string>& parts) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, code) << result.error().message;
  for (const std::string& part : parts)
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

TEST(TcpWorld, WhoDoesNotKnowTheSecretIsNamedAndNotLetIn) {
  TcpRanks ranks(2, false);
  const auto results =
      join_two(ranks, 1, [](TcpWorldOptions& own) { own.secret = draw_tcp_secret(); });
  expect_names(results[0], Code::DeadlineExceeded,
               {"rank 1", ranks.options.endpoints[1], "does not know this world's secret"});
  expect_names(results[1], Code::DeadlineExceeded,
               {"rank 0", ranks.options.endpoints[0], "it has not connected"});
}

TEST(TcpWorld, AStaleGenerationIsRefusedAndToldWhich) {
  for (const int stale : {0, 1}) {
    TcpRanks ranks(2, false);
    const auto results = join_two(ranks, stale, [](TcpWorldOptions& own) { own.generation = 6; });
    expect_names(results[0], Code::Unavailable,
                 {"rank 1", "refuses", "generation " + std::to_string(stale == 0 ? 7 : 6),
                  "this rank of " + std::to_string(stale == 0 ? 6 : 7)});
    expect_names(results[1], Code::DeadlineExceeded, {"proved nothing"});
  }
}

TEST(TcpWorld, ARankOfAnotherRunOrWithAnotherTableIsRefused) {
  TcpRanks ranks(2, false);
  const auto other = join_two(ranks, 0, [](TcpWorldOptions& own) { own.run = "another"; });
  expect_names(other[0], Code::Unavailable, {"rank 1", "of another run"});
  TcpRanks three(3, false);  // the table says that rank 1 is where rank 2 is
  TcpWorldOptions own = three.options;
  std::swap(own.endpoints[1], own.endpoints[2]);
  std::jthread second([&] {
    TcpWorldOptions of_two = three.options;
    of_two.rank = 2;
    of_two.join_bound = milliseconds(400);
    EXPECT_FALSE(three.listening[2].join(of_two));
  });
  auto transport = three.listening[0].join(own);
  ASSERT_FALSE(transport);
  EXPECT_NE(transport.error().message.find("another rank than"), std::string::npos)
      << transport.error().message;
}

// Whatever strangers do meanwhile, the world forms, and what they sent is answered at most once.
TEST(TcpWorld, StrangersAreDroppedAndCountedAndKeepNobodyOut) {
  TcpRanks ranks(2, false);
  const std::string& target = ranks.options.endpoints[1];
  std::vector<Socket> silent;
  for (int i = 0; i < 5; ++i) silent.push_back(call(target));
  Socket noise = call(target), half = call(target), liar = call(target), replay = call(target);
  const std::string bytes(4000, 'x');
  say(noise, bytes.data(), bytes.size());
  const TcpHello hello = make_hello(identity(ranks.options, 0), 1);
  say(half, &hello, 40);
  // Who only claims to be rank 0: the answer is a challenge, and a wrong proof ends it.
  TcpIdentity claim = identity(ranks.options, 0);
  claim.secret = draw_tcp_secret();
  const TcpHello lie = make_hello(claim, 1);
  say(liar, &lie, sizeof lie);
  say(liar, bytes.data(), sizeof(TcpDigest));
  // What rank 0 once said, without what only it can say to the new challenge.
  say(replay, &hello, sizeof hello);
  say(replay, &hello, sizeof(TcpDigest));
  std::vector<std::jthread> threads;
  for (int r = 1; r >= 0; --r)
    threads.emplace_back([&, r] {
      if (r == 0) {  // not before the strangers have been seen to
        EXPECT_EQ(bytes_until_closed(noise), 0u);
        EXPECT_EQ(bytes_until_closed(liar), sizeof(TcpAnswer));
        EXPECT_EQ(bytes_until_closed(replay), sizeof(TcpAnswer));
      }
      auto transport = ranks.join(r);
      ASSERT_TRUE(transport) << transport.error().message;
      run_rank(**transport, [](Communicator& group) { check(barrier(group)); });
    });
  threads.clear();
  EXPECT_EQ(ranks.listening[1].num_strangers(), 3);
}

TEST(TcpWorld, WhoDoesNotComeIsNamedWithItsAddress) {
  TcpRanks ranks(3, false);
  const auto join = [&](int rank) {
    TcpWorldOptions own = ranks.options;
    own.rank = rank;
    own.join_bound = milliseconds(300);
    const auto transport = ranks.listening[static_cast<std::size_t>(rank)].join(own);
    ASSERT_FALSE(transport);
    const std::string& message = transport.error().message;
    EXPECT_EQ(transport.error().code, Code::DeadlineExceeded) << message;
    for (const std::string& part : {"rank " + std::to_string(rank) + " waited 300 ms",
                                    std::string("rank 2 at "), ranks.options.endpoints[2]})
      EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  std::jthread other([&] { join(1); });
  join(0);
}

TEST(TcpWorld, OptionsThatCannotBeAreRefused) {
  const auto refused = [](const std::function<void(TcpWorldOptions&)>& change) {
    TcpRanks ranks(2, false);
    change(ranks.options);
    const auto transport = ranks.listening[0].join(ranks.options);
    ASSERT_FALSE(transport);
    EXPECT_EQ(transport.error().code, Code::InvalidArgument) << transport.error().message;
  };
  refused([](TcpWorldOptions& o) { o.endpoints.clear(); });
  refused([](TcpWorldOptions& o) { o.rank = 2; });
  refused([](TcpWorldOptions& o) { o.node_of_rank = {0}; });
  refused([](TcpWorldOptions& o) { o.node_of_rank = {0, 0}; });  // and no shared memory for two
  refused([](TcpWorldOptions& o) { o.secret = {}; });
  refused([](TcpWorldOptions& o) { o.run = std::string(300, 'r'); });
  for (const char* host : {"0.0.0.0", "::", "no such host", "192.0.2.1"})
    EXPECT_FALSE(TcpWorld::listen(host)) << host;
  const auto first = TcpWorld::listen();
  ASSERT_TRUE(first);
  const int port = std::stoi(first->endpoint().substr(first->endpoint().rfind(':') + 1));
  const auto second = TcpWorld::listen("127.0.0.1", port);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::Busy);
}

TEST(TcpWorld, ListensOnLoopbackUnlessToldOtherwiseAndOnlyUntilItHasFormed) {
  TcpRanks ranks(2, false);
  EXPECT_TRUE(ranks.options.endpoints[0].starts_with("127.0.0.1:"));
  std::vector<std::jthread> threads;
  for (int r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      auto transport = ranks.join(r);
      ASSERT_TRUE(transport) << transport.error().message;
      run_rank(**transport, [&](Communicator& group) {
        check(barrier(group));
        auto socket = begin_connect(ranks.options.endpoints[static_cast<std::size_t>(r)]);
        if (!socket) return;
        pollfd waiting{socket->get(), POLLOUT, 0};
        ASSERT_EQ(::poll(&waiting, 1, 30'000), 1);
        EXPECT_EQ(connect_error(socket->get()), ECONNREFUSED);
      });
    });
}

TEST(TcpWorld, AnAbortOfANodeEndsItsWaitsAndItsJoinsWithTheReason) {
  TcpRanks ranks(3, true);
  ranks.options.join_bound = milliseconds(60'000);
  std::vector<std::jthread> threads;
  std::atomic<int> waiting{0};
  for (int r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      const auto transport = ranks.join(r);  // rank 2 never comes
      ASSERT_FALSE(transport);
      EXPECT_NE(transport.error().message.find("rank 2 ran out of memory"), std::string::npos)
          << transport.error().message;
    });
  for (LocalWorld& node : ranks.nodes) node.abort("rank 2 ran out of memory");
  threads.clear();

  TcpRanks again(2, true);
  for (int r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      auto transport = again.join(r);
      ASSERT_TRUE(transport) << transport.error().message;
      run_rank(**transport, [&](Communicator& group) {
        check(barrier(group));
        ++waiting;
        std::byte byte{};
        const auto result = receive(group, 1 - r, 3, {&byte, 1});
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, Code::Unavailable);
        EXPECT_NE(result.error().message.find("the agent says so"), std::string::npos)
            << result.error().message;
        ++waiting;  // none leaves before both have looked
        while (waiting.load() < 4) std::this_thread::sleep_for(milliseconds(1));
      });
    });
  while (waiting.load() < 2) std::this_thread::sleep_for(milliseconds(1));
  for (LocalWorld& node : again.nodes) node.abort("the agent says so");
}

TEST(TcpWorld, WhoLeavesInGoodOrderIsMissedOnlyByWhoExpectsSomething) {
  run_transports(Mode::tcp, 3, [](Transport& transport) {
    const std::vector<GroupSpec> specs{{"all", {0, 1, 2}}, {"stay", {0, 1}}};
    auto groups = value_of(transport.make_groups(specs));
    const std::vector<std::byte> last(300'000, std::byte{5});
    if (transport.world_rank() == 2) {
      check(send(*groups[0], 0, 1, last));
      check(send(*groups[0], 1, 1, last));
      return;
    }
    std::vector<std::byte> into(last.size());
    std::this_thread::sleep_for(milliseconds(20));  // it has left by now, most likely
    EXPECT_EQ(value_of(receive(*groups[0], 2, 1, into)), last.size());
    EXPECT_EQ(into, last);
    for (int i = 0; i < 5; ++i) check(barrier(*groups[1]));
    const auto more = receive(*groups[0], 2, 2, into);
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().code, Code::Unavailable);
    EXPECT_NE(more.error().message.find("has left the world"), std::string::npos)
        << more.error().message;
    check(barrier(*groups[1]));
  });
}

TEST(TcpWorld, RanksThatNameOtherGroupsAreTold) {
  run_transports(Mode::tcp, 2, [](Transport& transport) {
    const GroupSpec spec{transport.world_rank() == 0 ? "left" : "right", {0, 1}};
    const auto groups = transport.make_groups(std::span(&spec, 1));
    ASSERT_FALSE(groups);
    EXPECT_EQ(groups.error().code, Code::InvalidArgument);
    for (const char* name : {"left", "right"})
      EXPECT_NE(groups.error().message.find(name), std::string::npos) << groups.error().message;
  });
}

// A sender that is far ahead stops at the window of its group; other groups of the pair go on.
TEST(TcpWorld, AGroupThatNobodyReceivesInIsInNobodysWay) {
  run_transports(Mode::tcp, 2, [](Transport& transport) {
    const std::vector<GroupSpec> specs{{"full", {0, 1}}, {"busy", {0, 1}}};
    auto groups = value_of(transport.make_groups(specs));
    const std::vector<std::byte> big(8 << 20, std::byte{1});
    std::vector<std::byte> into(big.size());
    std::vector<Request> sends;
    if (transport.world_rank() == 0) sends.push_back(groups[0]->start_send(1, 1, big));
    for (int i = 0; i < 50; ++i) check(barrier(*groups[1]));
    double sum = 1;
    check(all_reduce_sum(*groups[1], std::span(&sum, 1)));
    if (transport.world_rank() == 0) return (void)value_of(groups[0]->wait(sends[0]));
    EXPECT_EQ(value_of(receive(*groups[0], 0, 1, into)), big.size());
    EXPECT_EQ(into, big);
  });
}

/// Two network namespaces with one link between them; the calling process moves to the first, its
/// child, which runs `far`, to the second. False, with a reason, where that is not permitted.
class TwoHosts {
 public:
  /// In a process of its own.
  static std::string enter() {
    const bool root = ::geteuid() == 0;
    if (::unshare(CLONE_NEWNET | (root ? 0 : CLONE_NEWUSER)) != 0)
      return std::string("no network namespace: ") + std::strerror(errno);
    return {};
  }
  static bool ip(const std::string& arguments) {
    return std::system(("ip " + arguments + " >/dev/null 2>&1").c_str()) == 0;
  }
};

constexpr int kSkip = 77;

/// Rank 0, in the first namespace, which also cuts the link.
void near_side(TcpWorldOptions options, const SharedCounters& counters) {
  auto world = TcpWorld::listen("10.77.0.1", 4711);
  ASSERT_TRUE(world) << world.error().message;
  counters.at(0)->store(1);
  while (counters.at(1)->load() == 0) std::this_thread::sleep_for(milliseconds(1));
  auto transport = world->join(options);
  ASSERT_TRUE(transport) << transport.error().message;
  run_rank(**transport, [&](Communicator& group) {
    std::vector<std::byte> bytes(3 << 20);
    check(barrier(group));
    // Cut off, and back within the bound: nothing is lost.
    ASSERT_TRUE(TwoHosts::ip("link set near down"));
    const Request request = group.start_send(1, 1, bytes);
    std::this_thread::sleep_for(milliseconds(100));
    ASSERT_TRUE(TwoHosts::ip("link set near up"));
    value_of(group.wait(request));
    check(barrier(group));
    // Cut off for good.
    ASSERT_TRUE(TwoHosts::ip("link set near down"));
    group.set_wait_bound(milliseconds(300));
    group.set_serving("F mb 3 dir 0 stage 1");
    expect_names(barrier(group), Code::DeadlineExceeded,
                 {"rank 0", "rank 1", "barrier", "F mb 3 dir 0 stage 1"});
    counters.at(2)->fetch_add(1);
    while (counters.at(2)->load() < 2) std::this_thread::sleep_for(milliseconds(1));
  });
}

void far_side(TcpWorldOptions options, const SharedCounters& counters) {
  auto world = TcpWorld::listen("10.77.0.2", 4711);
  ASSERT_TRUE(world) << world.error().message;
  counters.at(1)->store(1);
  while (counters.at(0)->load() == 0) std::this_thread::sleep_for(milliseconds(1));
  options.rank = 1;
  auto transport = world->join(options);
  ASSERT_TRUE(transport) << transport.error().message;
  run_rank(**transport, [&](Communicator& group) {
    std::vector<std::byte> bytes(3 << 20);
    check(barrier(group));
    EXPECT_EQ(value_of(receive(group, 0, 1, bytes)), bytes.size());
    check(barrier(group));
    group.set_wait_bound(milliseconds(300));
    std::byte byte{};
    const auto result = receive(group, 0, 9, {&byte, 1});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::DeadlineExceeded) << result.error().message;
    EXPECT_NE(result.error().message.find("receiving from rank 0, tag 0x9"), std::string::npos);
    counters.at(2)->fetch_add(1);
    while (counters.at(2)->load() < 2) std::this_thread::sleep_for(milliseconds(1));
  });
}

TEST(TcpWorld, ACutLinkEndsAWaitInTimeWithTheNamesAndAShortCutNone) {
  const SharedCounters counters;
  TcpWorldOptions options;
  options.run = "two hosts";
  options.secret = draw_tcp_secret();
  options.endpoints = {"10.77.0.1:4711", "10.77.0.2:4711"};
  const pid_t first = fork_rank([&] {
    const auto skip = [](const std::string& why) {
      std::fprintf(stderr, "%s\n", why.c_str());
      std::fflush(nullptr);
      ::_exit(kSkip);
    };
    if (const std::string why = TwoHosts::enter(); !why.empty()) skip(why);
    const pid_t second = fork_rank([&] {
      if (::unshare(CLONE_NEWNET) != 0) ::_exit(kSkip);
      counters.at(3)->store(1);
      while (counters.at(4)->load() == 0) std::this_thread::sleep_for(milliseconds(1));
      if (counters.at(4)->load() == 2) ::_exit(kSkip);
      ASSERT_TRUE(TwoHosts::ip("addr add 10.77.0.2/24 dev far && ip link set far up"));
      far_side(options, counters);
    });
    while (counters.at(3)->load() == 0) std::this_thread::sleep_for(milliseconds(1));
    const std::string pid = std::to_string(second);
    if (!TwoHosts::ip("link add near type veth peer name far netns " + pid +
                      " && ip addr add 10.77.0.1/24 dev near && ip link set near up")) {
      counters.at(4)->store(2);
      exit_status(second);
      skip("no virtual link between namespaces (is `ip` there, and are veth links permitted?)");
    }
    counters.at(4)->store(1);
    near_side(options, counters);
    EXPECT_EQ(exit_status(second), 0);
  });
  const int status = exit_status(first);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kSkip)
    GTEST_SKIP() << "two network namespaces are not permitted here; see the reason above";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace weft::comm
