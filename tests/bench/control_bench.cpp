// What the control plane costs at scale: one coordinator (the real decisions, codec, journal and
// encrypted sockets, over loopback) and simulated agents in a process of their own, each a node of
// 8 ranks that reports once a second. Prints how long a generation takes to form, from the first
// agent's connection and again after a failure, what the coordinator costs while the run runs, and
// how long it handles a report; beside the limits of 10 % of a core, 5 ms, 2 s and 20 s.
//
//   control_bench [ranks [seconds]]        default: 2048 for 10 s, then 16384 for 10 s
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>
#include <zmq.hpp>

#include "base/check.h"
#include "runtime/control/channel.h"
#include "runtime/control/messages.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/coordinator/state_json.h"
#include "runtime/coordinator_shell/journal.h"

namespace weft::runtime {
namespace {

using std::chrono::milliseconds;

constexpr int kRanksPerNode = 8;
constexpr Duration kHeartbeat = std::chrono::seconds(1);

Instant now() { return std::chrono::steady_clock::now(); }
double seconds_between(Instant from, Instant to) {
  return std::chrono::duration<double>(to - from).count();
}
double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// --- The agents
// -----------------------------------------------------------------------------------

/// A node that does at once what it is told, and whose ranks are then always at work.
class SimulatedAgent {
 public:
  SimulatedAgent(zmq::context_t& context, const std::string& endpoint, const RunKeys& keys,
                 int index, Instant first_report)
      : socket_(context, zmq::socket_type::dealer), next_report_(first_report) {
    report_.node = "node-" + std::to_string(index);
    report_.incarnation = 1;
    report_.term = 1;
    facts_.slots = kRanksPerNode;
    facts_.roster = index;
    facts_.version = "bench";
    facts_.address = "10.0." + std::to_string(index / 256) + "." + std::to_string(index % 256);
    facts_.memory_bytes = std::int64_t{2} << 40;
    facts_.checks = {{"disk", true, "412 GiB free, 1 GiB wanted"},
                     {"memory", true, "1.9 TiB there, 1.6 TiB wanted"}};
    report_.facts = facts_;
    socket_.set(zmq::sockopt::routing_id, report_.node);
    socket_.set(zmq::sockopt::curve_serverkey, keys.server_public);
    socket_.set(zmq::sockopt::curve_publickey, keys.agent_public);
    socket_.set(zmq::sockopt::curve_secretkey, keys.agent_secret);
    socket_.set(zmq::sockopt::linger, 0);
    socket_.connect(endpoint);
  }

  void* handle() { return socket_.handle(); }
  Instant next_report() const { return next_report_; }

  void take_messages() {
    zmq::message_t body;
    bool changed = false;
    while (receive(body)) {
      // Without the addresses of all ranks: each of 2,048 real agents reads its own copy.
      const std::string_view bytes = body.to_string_view();
      const auto message = decode(bytes.substr(0, bytes.find('\n')));
      WEFT_CHECK(message.has_value(), message.error().message);
      if (const auto* const order = std::get_if<Order>(&*message)) changed |= obey(*order);
    }
    if (changed) report();
  }

  void report() {
    ++report_.number;
    for (WorkerStatus& worker : report_.workers)
      if (worker.phase == WorkerPhase::Working) {
        worker.activity = Activity::Stepping;
        worker.action += 97;
        worker.step = step_;
        worker.step_time = milliseconds(1740);
      }
    ++step_;
    try {
      socket_.send(zmq::buffer(encode(report_)), zmq::send_flags::dontwait);
    } catch (const zmq::error_t&) {  // interrupted: the next says it too
    }
    next_report_ = now() + kHeartbeat;
  }

  /// Its first worker dies.
  void fail() {
    if (report_.workers.empty()) return;
    WorkerStatus& worker = report_.workers.front();
    worker.phase = WorkerPhase::Failed;
    worker.gone = true;
    worker.failure = WorkerFailure{};
    worker.failure->signal = SIGKILL;
    report();
  }

 private:
  bool receive(zmq::message_t& body) {
    try {
      return socket_.recv(body, zmq::recv_flags::dontwait).has_value();
    } catch (const zmq::error_t&) {
      return false;  // interrupted: it comes with the next
    }
  }

  bool obey(const Order& order) {
    if (order.number <= report_.order) return false;
    report_.order = order.number;
    report_.facts.reset();
    if (order.generation != report_.generation || order.wanted == Wanted::Idle) {
      report_.generation = order.wanted == Wanted::Idle ? report_.generation : order.generation;
      for (WorkerStatus& worker : report_.workers) worker.gone = true;
      if (order.wanted != Wanted::Idle) report_.workers.clear();
    }
    if (order.wanted == Wanted::Prepare && report_.workers.empty())
      for (const RankSlot& slot : order.ranks) {
        WorkerStatus worker;
        worker.rank = slot.rank;
        worker.phase = WorkerPhase::Ready;
        worker.address = facts_.address + ":" + std::to_string(40000 + slot.slot);
        report_.workers.push_back(std::move(worker));
      }
    if (order.wanted == Wanted::Work)
      for (WorkerStatus& worker : report_.workers) worker.phase = WorkerPhase::Working;
    return true;
  }

