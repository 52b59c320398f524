#include "runtime/coordinator_shell/run_teller.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/units.h"
#include "runtime/drift/drift_json.h"
#include "runtime/log/log.h"

namespace weft::runtime {

using nlohmann::json;

void StatusPipe::say(const json& what) const {
  const std::string line = what.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  (void)!::write(descriptor_, line.data(), line.size());
}

namespace {

constexpr std::chrono::seconds kSignsEvery{2};  // of life, in run.json
constexpr std::size_t kNodesPerSigns = 128;     // of more nodes they are told less often

/// Where a node is reached, which ranks it has, when it was heard last (none: not in this term).
json about(const Node& node, Instant now, WallTime wall) {
  const json heard = node.heard
                         ? json(format_time(wall - std::chrono::duration_cast<WallTime::duration>(
                                                       now - node.last_heard)))
                         : json();
  return {{"ranks", node.ranks}, {"address", node.facts.address}, {"heard", heard}};
}

}  // namespace

bool RunTeller::should_describe(long long num_refused) const {
  return should_describe_ || num_refused != told_refused_ || clock_.now() >= next_signs_;
}

void RunTeller::publish(std::int64_t generation, const std::string& kind, const std::string& reason,
                        const std::string& asked) {
  log_info(reason);
  json details = {{"generation", generation}, {"term", term_}};
  if (!asked.empty()) details["asked"] = asked;
  (void)store_.append_event(kind, reason, details);
  status_.say({{"type", "notice"}, {"kind", kind}, {"message", reason}});
  should_describe_ = true;
}

Expected<RunDiagnosis> RunTeller::tell_who_waited(std::int64_t generation) {
  const bool told = std::exchange(diagnosed_, generation) == generation;
  auto found = diagnose_run(store_.paths().traces(), clock_);
  if (told || !found || found->text.empty()) return found;
  json details = to_json(*found);
  details["generation"] = generation;
  (void)store_.append_event("diagnosis", found->text, details);
  status_.say({{"type", "notice"}, {"kind", "diagnosis"}, {"message", found->text}});
  return found;
}

void RunTeller::tell_drift(long long last_step) {
  if (!drift_) return;
  drift_->look(last_step);
  const auto found = drift_->take();
  if (!found) return;
  const bool compared = found->has_value();
  const std::string text =
      (compared ? summary(**found) : "not compared with the plan: " + found->error().message) +
      " (" + drift_->cluster().string() + ")";
  json details = compared ? to_json(**found) : json::object();
  details["cluster"] = drift_->cluster().string();
  (void)store_.append_event("drift", text, details);
  (void)store_.describe({{"drift", text}});
  drift_.reset();
}

void RunTeller::describe(const CoordinatorState& state, long long num_refused,
                         const ReportPace& pace) {
  told_refused_ = num_refused;
  should_describe_ = false;
  next_signs_ =
      clock_.now() + kSignsEvery * static_cast<int>(1 + state.nodes.size() / kNodesPerSigns);
  json nodes = json::object(), members = json::object();
  for (const auto& [name, node] : state.nodes) {
    nodes[name] = node.lost ? "lost" : node.left ? "left" : "here";
    members[name] = about(node, clock_.now(), clock_.wall_now());
  }
  json excluded = json::object();
  for (const auto& [name, ban] : state.bans) excluded[name] = ban.reason;
  json facts = {{"generation", state.generation},
                {"restarts", state.line.empty() ? 0 : state.line.size() - 1},
                {"term", term_},
                {"phase", to_string(state.phase)},
                {"nodes", nodes},
                {"members", members},
                {"excluded", excluded},
                {"refused_by_coordinator", told_refused_}};
  if (state.generation > 0) facts["attempt"] = state.generation;
  // What a person or a swap ended has not failed.
  if (state.cause.kind != Cause::Kind::None && state.cause.kind != Cause::Kind::Planned)
    facts["last_failure"] = state.cause.text;
  if (pace.count() > 0)
    facts["report_handling"] = {{"reports", pace.count()},
                                {"median_ms", pace.milliseconds(0.5)},
                                {"p99_ms", pace.milliseconds(0.99)},
                                {"worst_ms", pace.worst_milliseconds()}};
  (void)store_.describe(facts);
}

}  // namespace weft::runtime
