#include "runtime/control/control.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

namespace weft::runtime {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

/// Polls until a message came or two seconds passed.
std::vector<Incoming> wait_for_messages(ControlServer& server) {
  for (int i = 0; i < 40; ++i) {
    auto messages = server.poll(50ms, {});
    if (!messages || !messages->empty())
      return messages ? std::move(*messages) : std::vector<Incoming>{};
  }
  return {};
}

TEST(Control, AWorkerIsKnownByItsKeyAndHearsTheAnswer) {
  auto server = ControlServer::open("127.0.0.1", 0, {0, 1});
  ASSERT_TRUE(server) << server.error().message;
  auto client = ControlClient::connect((*server)->credentials(1));
  ASSERT_TRUE(client);
  (*client)->send({{"type", "hello"}});
  const auto messages = wait_for_messages(**server);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].rank, 1);
  EXPECT_EQ(messages[0].message->at("type"), "hello");
  (*server)->send(1, {{"type", "assign"}});
  std::unique_ptr<json> answer;
  for (int i = 0; i < 20 && !answer; ++i) {
    ASSERT_TRUE((*server)->poll(10ms, {}));
    answer = (*client)->receive(100ms);
  }
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->at("type"), "assign");
}

TEST(Control, AStrangerGetsNothingThrough) {
  auto server = ControlServer::open("127.0.0.1", 0, {0});
  auto other = ControlServer::open("127.0.0.1", 0, {0});
  ASSERT_TRUE(server && other);
  // Knows where to connect and even the server's public key, but holds a key of another run.
  json stolen = json::parse((*server)->credentials(0));
  const json own = json::parse((*other)->credentials(0));
  stolen["public_key"] = own["public_key"];
  stolen["secret_key"] = own["secret_key"];
  auto stranger = ControlClient::connect(stolen.dump());
  ASSERT_TRUE(stranger);
  (*stranger)->send({{"type", "hello"}});
  for (int i = 0; i < 10; ++i) {
    const auto messages = (*server)->poll(30ms, {});
    ASSERT_TRUE(messages);
    EXPECT_TRUE(messages->empty());
  }
  EXPECT_GT((*server)->num_refused(), 0);
}

TEST(Control, AWorkerCannotSpeakForAnother) {
  auto server = ControlServer::open("127.0.0.1", 0, {0, 1});
  ASSERT_TRUE(server);
  json credentials = json::parse((*server)->credentials(0));
  credentials["rank"] = 1;  // rank 0's keys under rank 1's name
  auto client = ControlClient::connect(credentials.dump());
  ASSERT_TRUE(client);
  (*client)->send({{"type", "hello"}});
  for (int i = 0; i < 10; ++i) EXPECT_TRUE((*server)->poll(20ms, {})->empty());
  EXPECT_GT((*server)->num_refused(), 0);
}

TEST(Control, MalformedMessagesAreDroppedAndCounted) {
  auto server = ControlServer::open("127.0.0.1", 0, {0});
  ASSERT_TRUE(server);
  auto client = ControlClient::connect((*server)->credentials(0));
  ASSERT_TRUE(client);
  (*client)->send(json::array({1, 2}));
  (*client)->send({{"no", "type"}});
  (*client)->send({{"type", "good"}, {"text", "\xff bytes that are no UTF-8"}});
  const auto messages = wait_for_messages(**server);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ((*server)->num_refused(), 2);
}

TEST(Control, APortInUseIsNamedWithTheWayOut) {
  auto first = ControlServer::open("127.0.0.1", 0, {0});
  ASSERT_TRUE(first);
  const std::string endpoint = (*first)->endpoint();
  const int port = std::stoi(endpoint.substr(endpoint.rfind(':') + 1));
  const auto second = ControlServer::open("127.0.0.1", port, {0});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::Busy);
  EXPECT_NE(second.error().message.find("--set control.port"), std::string::npos);
}

TEST(Control, SendingToNobodyDoesNotBlock) {
  std::string credentials;
  {
    auto server = ControlServer::open("127.0.0.1", 0, {0});
    ASSERT_TRUE(server);
    credentials = (*server)->credentials(0);
  }
  auto client = ControlClient::connect(credentials);
  ASSERT_TRUE(client);
  for (int i = 0; i < 20'000; ++i) (*client)->send({{"type", "metrics"}, {"i", i}});
  EXPECT_EQ((*client)->receive(1ms), nullptr);
}

TEST(Control, CredentialsOfAnotherKindAreRefused) {
  for (const char* text : {"", "{}", "[1]", R"({"version":1,"rank":0,"server_key":"x"})"})
    EXPECT_FALSE(ControlClient::connect(text)) << text;
}

TEST(Control, AJobIsTakenOnlyUnderTheSealOfWhoMadeTheCredentials) {
  auto server = ControlServer::open("127.0.0.1", 0, {0, 1});
  auto other = ControlServer::open("127.0.0.1", 0, {0, 1});
  ASSERT_TRUE(server && other);
  const auto client = ControlClient::connect((*server)->credentials(1));
  ASSERT_TRUE(client);
  const std::string job = R"({"name":"a job"})", changed = R"({"name":"a jab"})";
  EXPECT_TRUE((*client)->is_sealed(job, (*server)->seal(job)));
  EXPECT_FALSE((*client)->is_sealed(changed, (*server)->seal(job)));
  EXPECT_FALSE((*client)->is_sealed(job, (*other)->seal(job)));
  EXPECT_FALSE((*client)->is_sealed(job, ""));
}

}  // namespace
}  // namespace weft::runtime
