// Shared memory between processes when something goes wrong: killed, silent, mistaken and
// malicious peers.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <set>

#include "comm/local/ring.h"
#include "comm/local/shared_world.h"
#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Set by children, read by the parent.
class Flag {
 public:
  Flag()
      : memory_(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        count_(new (memory_) std::atomic<int>(0)) {}
  ~Flag() { ::munmap(memory_, 4096); }
  Flag(const Flag&) = delete;
  Flag& operator=(const Flag&) = delete;
  void raise() { count_->fetch_add(1); }
  void wait_for(int count) const {
    while (count_->load() < count) std::this_thread::sleep_for(milliseconds(1));
  }

 private:
  void* memory_;
  std::atomic<int>* count_;
};

std::set<std::string> names_in_dev_shm() {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", error))
    if (const std::string name = entry.path().filename();
        !name.starts_with("vader_segment") && !name.starts_with("weft-"))  // others' runs
      names.insert(name);
  return names;
}

LocalWorld world_of(int size) {
  auto world = LocalWorld::create(size);
  EXPECT_TRUE(world) << world.error().message;
  return std::move(*world);
}

/// Ranks 0..n-2 run `body`; rank n-1 raises the flag and then does nothing for ever.
struct SilentPeer {
  LocalWorld world;
  Flag ready;
  std::vector<pid_t> pids;

  SilentPeer(int n, const RankBody& body) : world(world_of(n)) {
    for (int r = 0; r < n; ++r)
      pids.push_back(fork_rank([this, n, r, body] {
        join_and_run(world, r, [this, n, &body](Communicator& group) {
          check(barrier(group));
          ready.raise();
          while (group.rank() == n - 1) ::pause();
          body(group);
        });
      }));
    ready.wait_for(n);
  }
};

TEST(LocalWorld, AnAbortAfterAKilledPeerEndsEveryWaitWithItsReason) {
  const auto before = names_in_dev_shm();
  {
    SilentPeer run(4, [](Communicator& group) {
      int value = 0;
      const auto result = receive(group, 3, 1, std::as_writable_bytes(std::span(&value, 1)));
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, Code::Unavailable);
      EXPECT_NE(result.error().message.find("rank 3 was killed by signal 9"), std::string::npos)
          << result.error().message;
    });
    ::kill(run.pids[3], SIGKILL);
    EXPECT_TRUE(WIFSIGNALED(exit_status(run.pids[3])));
    const auto begin = steady_clock::now();
    run.world.abort("rank 3 was killed by signal 9");
    run.world.abort("a later reason");
    for (int r = 0; r < 3; ++r) EXPECT_EQ(exit_status(run.pids[static_cast<std::size_t>(r)]), 0);
    // Not a measurement: the waits themselves are bounded by a minute.
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(30));
    EXPECT_TRUE(run.world.aborted());
  }
  EXPECT_EQ(names_in_dev_shm(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(LocalWorld, AStoppedPeerIsADeadlineExceeded) {
  SilentPeer run(3, [](Communicator& group) {
    group.set_wait_bound(milliseconds(200));
    group.set_serving("B mb 2 dir 1 stage 0");
    // More than the ring takes: sending waits for the silent peer, too.
    const std::vector<std::byte> big(std::size_t{3} << 20);
    const auto result = group.rank() == 0 ? send(group, 2, 1, big) : barrier(group);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::DeadlineExceeded);
    for (const char* part : {"200 ms", "B mb 2 dir 1 stage 0", group.rank() == 0 ? "rank 2" : ""})
      EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  });
  ::kill(run.pids[2], SIGSTOP);
  EXPECT_EQ(exit_status(run.pids[0]), 0);
  EXPECT_EQ(exit_status(run.pids[1]), 0);
  ::kill(run.pids[2], SIGKILL);
  exit_status(run.pids[2]);
}

TEST(LocalWorld, ADroppedReceiveIsNotWrittenToLater) {
  run_ranks(Mode::threads, 2, [](Communicator& group) {
    static std::atomic<bool> gave_up;
    int value = 1;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1));
    if (group.rank() == 1) {
      while (!gave_up.load()) std::this_thread::yield();
      check(send(group, 0, 1, bytes));
      return;
    }
    group.set_wait_bound(milliseconds(20));
    EXPECT_FALSE(receive(group, 1, 1, bytes));
    gave_up.store(true);
    std::this_thread::sleep_for(milliseconds(20));
    EXPECT_FALSE(receive(group, 1, 1, bytes));
    EXPECT_EQ(value, 1);
  });
}

