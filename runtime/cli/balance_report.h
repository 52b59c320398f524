// What weft balance answers, as a table and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/cli/io.h"
#include "scheduler/balance/balance.h"

namespace weft::cli {

struct Balanced {
  scheduler::ExpertGrid grid;
  std::vector<std::vector<double>> load;
  std::vector<scheduler::LayerReplicas> before, after;  // before: empty without a current placement
};

/// Of the published form: phy2log, log2phy, logcnt, and what each layer's placement is worth.
/// `event`: of the run that the loads are from, else null.
nlohmann::json balance_json(const Balanced& result, const std::string& policy,
                            const nlohmann::json& event);
/// The same as text, a layer a line: a tenth of the lines and of the time of the general printer.
std::string balance_text(const Balanced& result, const std::string& policy,
                         const nlohmann::json& event);
/// max/mean GPU load: of each layer now, with even shares, and (when given) before; and who moves.
void print_balance(const Balanced& result, Io& io);

}  // namespace weft::cli