  zmq::socket_t socket_;
  Report report_;
  NodeFacts facts_;
  Instant next_report_;
  std::int64_t step_ = 0;
};

volatile sig_atomic_t fail_now = 0;

/// All agents, in one thread; SIGUSR1 lets a worker of the first die.
[[noreturn]] void run_agents(const std::string& endpoint, const RunKeys& keys, int count) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGUSR1, [](int) { fail_now = 1; });
  zmq::context_t context(1);
  context.set(zmq::ctxopt::max_sockets, count + 16);
  std::deque<SimulatedAgent> agents;
  std::vector<zmq::pollitem_t> items;
  for (int i = 0; i < count; ++i) {
    // Spread over the second, as agents that were not started by one clock are; the first at once.
    agents.emplace_back(context, endpoint, keys, i, now());
    agents.back().report();
    items.push_back({agents.back().handle(), 0, ZMQ_POLLIN, 0});
  }
  for (;;) {
    try {
      zmq::poll(items, milliseconds(2));
    } catch (const zmq::error_t&) {
    }
    if (fail_now != 0) {
      fail_now = 0;
      agents.front().fail();
    }
    const Instant at = now();
    for (int i = 0; i < count; ++i) {
      SimulatedAgent& agent = agents[static_cast<std::size_t>(i)];
      if ((items[static_cast<std::size_t>(i)].revents & ZMQ_POLLIN) != 0) agent.take_messages();
      if (at >= agent.next_report()) agent.report();
    }
  }
}

// --- The coordinator
// ------------------------------------------------------------------------------

/// The loop of the coordinator's shell without the run directory: claims and lists are answered at
/// once, the journal is real.
class Coordinator {
 public:
  Coordinator(int ranks, ChannelServer& server, Journal& journal)
      : server_(server), journal_(journal), state_(start_state(ranks, now(), options_)) {
    think(TermBegan{1, "node-0", {}});
    work();
  }

  const CoordinatorState& state() const { return state_; }
  std::vector<double>& handling() { return handling_; }
  int num_saves() const { return num_saves_; }

  /// One turn of the loop.
  void turn() {
    auto messages = server_.poll(milliseconds(20), {});
    WEFT_CHECK(messages.has_value(), "poll");
    // As the shell does: what has come together is decided together, journaled once, answered.
    std::vector<Instant> begun;
    for (const ChannelMessage& message : *messages) {
      begun.push_back(now());
      const auto decoded = decode(message.bytes);
      WEFT_CHECK(decoded.has_value(), decoded.error().message);
      if (const auto* const report = std::get_if<Report>(&*decoded)) think(*report);
    }
    work();
    for (const Instant from : begun) handling_.push_back(seconds_between(from, now()));
    if (now() >= next_tick_) {
      next_tick_ = now() + milliseconds(200);
      think(Tick{});
      work();
    }
  }

  /// Every node with ranks has taken its newest order.
  bool settled() const {
    return state_.phase == RunPhase::Running &&
           std::ranges::all_of(state_.nodes, [](const auto& entry) {
             return entry.second.taken >= entry.second.order.number;
           });
  }

 private:
  void think(const Event& event) {
    Decision decision = decide(std::move(state_), event, now(), options_);
    state_ = std::move(decision.state);
    must_save_ |= decision.durable;
    should_save_ |= !decision.reason.empty();
    for (CoordinatorAction& action : decision.actions) actions_.push_back(std::move(action));
  }

  void work() {
    while (!actions_.empty()) {
      if (must_save_ || (should_save_ && now() >= next_save_)) save();
      std::deque<CoordinatorAction> actions = std::move(actions_);
      actions_.clear();
      for (const CoordinatorAction& action : actions)
        std::visit([this](const auto& what) { act(what); }, action);
    }
  }

  void save() {
    JournalEntry entry;
    entry.state = to_json(state_, now()).dump();
    WEFT_CHECK(journal_.save(entry, "").has_value(), "journal");
    must_save_ = should_save_ = false;
    next_save_ = now() + milliseconds(200);
    ++num_saves_;
  }

  void act(const SendOrder& send) { server_.send(send.node, encode(send.order)); }
  void act(const SendBeat& send) { server_.send(send.node, encode(send.beat)); }
  void act(const SendAcknowledgement& send) {
    server_.send(send.node, encode(send.acknowledgement));
  }
  void act(const ClaimGeneration& claim) { think(GenerationClaimed{claim.number, true}); }
  void act(const ListCheckpoints&) { think(CheckpointsListed{}); }
  void act(const RenewLease& renew) { think(LeaseRenewed{renew.term}); }
  template <class Other>
  void act(const Other&) {}

  /// Two thousand agents share one thread and two cores with the coordinator here: their silence
  /// of some seconds is the bench's, and not what is measured.
  static CoordinatorOptions patient() {
    CoordinatorOptions options;
    options.heartbeats_missed = 60;
    return options;
  }