TEST(LocalWorld, GroupsNamedDifferentlyFailWithBothNames) {
  LocalWorld world = world_of(2);
  auto first = world.join(0), second = world.join(1);
  const GroupSpec dense{"dense", {0, 1}}, expert{"expert", {1, 0}};
  ASSERT_TRUE((*first)->make_groups(std::span(&dense, 1)));
  const auto result = (*second)->make_groups(std::span(&expert, 1));
  ASSERT_FALSE(result);
  for (const char* part : {"dense {0, 1}", "expert {1, 0}", "rank 0", "rank 1"})
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  EXPECT_TRUE(world.aborted());
}

TEST(LocalWorld, GroupsOfSomeRanksAreNullForTheOthers) {
  LocalWorld world = world_of(4);
  const std::vector<GroupSpec> specs{{"even", {2, 0}}, {"odd", {1, 3}}, {"all", {3, 2, 1, 0}}};
  std::vector<std::jthread> ranks;
  for (int r = 0; r < 4; ++r)
    ranks.emplace_back([&world, &specs, r] {
      auto transport = value_of(world.join(r));
      auto groups = value_of(transport->make_groups(specs));
      ASSERT_EQ(groups.size(), 3u);
      EXPECT_EQ(groups[0] != nullptr, r % 2 == 0);
      EXPECT_EQ(groups[1] != nullptr, r % 2 == 1);
      EXPECT_EQ(groups[2]->rank(), 3 - r);
      Communicator& pair = r % 2 == 0 ? *groups[0] : *groups[1];
      const auto names = value_of(all_gather_text(pair, std::to_string(r)));
      EXPECT_EQ(names[static_cast<std::size_t>(pair.rank())], std::to_string(r));
      EXPECT_EQ(names, r % 2 == 0 ? (std::vector<std::string>{"2", "0"})
                                  : (std::vector<std::string>{"1", "3"}));
      check(barrier(*groups[2]));
    });
}

/// `body` on every rank of a world, each a thread, with its transport.
void with_transports(int size, const std::function<void(std::unique_ptr<Transport>)>& body) {
  LocalWorld world = world_of(size);
  std::vector<std::jthread> ranks;
  for (int r = 0; r < size; ++r)
    ranks.emplace_back([&world, &body, r] { body(value_of(world.join(r))); });
}

const std::vector<GroupSpec> kTwoGroups{{"pipeline", {0, 1}}, {"experts", {1, 0}}};

TEST(LocalTransport, AWaitInOneGroupMovesTheMessagesOfEveryOther) {
  with_transports(2, [](std::unique_ptr<Transport> transport) {
    auto groups = value_of(transport->make_groups(kTwoGroups));
    Communicator &pipeline = *groups[0], &experts = *groups[1];
    const int peer = 1 - pipeline.rank();
    for (const bool first_group_first : {true, false}) {
      // More than any ring takes, in both groups and both directions: rank 0 waits for its receive
      // in the second group, which rank 1 sends only after a receive in the first.
      std::vector<std::byte> out(std::size_t{5} << 20, std::byte(pipeline.rank() + 1)), in(out);
      Communicator& pending = first_group_first ? pipeline : experts;
      Communicator& waited = first_group_first ? experts : pipeline;
      const int to = 1 - pending.rank();
      const Request receive_there = pending.start_receive(to, 1, in);
      const Request send_there = pending.start_send(to, 1, out);
      if (pipeline.rank() == 1) {
        EXPECT_EQ(value_of(pending.wait(receive_there)), in.size());
        check(send(waited, 1 - waited.rank(), 2, out));
      } else {
        std::vector<std::byte> more(out.size());
        EXPECT_EQ(value_of(receive(waited, 1 - waited.rank(), 2, more)), out.size());
        EXPECT_EQ(more.back(), std::byte(peer + 1));
        EXPECT_TRUE(pending.test(send_there)) << "rank 1 had all of it before it sent";
        EXPECT_EQ(value_of(pending.wait(receive_there)), in.size());
      }
      value_of(pending.wait(send_there));
      EXPECT_EQ(in, std::vector<std::byte>(out.size(), std::byte(peer + 1)));
    }
  });
}

