#include "runtime/coordinator/state_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weft::runtime {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

CoordinatorState some_state(Instant now) {
  CoordinatorState state = start_state(3, now, {});
  state.term = 4;
  state.phase = RunPhase::Running;
  state.reason = "because";
  state.cause = {Cause::Kind::NodeLost, 2, "b", Code::Unavailable, "node b is lost"};
  state.line = {{1, 0}, {3, 20}};
  state.damaged = {"step-40"};
  state.bans["b"] = {"ended 3 generations", now + 90s};
  state.bans["c"] = {"looks odd", std::nullopt};
  state.spools[{"b", 2}] = now;
  state.save = {7, 100};
  state.saves_done = 6;
  state.generation = 3;
  state.resume = Checkpoint{20, 1, "step-20"};
  state.best_step = 27;
  state.placement = {{"a", 0}, {"a", 1}, {"c", 0}};
  for (const char* name : {"a", "b", "c"}) {
    Node& node = state.nodes[name];
    node.incarnation = 0xfedcba9876543210ull;
    node.facts.slots = 2;
    node.facts.checks = {{"disk", true, "1 TB free"}};
    node.blamed = {now - 10s};
  }
  return state;
}

json through_text(const json& value) { return json::parse(value.dump()); }

TEST(StateJson, KeepsAllThatTheNextCoordinatorNeeds) {
  const Instant now{5h};
  const json written = to_json(some_state(now), now);
  const auto read = state_from_json(through_text(written), now);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(to_json(*read, now), written);
  EXPECT_EQ(read->nodes.at("a").ranks, (std::vector<int>{0, 1}));
  EXPECT_EQ(read->placement[2].node, "c");
}

TEST(StateJson, TimesAreRelativeBecauseAnotherClockReadsThem) {
  const Instant then{5h}, other{900h};
  const auto read = state_from_json(through_text(to_json(some_state(then), then)), other);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read->bans.at("b").until, other + 90s);
  EXPECT_EQ(read->nodes.at("a").blamed[0], other - 10s);
}

TEST(StateJson, RefusesAJournalOfANewerVersion) {
  json written = to_json(some_state(Instant{1h}), Instant{1h});
  written["version"] = kJournalVersion + 1;
  const auto read = state_from_json(written, Instant{1h});
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::Unsupported);
  EXPECT_NE(read.error().message.find("newer weft"), std::string::npos);
}

/// Every value replaced by every odd one, everywhere: an error that names the place, or a state.
void spoil(json& whole, json& part, int& refused) {
  const json odd[] = {
      nullptr,          -1,        1e300, "x", json::array(), json::object(), INT64_MAX, true,
      json::array({1}), UINT64_MAX};
  const json kept = part;
  for (const json& value : odd) {
    part = value;
    const auto read = state_from_json(whole, Instant{1h});
    if (!read) {
      ++refused;
      EXPECT_EQ(read.error().code, Code::Corrupt) << read.error().message;
    }
  }
  part = kept;
  if (part.is_structured())
    for (auto& element : part) spoil(whole, element, refused);
}

TEST(StateJson, SpoiledInAnyPlaceIsAnErrorAndNeverACrash) {
  json written = through_text(to_json(some_state(Instant{1h}), Instant{1h}));
  int refused = 0;
  for (auto& element : written)
    if (&element != &written["version"]) spoil(written, element, refused);
  EXPECT_GT(refused, 500);
  const json whole = written;
  for (const auto& [name, value] : whole.items()) {
    json missing = written;
    missing.erase(name);
    EXPECT_FALSE(state_from_json(missing, Instant{1h})) << name;
  }
  EXPECT_FALSE(state_from_json(json::array(), Instant{1h}));
}

TEST(MessagesJson, ComeBackAsTheyWere) {
  Report report;
  report.node = "a";
  report.incarnation = 3;
  report.number = 17;
  report.facts = NodeFacts{};
  report.facts->slots = 2;
  report.facts->version = "weft 0.1.0";
  WorkerStatus status;
  status.rank = 5;
  status.phase = WorkerPhase::Failed;
  status.failure = WorkerFailure{Code::Io, "full", 2, 1, 0, false, "step-7"};
  report.workers = {status};
  report.saved = Checkpoint{7, 1, "step-7"};
  const auto read = report_from_json(through_text(to_json(report)));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(to_json(*read), to_json(report));
  EXPECT_EQ(read->workers, report.workers);

  Order order;
  order.term = 2;
  order.wanted = Wanted::Work;
  order.ranks = {{4, 0}, {5, 1}};
  order.save = {1, 30};
  const auto back = order_from_json(through_text(to_json(order)));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(same_but_number(*back, order));

  const Records records{"a", 3, 1, 0, {{0, 1}, {1, -1}}};
  const auto again = records_from_json(through_text(to_json(records)));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->keys, records.keys);

  const Claim claim{3, "a", 9, "tcp://a:1", 5, true};
  EXPECT_EQ(*claim_from_json(through_text(to_json(claim))), claim);
  const RunEnd end{Outcome::Failed, "why"};
  EXPECT_EQ(*run_end_from_json(through_text(to_json(end))), end);
}

TEST(MessagesJson, FromAStrangerAreRefusedByName) {
  json report = to_json(Report{});
  report["workers"] = {{{"rank", "five"}}};
  const auto read = report_from_json(report);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().message.find("report.workers[0].rank is no whole number"),
            std::string::npos)
      << read.error().message;
}

}  // namespace
}  // namespace weft::runtime
