// Any bytes as the state in a journal: refused, naming what is wrong, or a state that is written
// and read again the same, and that a coordinator takes over and goes on from.
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "runtime/coordinator/state_json.h"
#include "tests/fuzz/replay.h"

using namespace weft::runtime;
using nlohmann::json;

namespace {

const weft::Instant kNow{std::chrono::hours(1000)};

void go_on(CoordinatorState state) {
  const CoordinatorOptions options;
  const auto on = [&](const Event& event, weft::Duration later) {
    state = decide(std::move(state), event, kNow + later, options).state;
  };
  const std::int64_t term = state.term < (std::int64_t{1} << 40) ? state.term + 1 : state.term;
  on(TermBegan{term, "a", {}, ""}, {});
  Report report;
  report.node = "a";
  report.incarnation = 7;
  report.number = 1;
  report.term = term;
  report.facts = NodeFacts{};
  report.facts->slots = 8;
  on(report, std::chrono::seconds(1));
  on(Tick{}, std::chrono::seconds(2));
  on(GenerationClaimed{state.generation, true}, std::chrono::seconds(3));
  on(CheckpointsListed{{{40, 1, "step-00000040"}}}, std::chrono::seconds(3));
  on(Tick{}, std::chrono::hours(3));
  on(StopAsked{}, std::chrono::hours(3));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const json parsed = json::parse(data, data + size, nullptr, false);
  if (parsed.is_discarded()) return 0;
  auto state = state_from_json(parsed, kNow);
  if (!state) {
    WEFT_CHECK((state.error().code == weft::Code::Corrupt ||
                state.error().code == weft::Code::Unsupported) &&
               !state.error().message.empty());
    return 0;
  }
  const std::string written = to_json(*state, kNow).dump();
  const auto again = state_from_json(json::parse(written), kNow);
  WEFT_CHECK(again.has_value(), again ? "" : again.error().message);
  WEFT_CHECK(to_json(*again, kNow).dump() == written);
  if (state->world <= 4096) go_on(std::move(*state));
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  const CoordinatorOptions options;
  CoordinatorState state = start_state(4, kNow, options);
  std::vector<std::string> seeds = {to_json(state, kNow).dump()};
  const auto on = [&](const Event& event) {
    state = decide(std::move(state), event, kNow, options).state;
    seeds.push_back(to_json(state, kNow).dump());
  };
  on(TermBegan{1, "a", {}, ""});
  for (const char* node : {"a", "b"}) {
    Report report;
    report.node = node;
    report.incarnation = 1;
    report.number = 1;
    report.term = 1;
    report.facts = NodeFacts{};
    report.facts->slots = 2;
    report.facts->checks = {{"disk", true, "enough"}};
    on(report);
  }
  on(GenerationClaimed{1, true});
  on(CheckpointsListed{{{40, 1, "step-00000040"}}});
  // A generation that ended because of a node.
  Report failed;
  failed.node = "a";
  failed.incarnation = 2;
  failed.number = 1;
  failed.term = 1;
  failed.facts = NodeFacts{};
  failed.facts->slots = 2;
  on(failed);
  on(BanAsked{"b", "slow", std::chrono::hours(1)});
  on(SaveAsked{50});
  on(StopAsked{});
  return seeds;
}