  CoordinatorOptions options_ = patient();
  ChannelServer& server_;
  Journal& journal_;
  CoordinatorState state_;
  std::deque<CoordinatorAction> actions_;
  std::vector<double> handling_;  // seconds
  Instant next_tick_{};
  bool must_save_ = false, should_save_ = false;
  Instant next_save_{};
  int num_saves_ = 0;
};

double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

void row(const std::string& what, double value, const char* unit, double limit) {
  std::printf("  %-52s %9.3f %-4s  limit %g %s%s\n", what.c_str(), value, unit, limit, unit,
              value <= limit ? "" : "  EXCEEDED");
}

bool until(Coordinator& coordinator, Instant deadline, const std::function<bool()>& reached) {
  RunPhase phase = coordinator.state().phase;
  const Instant begun = now();
  const double cpu = cpu_seconds();
  while (!reached()) {
    if (now() > deadline) return false;
    coordinator.turn();
    if (coordinator.state().phase == phase) continue;
    phase = coordinator.state().phase;
    std::printf("    %8.3f s  %s, %zu nodes, journal written %d times, %.3f s of CPU\n",
                seconds_between(begun, now()), to_string(phase), coordinator.state().nodes.size(),
                coordinator.num_saves(), cpu_seconds() - cpu);
  }
  return true;
}

int bench(int ranks, int seconds) {
  const int nodes = (ranks + kRanksPerNode - 1) / kRanksPerNode;
  const RunKeys keys = make_run_keys();
  // The endpoint is known only when the server is open, and a process with ZeroMQ's threads must
  // not fork: the agents wait for it at a pipe.
  int pipe[2];
  if (::pipe(pipe) != 0) return 1;
  const pid_t agents = ::fork();
  if (agents == 0) {
    ::close(pipe[1]);
    char endpoint[256] = {};
    if (::read(pipe[0], endpoint, sizeof endpoint - 1) <= 0) ::_exit(1);
    run_agents(endpoint, keys, nodes);
  }
  auto server = ChannelServer::open("127.0.0.1", 0, keys);
  WEFT_CHECK(server.has_value(), server.error().message);
  const auto path = std::filesystem::temp_directory_path() /
                    ("weft-control-bench-" + std::to_string(::getpid()) + ".journal");
  std::filesystem::remove(path);
  auto journal = Journal::create(path, {});
  WEFT_CHECK(journal.has_value(), journal.error().message);
  Coordinator coordinator(ranks, **server, **journal);
  const std::string endpoint = (*server)->endpoint();
  const double limit = ranks > 4096 ? 20 : 2;
  std::printf("%d ranks behind %d agents, one report a second\n", ranks, nodes);

  const auto settled = [&] { return coordinator.settled(); };
  const Instant begun = now();
  bool good = ::write(pipe[1], endpoint.data(), endpoint.size()) > 0 &&
              until(coordinator, begun + std::chrono::seconds(120), settled);
  if (good) {
    row("first generation, from the first connection", seconds_between(begun, now()), "s", limit);
    const std::int64_t first = coordinator.state().generation;
    const Instant failed = now();
    ::kill(agents, SIGUSR1);
    const double cpu = cpu_seconds();
    good = until(coordinator, failed + std::chrono::seconds(120),
                 [&] { return coordinator.state().generation > first && coordinator.settled(); });
    row("next generation, from a worker's death", seconds_between(failed, now()), "s", limit);
    std::printf("  %-52s %9.3f s\n", "  of it the coordinator's CPU", cpu_seconds() - cpu);
  }
  if (good) {
    coordinator.handling().clear();
    const Instant steady = now();
    const double cpu = cpu_seconds();
    good = !until(coordinator, steady + std::chrono::seconds(seconds),
                  [&] { return coordinator.state().phase != RunPhase::Running; });
    const double wall = seconds_between(steady, now()), used = cpu_seconds() - cpu;
    auto& handling = coordinator.handling();
    row("CPU of the coordinator's process, all threads", 100 * used / wall, "%", 10);
    row("handling of a report, median", 1e3 * percentile(handling, 0.5), "ms", 5);
    row("handling of a report, 99th percentile", 1e3 * percentile(handling, 0.99), "ms", 5);
    std::printf("  %zu reports in %.1f s\n", handling.size(), wall);
  }
  if (!good) std::printf("  STOPPED in phase %s\n", to_string(coordinator.state().phase));
  ::kill(agents, SIGKILL);
  ::waitpid(agents, nullptr, 0);
  std::filesystem::remove(path);
  return good ? 0 : 1;
}

}  // namespace
}  // namespace weft::runtime

int main(int argc, char** argv) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const int seconds = argc > 2 ? std::atoi(argv[2]) : 10;
  if (argc > 1) return weft::runtime::bench(std::max(1, std::atoi(argv[1])), seconds);
  return weft::runtime::bench(2048, seconds) + weft::runtime::bench(16384, seconds);
}