TEST(LocalTransport, AFaultStaysInItsGroup) {
  with_transports(2, [](std::unique_ptr<Transport> transport) {
    auto groups = value_of(transport->make_groups(kTwoGroups));
    Communicator &pipeline = *groups[0], &experts = *groups[1];
    std::byte byte{};
    const Request sent = experts.start_send(1 - experts.rank(), 5, {&byte, 1});
    const Request wrong = experts.start_receive(1 - experts.rank(), 6, {&byte, 1});
    check(barrier(pipeline));
    check(barrier(pipeline));
    const auto result = experts.wait(wrong);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Corrupt);
    (void)experts.wait(sent);
    check(barrier(pipeline));
  });
}

TEST(LocalTransport, GroupsEndInAnyOrderAndOutliveTheTransport) {
  for (const bool first : {true, false}) {
    with_transports(2, [first](std::unique_ptr<Transport> transport) {
      auto groups = value_of(transport->make_groups(kTwoGroups));
      transport.reset();
      auto &ended = groups[first ? 0 : 1], &kept = groups[first ? 1 : 0];
      {
        std::vector<std::byte> dropped(std::size_t{3} << 20);
        (void)ended->start_send(1 - ended->rank(), 1, dropped);
        (void)ended->start_receive(1 - ended->rank(), 1, dropped);
        ended.reset();
      }
      check(barrier(*kept));
    });
  }
}

TEST(LocalWorld, RefusesRanksAndGroupsThatCannotBe) {
  EXPECT_EQ(LocalWorld::create(0).error().code, Code::InvalidArgument);
  LocalWorld world = world_of(2);
  EXPECT_EQ(world.join(2).error().code, Code::InvalidArgument);
  EXPECT_EQ(world.join(-1).error().code, Code::InvalidArgument);
  auto transport = value_of(world.join(0));
  EXPECT_EQ(world.join(0).error().code, Code::InvalidArgument);  // taken
  for (const auto& ranks : std::vector<std::vector<int>>{{}, {0, 0}, {0, 2}, {-1}}) {
    const GroupSpec spec{"wrong", ranks};
    const auto result = transport->make_groups(std::span(&spec, 1));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::InvalidArgument);
    EXPECT_NE(result.error().message.find("wrong"), std::string::npos);
  }
}

TEST(LocalWorld, ADescriptorOfSomethingElseIsCorrupt) {
  EXPECT_EQ(LocalWorld::attach(-1).error().code, Code::Corrupt);
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  EXPECT_EQ(LocalWorld::attach(pipe[0]).error().code, Code::Corrupt);
  ::close(pipe[0]);
  ::close(pipe[1]);
  const int file = ::memfd_create("other", 0);
  EXPECT_EQ(LocalWorld::attach(file).error().code, Code::Corrupt);
  ASSERT_EQ(::ftruncate(file, static_cast<off_t>(kWorldBytes)), 0);
  EXPECT_EQ(LocalWorld::attach(file).error().code, Code::Corrupt);
  ::close(file);
}

TEST(LocalWorld, ItsDescriptorSurvivesExecOnlyUntilAChildAttaches) {
  LocalWorld world = world_of(1);
  EXPECT_EQ(::fcntl(world.descriptor(), F_GETFD) & FD_CLOEXEC, 0);
  const int copy = ::dup(world.descriptor());
  auto attached = LocalWorld::attach(copy);
  ASSERT_TRUE(attached);
  EXPECT_NE(::fcntl(copy, F_GETFD) & FD_CLOEXEC, 0);
  ::close(copy);
  EXPECT_EQ(attached->world_size(), 1);
}

