#include "tests/runtime/nodes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace weft::test {

using nlohmann::json;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

bool shell(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

std::string enter_namespace() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  const int user = uid == 0 ? 0 : CLONE_NEWUSER;
  if (::unshare(user | CLONE_NEWNET | CLONE_NEWNS) != 0)
    return fmt::format("no network namespace can be made here: {}", std::strerror(errno));
  if (user != 0) {
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << fmt::format("0 {} 1", uid);
    std::ofstream("/proc/self/gid_map") << fmt::format("0 {} 1", gid);
  }
  // The names of namespaces are mounts: they are to be seen by us alone, and to go with us.
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return fmt::format("no mounts of its own for a test: {}", std::strerror(errno));
  ::mkdir("/run/netns", 0755);
  if (::mount("none", "/run/netns", "tmpfs", 0, nullptr) != 0)
    return fmt::format("nothing can be mounted at /run/netns: {}", std::strerror(errno));
  if (!shell("ip link set lo up") || !shell("ip link add weft0 type bridge") ||
      !shell("ip link set weft0 up") || !shell("ip netns add weft-try") ||
      !shell("ip link add try0 type veth peer name eth0 netns weft-try"))
    return "no bridge and no pair of links can be made here (ip of iproute2)";
  shell("ip netns del weft-try");
  return "";
}

}  // namespace

std::string Network::why_not() {
  static thread_local const std::string why = enter_namespace();
  return why;
}

Network::Network(int nodes) : nodes_(nodes) {
  for (int i = 0; i < nodes; ++i) {
    const std::string in = fmt::format("ip -n weft{} ", i);
    const bool made =
        shell(fmt::format("ip netns add weft{}", i)) &&
        shell(fmt::format("ip link add port{0} type veth peer name eth0 netns weft{0}", i)) &&
        shell(fmt::format("ip link set port{} master weft0 up", i)) &&
        shell(in + fmt::format("addr add {}/24 dev eth0", address(i))) &&
        shell(in + "link set eth0 up") && shell(in + "link set lo up");
    EXPECT_TRUE(made) << "the namespace of node " << i;
  }
}

Network::~Network() {
  for (int i = 0; i < nodes_; ++i) {
    shell(fmt::format("ip link del port{}", i));
    shell(fmt::format("ip netns del weft{}", i));
  }
}

std::vector<std::string> Network::launcher(int node) {
  return {"ip", "netns", "exec", fmt::format("weft{}", node)};
}
void Network::cut(int node) {
  EXPECT_TRUE(shell(fmt::format("ip link set port{} nomaster", node)));
}
void Network::mend(int node) {
  EXPECT_TRUE(shell(fmt::format("ip link set port{} master weft0", node)));
}

Nodes::Nodes(const std::string& job, const fs::path& run, const std::vector<std::string>& more)
    : run_(run) {
  std::vector<std::string> arguments = {"run", job, "--prepare", "--dir", run.string(), "-q"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Ended prepared = weft(arguments);
  EXPECT_EQ(prepared.code, 0) << prepared.err;
}

Weft& Nodes::start(int number, int slots, bool networked,
                   const std::vector<std::string>& environment) {
  std::vector<std::string> arguments = {"agent",
                                        "--run",
                                        run_.string(),
                                        "--node",
                                        fmt::format("n{}", number),
                                        "--slots",
                                        std::to_string(slots),
                                        "--roster",
                                        std::to_string(number)};
  if (networked) {
    arguments.emplace_back("--listen");
    arguments.push_back(Network::address(number));
  }
  std::vector<std::string> all = environment;
  all.emplace_back("TZ=UTC");
  agents_[number] =
      std::make_unique<Weft>(arguments, fs::path(), all,
                             networked ? Network::launcher(number) : std::vector<std::string>{});
  return *agents_[number];
}

int Nodes::leader() const {
  long long newest = 0;
  std::error_code error;
  for (fs::directory_iterator entry(run_ / "terms", error), end; !error && entry != end;
       entry.increment(error))
    newest = std::max(newest, std::atoll(entry->path().filename().c_str()));
  const json claim =
      json::parse(text_of(run_ / "terms" / std::to_string(newest) / "claim.json"), nullptr, false);
  if (!claim.is_object() || claim.value("endpoint", "").empty()) return -1;
  const std::string node = claim.value("node", "");
  return node.starts_with('n') ? std::atoi(node.c_str() + 1) : -1;
}

bool Nodes::anybody_running() {
  bool running = false;
  for (auto& [number, agent] : agents_) running |= agent->running();
  return running;
}

bool was_told(const fs::path& run, const std::string& words) {
  for (const json& event : lines_of(run / "events.jsonl"))
    if (event.value("message", "").find(words) != std::string::npos) return true;
  return false;
}

bool Nodes::told(const std::string& words) {
  return eventually([&] { return was_told(run_, words) || !anybody_running(); }, 60s) &&
         was_told(run_, words);
}

std::string Nodes::end_with(int code) {
  std::string problem;
  for (auto& [number, agent] : agents_) {
    const Ended ended = agent->wait(120s);
    const std::string end =
        ended.err.substr(ended.err.size() - std::min<std::size_t>(ended.err.size(), 900));
    if (!ended.in_time)
      problem += fmt::format("agent n{} did not end: {}\n", number, end);
    else if (ended.signal == 0 && ended.code != code)
      problem += fmt::format("agent n{} ended with {}: {}\n", number, ended.code, end);
    if (!eventually([&] { return agent->everybody().empty(); }, 30s))
      problem += fmt::format("somebody of n{} was left behind\n", number);
  }
  return problem;
}

std::vector<json> metrics_on_one_node(const std::string& job, std::size_t count,
                                      std::size_t steps) {
  const Place place;
  const Ended ended = weft({"run", job, "--dir", (place / "run").string(), "-q", "--set",
                            "pretrain.steps=" + std::to_string(steps)});
  EXPECT_EQ(ended.code, 0) << ended.err;
  std::vector<json> metrics = metrics_of(place / "run");
  metrics.resize(std::min(metrics.size(), count));
  return metrics;
}

}  // namespace weft::test
