// The coordinator's state and the messages between agents and coordinator as JSON: what the journal
// keeps and the control plane carries. Reading trusts nothing.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/expected.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/coordinator/election.h"

namespace weft::runtime {

inline constexpr int kJournalVersion = 1;

/// {"version", "at", ...}. Times are kept relative to `now`, because the next coordinator's clock
/// may have another origin; what the next reports say anyway is left out.
nlohmann::json to_json(const CoordinatorState& state, Instant now);

/// Errors: Unsupported when a newer version wrote it; Corrupt, naming the member, for anything that
/// to_json does not make: missing or mistyped members, ranks or nodes out of range.
Expected<CoordinatorState> state_from_json(const nlohmann::json& json, Instant now);

nlohmann::json to_json(const Report& report);
nlohmann::json to_json(const Records& records);
nlohmann::json to_json(const Order& order);  // without addresses: they are large, and shared
nlohmann::json to_json(const Claim& claim);
nlohmann::json to_json(const RunEnd& end);
/// Errors: Corrupt, naming the member.
Expected<Report> report_from_json(const nlohmann::json& json);
Expected<Records> records_from_json(const nlohmann::json& json);
Expected<Order> order_from_json(const nlohmann::json& json);
Expected<Claim> claim_from_json(const nlohmann::json& json);
Expected<RunEnd> run_end_from_json(const nlohmann::json& json);

}  // namespace weft::runtime