/// Rank 1's ring to rank 0, scribbled on by `damage` as a broken peer would.
void expect_corrupt(const std::function<void(RingControl&, std::byte*)>& damage) {
  LocalWorld world = world_of(2);
  const GroupSpec spec{"all", {0, 1}};
  auto transport = value_of(world.join(0));
  auto groups = value_of(transport->make_groups(std::span(&spec, 1)));
  void* const memory = ::mmap(nullptr, kWorldBytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_NORESERVE, world.descriptor(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::byte* const ring = static_cast<std::byte*>(memory) + LocalWorld::Mapping::first_region() +
                          GroupRegion(2).ring_offset(1, 0);
  damage(*reinterpret_cast<RingControl*>(ring), ring + sizeof(RingControl));
  std::vector<std::byte> buffer(16, std::byte{9});
  groups[0]->set_wait_bound(milliseconds(5000));
  const auto result = receive(*groups[0], 1, 7, buffer);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::Corrupt) << result.error().message;
  EXPECT_NE(result.error().message.find("rank 1"), std::string::npos);
  EXPECT_EQ(buffer, std::vector<std::byte>(16, std::byte{9}));
  ::munmap(memory, kWorldBytes);
}

TEST(LocalWorld, NonsenseInTheRingIsCorruptAndTouchesNothing) {
  const auto with_header = [](MessageHeader header) {
    return [header](RingControl& control, std::byte* data) {
      std::memcpy(data, &header, sizeof header);
      control.written.store(64);
    };
  };
  expect_corrupt([](RingControl& control, std::byte*) { control.written.store(~0ull << 5); });
  expect_corrupt([](RingControl& control, std::byte*) { control.written.store(33); });
  expect_corrupt(with_header({0, 7, 16, 0}));                                  // no magic
  expect_corrupt(with_header({kMessageMagic, 7, 16, 1}));                      // out of sequence
  expect_corrupt(with_header({kMessageMagic, 7, std::uint64_t{1} << 60, 0}));  // absurd length
  expect_corrupt(with_header({kMessageMagic, 7, 17, 0}));                      // too long
  expect_corrupt(with_header({kMessageMagic, 8, 16, 0}));                      // another tag
}

/// Both ranks of a world of two in one process: who may read its own memory.
struct TwoEnds {
  LocalWorld world = world_of(2);
  std::unique_ptr<Communicator> a, b;

  TwoEnds() {
    const GroupSpec spec{"pair", {0, 1}};
    std::thread second([&] { b = end(1, spec); });
    a = end(0, spec);
    second.join();
  }
  std::unique_ptr<Communicator> end(int rank, const GroupSpec& spec) {
    auto transport = value_of(world.join(rank));
    auto group = std::move(value_of(transport->make_groups(std::span(&spec, 1)))[0]);
    group->set_wait_bound(milliseconds(50));
    return group;
  }
};

constexpr std::size_t kLong = std::size_t{3} << 20;

/// A container may forbid it; then the ring carries everything.
class DirectMessage : public testing::Test {
 protected:
  void SetUp() override {
    RankCard card{};
    const std::uint64_t nonce = card.nonce = draw_nonce();
    card.pid = static_cast<std::uint32_t>(::getpid());
    card.nonce_address = reinterpret_cast<std::uint64_t>(&nonce);
    std::byte byte{};
    const std::string why = read_directly(card, card.nonce_address, &byte, 1);
    if (!why.empty()) GTEST_SKIP() << "process_vm_readv is not allowed here: " << why;
  }
};

TEST_F(DirectMessage, TravelsWhileItsSenderDoesSomethingElse) {
  TwoEnds ends;
  const std::vector<std::byte> sent(kLong, std::byte{7});
  std::vector<std::byte> got(kLong);
  const Request send = ends.a->start_send(1, 1, sent);
  const Request receive = ends.b->start_receive(0, 1, got);
  EXPECT_EQ(value_of(ends.b->wait(receive)), kLong);  // rank 0 waits for nothing meanwhile
  EXPECT_EQ(got, sent);
  EXPECT_EQ(value_of(ends.a->wait(send)), kLong);
}

TEST_F(DirectMessage, WhatItsSenderHasGivenUpIsNeverDelivered) {
  TwoEnds ends;
  std::vector<std::byte> sent(kLong, std::byte{7}), got(kLong);
  const auto given_up = ends.a->wait(ends.a->start_send(1, 1, sent));
  ASSERT_FALSE(given_up);
  EXPECT_EQ(given_up.error().code, Code::DeadlineExceeded);
  std::fill(sent.begin(), sent.end(), std::byte{9});  // the wait has returned: ours again
  const auto late = receive(*ends.b, 0, 1, got);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::Unavailable);
  EXPECT_NE(late.error().message.find("given up"), std::string::npos) << late.error().message;
}

