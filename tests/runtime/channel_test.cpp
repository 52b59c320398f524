// Who gets through to the coordinator, and whose keys are believed.
#include "runtime/control/channel.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/control/messages.h"

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

TEST(Channel, ListensOnLoopbackAlone) {
  EXPECT_TRUE(server_with(make_run_keys())->endpoint().starts_with("tcp://127.0.0.1:"));
}

class KeysOfRun : public testing::Test {
 protected:
  KeysOfRun() {
    std::string pattern = (fs::temp_directory_path() / "weft-keys-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~KeysOfRun() override { fs::remove_all(root_); }
  void expect_refused(const std::string& part) {
    const auto keys = keys_of_run(directory());
    ASSERT_FALSE(keys);
    EXPECT_EQ(keys.error().code, Code::InvalidArgument) << keys.error().message;
    EXPECT_NE(keys.error().message.find(part), std::string::npos) << keys.error().message;
  }
  std::string directory() const { return (root_ / "keys").string(); }
  fs::path file() const { return root_ / "keys" / "run.keys"; }
  fs::path root_;
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
