// Any bytes as a message between agents and the coordinator: refused with a reason, or a value that
// is written and read again the same; and whatever a report or record says, the coordinator of a
// running generation and the agent of a node take it and go on.

#include "base/check.h"
#include "runtime/control/messages.h"
#include "runtime/coordinator/agent.h"
#include "runtime/coordinator/coordinator.h"
#include "tests/fuzz/replay.h"

using namespace weft::runtime;

namespace {

const weft::Instant kNow{std::chrono::hours(1000)};

Report report_of(const std::string& node, std::int64_t number) {
  Report report;
  report.node = node;
  report.incarnation = 1;
  report.number = number;
  report.term = 1;
  NodeFacts facts;
  facts.slots = 2;
  facts.version = "fuzz";
  facts.checks = {{"disk", true, "enough"}};
  report.facts = facts;
  return report;
}

WorkerStatus worker(int rank, WorkerPhase phase) {
  WorkerStatus status;
  status.rank = rank;
  status.phase = phase;
  status.address = "10.0.0.1:4000";
  return status;
}

/// Two nodes with two ranks each, at work.
CoordinatorState running() {
  const CoordinatorOptions options;
  CoordinatorState state = start_state(4, kNow, options);
  const auto on = [&](const Event& event) {
    state = decide(std::move(state), event, kNow, options).state;
  };
  on(TermBegan{1, "a", {}, ""});
  on(report_of("a", 1));
  on(report_of("b", 1));
  on(GenerationClaimed{1, true});
  on(CheckpointsListed{});
  for (const WorkerPhase phase : {WorkerPhase::Ready, WorkerPhase::Working})
    for (const char* node : {"a", "b"}) {
      Report report = report_of(node, phase == WorkerPhase::Ready ? 2 : 3);
      report.order = phase == WorkerPhase::Ready ? 1 : 2;
      report.generation = 1;
      for (int i = 0; i < 2; ++i)
        report.workers.push_back(worker(i + (node[0] == 'a' ? 0 : 2), phase));
      on(report);
    }
  WEFT_CHECK(state.phase == RunPhase::Running, "the fuzz target's own run runs");
  return state;
}

void tell_coordinator(const Event& event) {
  static const CoordinatorState start = running();
  const CoordinatorOptions options;
  CoordinatorState state = decide(start, event, kNow, options).state;
  state = decide(std::move(state), event, kNow, options).state;
  state = decide(std::move(state), Tick{}, kNow + std::chrono::minutes(3), options).state;
  decide(std::move(state), report_of("a", 1000), kNow + std::chrono::minutes(3), options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto message = decode(bytes);
  if (!message) {
    WEFT_CHECK((message.error().code == weft::Code::Corrupt ||
                message.error().code == weft::Code::Unsupported) &&
               !message.error().message.empty() && message.error().message.size() < 4096);
    return 0;
  }
  const std::string written = encode(*message);
  const auto again = decode(written);
  WEFT_CHECK(again.has_value(), again ? "" : again.error().message);
  WEFT_CHECK(encode(*again) == written, written);
  if (const auto* const report = std::get_if<Report>(&*message)) tell_coordinator(*report);
  if (const auto* const records = std::get_if<RecordsMessage>(&*message)) {
    WEFT_CHECK(records->payload.size() == records->records.keys.size());
    tell_coordinator(records->records);
  }
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  std::vector<std::string> seeds;
  Report report = report_of("a", 4);
  report.generation = 1;
  report.order = 2;
  report.saved = Checkpoint{40, 1, "step-00000040"};
  report.saved_request = 3;
  report.workers = {worker(0, WorkerPhase::Working), worker(1, WorkerPhase::Failed)};
  report.workers[0].activity = Activity::Stepping;
  report.workers[0].step = 41;
  report.workers[0].step_time = std::chrono::milliseconds(1740);
  report.workers[1].gone = true;
  report.workers[1].failure = WorkerFailure{};
  report.workers[1].failure->message = "rank 3 is gone";
  report.workers[1].failure->blames = 3;
  seeds.push_back(encode(report));
  report = report_of("b", 9);
  report.left = true;
  seeds.push_back(encode(report));
  RecordsMessage records;
  records.records = {"a", 1, 1, 0, {{0, 40}, {1, -1}}};
  records.payload = {R"({"type":"metrics"})", R"({"type":"event"})"};
  seeds.push_back(encode(records));
  Order order;
  order.term = 1;
  order.number = 2;
  order.generation = 1;
  order.wanted = Wanted::Work;
  order.ranks = {{0, 0}, {1, 1}};
  order.resume = Checkpoint{40, 1, "step-00000040"};
  order.addresses = std::make_shared<const std::vector<std::string>>(4, "10.0.0.1:4000");
  seeds.push_back(encode(order));
  order.addresses = std::make_shared<const std::vector<std::string>>(
      std::vector<std::string>{"[fe80::1]:1", "[fe80::1]:2", "host:3", "host:4", "[fe80::1]:5"});
  seeds.push_back(encode(order));
  order.addresses = std::make_shared<const std::vector<std::string>>(
      std::vector<std::string>{"no port", "a,b:3"});
  order.save = {3, 50};
  order.reason = "rank 2 was killed by signal 9";
  seeds.push_back(encode(order));
  seeds.push_back(encode(Beat{1, 2}));
  seeds.push_back(encode(Acknowledgement{1, 1, 2, 17}));
  seeds.push_back(encode(RefusalMessage{"another version"}));
  seeds.push_back("{\"weft\":" + std::to_string(kWireVersion) +
                  R"(,"type":"stored","term":1,"generation":1e104,"rank":2,"next":17})");
  seeds.push_back("{\"weft\":" + std::string(60, '[') + std::string(60, ']') + "}");
  return seeds;
}
