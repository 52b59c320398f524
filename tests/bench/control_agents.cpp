#include "tests/bench/control_agents.h"

#include <signal.h>
#include <sys/prctl.h>

#include <deque>
#include <nlohmann/json.hpp>
#include <zmq.hpp>

#include "base/check.h"
#include "runtime/control/messages.h"
#include "runtime/coordinator/agent.h"
#include "runtime/worker/peers.h"

namespace weft::runtime {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr Duration kHeartbeat = std::chrono::seconds(1);

/// A node that does at once what it is told, and whose ranks are then always at work.
class SimulatedAgent {
 public:
  SimulatedAgent(zmq::context_t& context, const std::string& endpoint, const RunKeys& keys,
                 int index, Shared& shared)
      : socket_(context, zmq::socket_type::dealer), shared_(shared) {
    report_.node = "node-" + std::to_string(index);
    report_.incarnation = 1;
    report_.term = kTerm;
    facts_.slots = kRanksPerNode;
    facts_.roster = index;
    facts_.version = build_fingerprint();
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
      if (std::holds_alternative<Beat>(*message)) note_answer();
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
    send(report_);
    sent_ = now();
    waits_ = true;
    next_report_ = next_beat(sent_, kHeartbeat, facts_.roster);
    if (facts_.roster == 0 && !report_.workers.empty() &&
        report_.workers.front().phase == WorkerPhase::Working)
      hand_over_a_record();
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
  void send(const WireMessage& message) {
    try {
      socket_.send(zmq::buffer(encode(message)), zmq::send_flags::dontwait);
    } catch (const zmq::error_t&) {  // interrupted: the next says it too
    }
  }

  /// As rank 0's worker does after a step.
  void hand_over_a_record() {
    RecordsMessage message;
    message.records = {report_.node,
                       report_.incarnation,
                       report_.generation,
                       report_.workers.front().rank,
                       {{sequence_++, step_}}};
    message.payload = {json{{"type", "metrics"},
                            {"record", {{"step", step_}, {"stage", "pretrain"}, {"loss", 2.5}}}}
                           .dump()};
    send(message);
  }

  void note_answer() {
    if (!waits_) return;
    waits_ = false;
    if (!shared_.collecting) return;
    const int at = shared_.answers++;
    if (at < static_cast<int>(std::size(shared_.answer_seconds)))
      shared_.answer_seconds[at] = seconds_between(sent_, now());
  }

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
    waits_ = false;
    if (order.generation != report_.generation || order.wanted == Wanted::Idle) {
      report_.generation = order.wanted == Wanted::Idle ? report_.generation : order.generation;
      for (WorkerStatus& worker : report_.workers) worker.gone = true;
      if (order.wanted != Wanted::Idle) report_.workers.clear();
      sequence_ = 0;
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
    if (order.wanted == Wanted::Work && order.generation > released_) {
      released_ = order.generation;
      if (shared_.generation.exchange(released_) != released_) shared_.released = 0;
      ++shared_.released;
    }
    return true;
  }

  zmq::socket_t socket_;
  Report report_;
  NodeFacts facts_;
  Shared& shared_;
  Instant next_report_{}, sent_{};
  bool waits_ = false;  // for the answer to the report of sent_
  std::int64_t step_ = 0, sequence_ = 0, released_ = 0;
};

volatile sig_atomic_t fail_now = 0;

}  // namespace

void run_agents(const std::string& endpoint, const RunKeys& keys, int count, Shared& shared) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGUSR1, [](int) { fail_now = 1; });
  zmq::context_t context(1);
  context.set(zmq::ctxopt::max_sockets, count + 16);
  std::deque<SimulatedAgent> agents;
  std::vector<zmq::pollitem_t> items;
  for (;;) {
    // Those that are there go on reporting while others come, as agents on nodes of their own do.
    for (int n = 0; n < 16 && static_cast<int>(agents.size()) < count; ++n) {
      agents.emplace_back(context, endpoint, keys, static_cast<int>(agents.size()), shared);
      agents.back().report();
      items.push_back({agents.back().handle(), 0, ZMQ_POLLIN, 0});
    }
    if (fail_now != 0) {
      fail_now = 0;
      agents.front().fail();
    }
    try {
      zmq::poll(items, milliseconds(2));
    } catch (const zmq::error_t&) {
    }
    const Instant at = now();
    for (std::size_t i = 0; i < agents.size(); ++i) {
      SimulatedAgent& agent = agents[i];
      if ((items[i].revents & ZMQ_POLLIN) != 0) agent.take_messages();
      if (at >= agent.next_report()) agent.report();
    }
  }
}

}  // namespace weft::runtime
