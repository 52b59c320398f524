// A node's metrics: what is said, and to whom.
#include "runtime/agent/node_metrics.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/agent/node_leaf.h"

namespace weft::runtime {
namespace {

NodeFigures figures() {
  NodeFigures figures;
  figures.node = "n\"1";
  figures.generation = 4;
  figures.unacknowledged = 12;
  figures.workers.resize(2);
  figures.workers[0].step = 31;
  figures.workers[1].rank = 5;
  figures.workers[1].gone = true;
  return figures;
}

/// Everything that comes back until the other side closes.
std::string talk(const std::string& address, const std::string& request) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port =
      ::htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  to.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  (void)!::send(socket, request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(socket, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, n);
  ::close(socket);
  return answer;
}

class NodeMetricsServed : public testing::Test {
 protected:
  void SetUp() override {
    auto served = NodeMetrics::serve("0", "/tmp");
    ASSERT_TRUE(served) << served.error().message;
    metrics = std::move(*served);
    metrics->set(figures());
  }
  std::unique_ptr<NodeMetrics> metrics;
};

TEST(NodeMetrics, SayWhatTheAgentAndTheMachineKnow) {
  const std::string text = to_prometheus(figures(), read_node("/tmp"));
  EXPECT_EQ(to_prometheus({}, {}).find("memory"), std::string::npos) << "not known, not said";
  for (const char* line :
       {"# TYPE weft_node_cpu_seconds_total counter\n", "weft_node_workers{node=\"n\\\"1\"} 1\n",
        "weft_node_generation{node=\"n\\\"1\"} 4\n",
        "weft_node_records_unacknowledged{node=\"n\\\"1\"} 12\n",
        "weft_rank_step{node=\"n\\\"1\",rank=\"0\"} 31\n",
        "weft_rank_up{node=\"n\\\"1\",rank=\"5\"} 0\n", "weft_node_memory_available_bytes{",
        "weft_node_disk_free_bytes{"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

TEST_F(NodeMetricsServed, AsTextToWhoeverAsksForThem) {
  const std::string answer = talk(metrics->address(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_NE(answer.find("Content-Type: text/plain; version=0.0.4"), std::string::npos);
  EXPECT_NE(answer.find("weft_node_workers{"), std::string::npos) << answer;
}

TEST_F(NodeMetricsServed, BadRequestsAreRefusedAndTheNextIsAnswered) {
  EXPECT_TRUE(talk(metrics->address(), "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
  EXPECT_TRUE(
      talk(metrics->address(), "DELETE /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
  EXPECT_EQ(talk(metrics->address(), "hello\r\n\r\n"), "");
  EXPECT_EQ(talk(metrics->address(), "GET /metrics HTTP/1.1\r\nX: " + std::string(100'000, 'x')),
            "");
  EXPECT_EQ(talk(metrics->address(), "GET /metrics HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"),
            "");
  EXPECT_TRUE(
      talk(metrics->address(), "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
}

TEST_F(NodeMetricsServed, APlaceThatIsNoneOrTakenIsNamed) {
  for (const char* where : {"", "host", "1.2.3.4:", "1.2.3.4:99999", "nowhere.example:80"}) {
    const auto served = NodeMetrics::serve(where, "/tmp");
    ASSERT_FALSE(served) << where;
    EXPECT_EQ(served.error().code, Code::InvalidArgument) << where;
  }
  const auto second = NodeMetrics::serve(metrics->address(), "/tmp");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::Busy) << second.error().message;
}

TEST(NodeLeaf, IsTheSwitchesOfASlurmAddress) {
  EXPECT_EQ(switches_of("s0.s3.node17", "switch.switch.node"), "s0.s3");
  EXPECT_EQ(switches_of("node17", "node"), "") << "a flat network";
  EXPECT_EQ(switches_of("s0.s3", "switch.switch"), "");
  EXPECT_EQ(switches_of("s0.node17", "switch.switch.node"), "");
  EXPECT_EQ(leaf_of_node("rack7"), "rack7");
}

}  // namespace
}  // namespace weft::runtime
