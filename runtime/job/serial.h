// A Job on paper and on the wire: config.resolved.yaml for people, JSON for the control plane.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/expected.h"
#include "runtime/job/job.h"
#include "runtime/job/load.h"

namespace weft::runtime {

/// The whole job with every default filled in and, as comments, where each value came from. Loading
/// it again gives the same Job.
std::string to_yaml(const Job& job, const std::map<std::string, Origin, std::less<>>& origins = {});

/// Lossless (durations as seconds); objects nested by group.
nlohmann::json to_json(const Job& job);
/// Trusts nothing: types, ranges, unknown and missing fields and the rules between fields are
/// checked. Errors: InvalidArgument naming every problem.
Expected<Job> from_json(const nlohmann::json& json);

/// 16 hex digits over every field that decides the numbers (Field::on_resume == Same): a run may be
/// resumed by any job with the same fingerprint.
std::string fingerprint(const Job& job);
/// The fields that make two fingerprints differ.
std::vector<std::string> numeric_differences(const Job& a, const Job& b);

}  // namespace weft::runtime
