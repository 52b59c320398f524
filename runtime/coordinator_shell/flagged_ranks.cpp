#include "runtime/coordinator_shell/flagged_ranks.h"

#include <nlohmann/json.hpp>

#include "runtime/control/whole_number.h"

namespace weft::runtime {

using nlohmann::json;

std::vector<StragglerFlagged> flagged_in(std::int64_t generation, const std::string& message) {
  // Nearly every record is something else: not worth being read a second time.
  const bool slow = message.find("\"straggler\"") != std::string::npos;
  const bool corrupt = message.find("\"corruption\"") != std::string::npos;
  if (!slow && !corrupt) return {};
  const json record = json::parse(message, nullptr, false);
  try {
    if (record.at("type") != "event") return {};
    const json& details = record.at("details");
    StragglerFlagged flagged;
    flagged.generation = generation;
    flagged.reason = record.at("message").get<std::string>();
    if (record.at("kind") == "straggler" && details.at("swap") == true) {
      flagged.rank = whole<int>(details.at("rank"));
    } else if (record.at("kind") == "corruption" && details.at("ranks").size() == 1) {
      flagged.rank = whole<int>(details.at("ranks").at(0));
      flagged.corrupt = true;
    } else {
      return {};
    }
    return {flagged};
  } catch (const json::exception&) {
    return {};
  }
}

}  // namespace weft::runtime