TEST_F(DirectMessage, ASenderThatIsDestroyedTakesItBack) {
  TwoEnds ends;
  const std::vector<std::byte> sent(kLong, std::byte{7});
  std::vector<std::byte> got(kLong);
  (void)ends.a->start_send(1, 1, sent);
  ends.a.reset();
  const auto late = receive(*ends.b, 0, 1, got);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::Unavailable);
}

TEST_F(DirectMessage, FromAProcessThatIsNoLongerItselfIsRefused) {
  TwoEnds ends;
  const std::vector<std::byte> sent(kLong, std::byte{7});
  std::vector<std::byte> got(kLong);
  void* const memory = ::mmap(nullptr, kWorldBytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_NORESERVE, ends.world.descriptor(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  RankCard& card = static_cast<WorldHeader*>(memory)->cards[0];
  (void)ends.a->start_send(1, 1, sent);
  card.nonce ^= 1;  // as after its death, when another process has its number
  const auto refused = receive(*ends.b, 0, 1, got);
  ::munmap(memory, kWorldBytes);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::Unavailable);
  EXPECT_NE(refused.error().message.find("another one"), std::string::npos);
}

TEST_F(DirectMessage, WithoutLeaveToReadTheRingCarriesIt) {
  TwoEnds ends;
  void* const memory = ::mmap(nullptr, kWorldBytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_NORESERVE, ends.world.descriptor(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  for (RankCard& card : static_cast<WorldHeader*>(memory)->cards) card.reads_others.store(0);
  ::munmap(memory, kWorldBytes);
  const std::vector<std::byte> sent(kLong, std::byte{7});
  std::vector<std::byte> got(kLong);
  ends.a->set_wait_bound(std::chrono::seconds(20));
  ends.b->set_wait_bound(std::chrono::seconds(20));
  std::thread sender([&] { check(send(*ends.a, 1, 1, sent)); });
  EXPECT_EQ(value_of(receive(*ends.b, 0, 1, got)), kLong);
  sender.join();
  EXPECT_EQ(got, sent);
}

/// A message written in the sender's slab: fetched by the receiver without the kernel.
MessageMemory filled(Communicator& group, std::size_t bytes) {
  MessageMemory memory = group.message_memory(bytes);
  std::fill_n(memory.get(), bytes, std::byte{7});
  return memory;
}

TEST(SlabMessage, TravelsWhileItsSenderDoesSomethingElse) {
  TwoEnds ends;
  const MessageMemory sent = filled(*ends.a, kLong);
  std::vector<std::byte> got(kLong);
  const Request send = ends.a->start_send(1, 1, {sent.get(), kLong});
  EXPECT_EQ(value_of(ends.b->wait(ends.b->start_receive(0, 1, got))), kLong);
  EXPECT_EQ(got, std::vector<std::byte>(kLong, std::byte{7}));
  EXPECT_EQ(value_of(ends.a->wait(send)), kLong);
}

TEST(SlabMessage, WhatItsSenderHasGivenUpIsNeverDelivered) {
  TwoEnds ends;
  const MessageMemory sent = filled(*ends.a, kLong);
  std::vector<std::byte> got(kLong);
  ASSERT_FALSE(ends.a->wait(ends.a->start_send(1, 1, {sent.get(), kLong})));
  const auto late = receive(*ends.b, 0, 1, got);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::Unavailable);
  EXPECT_NE(late.error().message.find("given up"), std::string::npos) << late.error().message;
}

TEST(SlabMessage, SaidToLieOutsideItsSendersSlabIsCorruptAndTouchesNothing) {
  const auto place_at = [](std::uint64_t address) {
    return [address](RingControl& control, std::byte* data) {
      const MessageHeader header{kSlabMagic, 7, 16, 0};
      const DirectPlace place{address, {}};
      std::memcpy(data, &header, sizeof header);
      std::memcpy(data + sizeof header, &place, sizeof place);
      control.written.store(64);
    };
  };
  const std::uint64_t slab = kSlabsBytes / 2;  // of two ranks; rank 1 writes the second one
  expect_corrupt(place_at(0));                 // the header of the world
  expect_corrupt(place_at(kRegionsBytes));     // our own slab
  expect_corrupt(place_at(kRegionsBytes + 2 * slab - 15));  // its last byte outside
  expect_corrupt(place_at(~std::uint64_t{0} - 7));          // around the end of numbers
}

}  // namespace
}  // namespace weft::comm
