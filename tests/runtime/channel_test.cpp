// Who gets through to the coordinator, and whose keys are believed.
#include "runtime/control/channel.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runtime/control/messages.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

std::unique_ptr<ChannelServer> server_with(const RunKeys& keys) {
  auto server = ChannelServer::open("127.0.0.1", 0, keys);
  EXPECT_TRUE(server) << server.error().message;
  return std::move(*server);
}

std::unique_ptr<ChannelClient> client_of(const ChannelServer& server, const std::string& name,
                                         const RunKeys& keys) {
  auto client = ChannelClient::connect(server.endpoint(), name, keys);
  EXPECT_TRUE(client) << client.error().message;
  return std::move(*client);
}

/// What has come within the bound, or until `enough` messages are there.
std::vector<ChannelMessage> collect(ChannelServer& server, std::size_t enough,
                                    milliseconds bound = milliseconds(30'000)) {
  std::vector<ChannelMessage> all;
  const auto end = std::chrono::steady_clock::now() + bound;
  while (all.size() < enough && std::chrono::steady_clock::now() < end) {
    auto messages = server.poll(milliseconds(20), {});
    if (!messages) break;
    for (ChannelMessage& message : *messages) all.push_back(std::move(message));
  }
  return all;
}

TEST(Channel, AKeyOfAnotherRunGetsNothingThroughAndIsCounted) {
  const RunKeys keys = make_run_keys();
  RunKeys stolen = make_run_keys();
  stolen.server_public = keys.server_public;  // that much is no secret
  const auto server = server_with(keys);
  const auto stranger = client_of(*server, "node-1", stolen);
  const auto agent = client_of(*server, "node-1", keys);
  stranger->send("let me in");
  while (server->num_refused() == 0) ASSERT_TRUE(server->poll(milliseconds(20), {}));
  agent->send("report");
  const auto messages = collect(*server, 1);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].bytes, "report");
}

TEST(Channel, AMessageBeyondTheLimitEndsItsConnectionAndNothingElse) {
  const RunKeys keys = make_run_keys();
  const auto server = server_with(keys);
  const auto big = client_of(*server, "big", keys), agent = client_of(*server, "node-1", keys);
  big->send(std::string(kMaxChannelBytes + 1, 'x'));
  agent->send(std::string(kMaxChannelBytes / 8, 'y'));
  const auto messages = collect(*server, 1);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].peer, "node-1");
  EXPECT_TRUE(collect(*server, 1, milliseconds(100)).empty());
}

/// A port in front of another: who comes first is answered with noise, who comes later is passed
/// on, each by a thread of its own: a stranger that stays (some other test's client, whose server
/// had this port before) must not keep ours waiting.
class NoisyDoor {
 public:
  explicit NoisyDoor(int behind)
      : behind_(address_of(behind)), door_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in any = address_of(0);
    socklen_t length = sizeof any;
    EXPECT_EQ(::bind(door_, reinterpret_cast<sockaddr*>(&any), length), 0);
    EXPECT_EQ(::listen(door_, 8), 0);
    EXPECT_EQ(::getsockname(door_, reinterpret_cast<sockaddr*>(&any), &length), 0);
    endpoint = "tcp://127.0.0.1:" + std::to_string(ntohs(any.sin_port));
    thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  }
  ~NoisyDoor() {
    thread_.request_stop();
    thread_.join();
    ::close(door_);
  }

  std::string endpoint;
  std::atomic<int> num_visitors{0};

 private:
  static sockaddr_in address_of(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
  }
  void serve(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd waiting = {door_, POLLIN, 0};
      if (::poll(&waiting, 1, 20) <= 0) continue;
      const int visitor = ::accept(door_, nullptr, nullptr);
      if (++num_visitors > 1) {
        passing_.emplace_back(
            [this, visitor](const std::stop_token& over) { pass_on(visitor, over); });
        continue;
      }
      EXPECT_GT(::send(visitor, std::string(200, 'n').data(), 200, MSG_NOSIGNAL), 0);
      ::close(visitor);
    }
  }
  void pass_on(int visitor, const std::stop_token& stop) const {
    const int inside = ::socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(::connect(inside, reinterpret_cast<const sockaddr*>(&behind_), sizeof behind_), 0);
    pollfd both[] = {{visitor, POLLIN, 0}, {inside, POLLIN, 0}};
    for (bool open = true; open && !stop.stop_requested();) {
      if (::poll(both, 2, 20) <= 0) continue;
      for (const int from : {0, 1}) {
        char bytes[4096];
        if (both[from].revents == 0) continue;
        const ssize_t got = ::recv(both[from].fd, bytes, sizeof bytes, 0);
        open &= got > 0 && ::send(both[1 - from].fd, bytes, static_cast<std::size_t>(got),
                                  MSG_NOSIGNAL) == got;
      }
    }
    ::close(inside);
    ::close(visitor);
  }

  sockaddr_in behind_;
  int door_;
  std::vector<std::jthread> passing_;
  std::jthread thread_;
};

