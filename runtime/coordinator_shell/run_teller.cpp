#include "runtime/coordinator_shell/run_teller.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/drift/drift_json.h"
#include "runtime/log/log.h"

namespace weft::runtime {

using nlohmann::json;

void StatusPipe::say(const json& what) const {
  const std::string line = what.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  (void)!::write(descriptor_, line.data(), line.size());
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
  json nodes = json::object();
  for (const auto& [name, node] : state.nodes)
    nodes[name] = node.lost ? "lost" : node.left ? "left" : "here";
  json excluded = json::object();
  for (const auto& [name, ban] : state.bans) excluded[name] = ban.reason;
  json facts = {{"generation", state.generation},
                {"restarts", state.line.empty() ? 0 : state.line.size() - 1},
                {"term", term_},
                {"phase", to_string(state.phase)},
                {"nodes", nodes},
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