TEST(Channel, AConnectionThatWasAnsweredWithNoiseIsMadeAnew) {
  const RunKeys keys = make_run_keys();
  const auto server = server_with(keys);
  const std::string endpoint = server->endpoint();
  NoisyDoor door(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));
  const auto agent = ChannelClient::connect(door.endpoint, "node-1", keys);
  ASSERT_TRUE(agent) << agent.error().message;
  std::vector<ChannelMessage> messages;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (messages.empty() && std::chrono::steady_clock::now() < end) {
    (*agent)->send("report");  // as an agent does with every heartbeat
    messages = collect(*server, 1, milliseconds(50));
  }
  ASSERT_FALSE(messages.empty());
  EXPECT_EQ(messages[0].bytes, "report");
  EXPECT_GE(door.num_visitors, 2);
}

TEST(Channel, ListensOnLoopbackAlone) {
  EXPECT_TRUE(server_with(make_run_keys())->endpoint().starts_with("tcp://127.0.0.1:"));
}

class KeysOfRun : public testing::Test {
 protected:
  void expect_refused(const std::string& part) {
    const auto keys = keys_of_run(directory());
    ASSERT_FALSE(keys);
    EXPECT_EQ(keys.error().code, Code::InvalidArgument) << keys.error().message;
    EXPECT_NE(keys.error().message.find(part), std::string::npos) << keys.error().message;
  }
  std::string directory() const { return (root_ / "keys").string(); }
  fs::path file() const { return root_ / "keys" / "run.keys"; }
  const test::Scratch root_;
};

TEST_F(KeysOfRun, AreMadeOnceForTheirOwnerAlone) {
  const mode_t before = ::umask(0);
  const auto first = keys_of_run(directory());
  ::umask(before);
  ASSERT_TRUE(first) << first.error().message;
  const auto second = keys_of_run(directory());
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(to_text(*first), to_text(*second));
  struct stat status {};
  ASSERT_EQ(::stat(file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(directory().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory()), fs::directory_iterator()), 1);
}

TEST_F(KeysOfRun, AreRefusedWhenOthersMayReadOrChangeThem) {
  ASSERT_TRUE(keys_of_run(directory()));
  for (const mode_t mode : {0640, 0604, 0620, 0602}) {
    ASSERT_EQ(::chmod(file().c_str(), mode), 0);
    expect_refused("others");
  }
  ASSERT_EQ(::chmod(file().c_str(), 0600), 0);
  EXPECT_TRUE(keys_of_run(directory()));
  ASSERT_EQ(::chmod(directory().c_str(), 0777), 0);
  expect_refused("others");
  ASSERT_EQ(::chmod(directory().c_str(), 0700), 0);
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(::chown(file().c_str(), 12345, 12345), 0);
  expect_refused("others");
}

TEST_F(KeysOfRun, AreRefusedWhenTheyAreNone) {
  ASSERT_TRUE(keys_of_run(directory()));
  std::ofstream(file()) << "weft-keys-1\nnot a key\n";
  expect_refused("run.keys");
  std::ofstream(file()) << std::string(100'000, 'x');
  EXPECT_FALSE(keys_of_run(directory()));
}

TEST(Messages, AddressesOfRanksComeBackAsTheyWere) {
  using Addresses = std::vector<std::string>;
  for (const Addresses& addresses :
       {Addresses{}, Addresses{"10.0.0.1:4000"},
        Addresses{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "10.0.0.1:3", "[fe80::1]:7"},
        Addresses{"without a port", "10.0.0.1:1"}, Addresses{"a,b:1"}, Addresses{"a\nb:1"},
        Addresses{":1", "x:", ""}}) {
    Order order;
    order.number = 3;
    order.addresses = std::make_shared<const Addresses>(addresses);
    const auto read = decode(encode(order));
    ASSERT_TRUE(read) << read.error().message;
    const auto& found = std::get<Order>(*read);
    EXPECT_EQ(found.number, 3);
    ASSERT_TRUE(found.addresses);
    EXPECT_EQ(*found.addresses, addresses);
  }
}

TEST(Messages, WhatStandsBehindAMessageIsRefused) {
  EXPECT_FALSE(decode(encode(Beat{1, 2}) + "\n10.0.0.1:1"));
  Order order;
  for (const char* tail : {"\nhost", "\n:1", "\nhost:", "\nhost:1,", "\nhost:1,,2", "\n\n"})
    EXPECT_FALSE(decode(encode(order) + tail)) << tail;
}

// What is quoted of a message is short and not deep, however deep the message is.
TEST(Messages, AVersionThatIsNoneIsRefusedHoweverDeep) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  const auto read = decode("{\"weft\":" + deep + "}");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::Unsupported);
  EXPECT_LT(read.error().message.size(), 300u);
}

}  // namespace
}  // namespace weft::runtime
