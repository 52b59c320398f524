#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/files.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"
#include "scheduler/balance/balance.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace scheduler;

constexpr std::size_t kInputBytesMax = std::size_t{256} << 20;

Expected<json> read_json(const std::string& path) {
  WEFT_TRY_ASSIGN(const std::string text, read_file(path, kInputBytesMax));
  json value = json::parse(text, nullptr, false);
  if (!value.is_object())
    return fail(Code::InvalidArgument, path +
                                           ": this is no JSON object; expected {\"weight\": "
                                           "[[load of each expert], … per layer]}");
  return value;
}

/// A list of lists under `key`, each row as T.
template <class T>
Expected<std::vector<std::vector<T>>> rows(const json& object, const std::string& path,
                                           const char* key) {
  const json empty;
  const json& list = object.contains(key) ? object[key] : empty;
  const std::string where = path + ": \"" + key + "\"";
  if (!list.is_array() || list.empty())
    return fail(Code::InvalidArgument, where + " must be a list with one list for each layer");
  std::vector<std::vector<T>> out;
  for (const json& row : list) {
    const std::string layer = where + " layer " + std::to_string(out.size());
    if (!row.is_array()) return fail(Code::InvalidArgument, layer + " is no list");
    std::vector<T>& values = out.emplace_back();
    for (const json& value : row) {
      const bool right = std::is_integral_v<T> ? value.is_number_integer() : value.is_number();
      if (!right)
        return fail(Code::InvalidArgument, layer + " entry " + std::to_string(values.size()) +
                                               " is no " +
                                               (std::is_integral_v<T> ? "whole number" : "number"));
      values.push_back(value.get<T>());
    }
    if (values.size() != out.front().size())
      return fail(Code::InvalidArgument, layer + " has " + std::to_string(values.size()) +
                                             " entries, layer 0 has " +
                                             std::to_string(out.front().size()));
  }
  return out;
}

/// What the run's newest event of that kind holds.
Expected<json> loads_of_run(const std::string& run) {
  WEFT_TRY_ASSIGN(const auto root, find_run(run));
  const runtime::RunPaths paths{root};
  WEFT_TRY_ASSIGN(const auto events, runtime::read_json_lines(paths.events()));
  for (auto event = events.rbegin(); event != events.rend(); ++event)
    if (const json kind = event->value("kind", json());
        kind == "expert_loads" || kind == "expert_offer")
      return *event;
  return fail(Code::NotFound, root.string() +
                                  " has reported no expert loads: a supervised stage with experts "
                                  "over several ranks does so every 100 steps");
}

/// What the run said about itself: the loads' step, and what one more slot a rank would bring.
void print_offer(const json& event, Io& io) {
  const auto number = [&](const char* key) {
    const auto at = event.find(key);
    return at != event.end() && at->is_number() ? at->get<double>() : 0.0;
  };
  if (number("imbalance") <= 0) return;
  io.err << fmt::format(
      "step {:.0f} of the run: the busiest rank has {:.2f} times the mean load; "
      "one more expert slot a rank would make it {:.2f}",
      number("step"), number("imbalance"), number("imbalance_with_replicas"));
  if (number("predicted_step_seconds") > 0)
    io.err << fmt::format(" and a step {:.3g} s instead of {:.3g} s (predicted)",
                          number("predicted_step_seconds"), number("step_seconds"));
  io.err << "\n";
}

struct Balanced {
  ExpertGrid grid;
  json offer;  // of a run: its event
  std::vector<std::vector<double>> load;
  std::vector<LayerReplicas> before, after;  // before: empty without a current placement
};

Expected<Balanced> compute(const BalanceVerbOptions& options) {
  Balanced result;
  if (options.input.empty() && options.run.empty())
    return fail(Code::InvalidArgument, "which loads? give --input FILE or --run RUN");
  WEFT_TRY_ASSIGN(const json input,
                  options.run.empty() ? read_json(options.input) : loads_of_run(options.run));
  WEFT_TRY_ASSIGN(result.load, rows<double>(input, options.input + options.run, "weight"));
  result.grid = {static_cast<int>(result.load[0].size()), options.replicas, options.groups,
                 options.nodes, options.gpus};
  if (!options.run.empty()) {  // as it runs, and one more slot a rank
    result.offer = input;
    const auto said = [&](const char* key) {
      const auto at = input.find(key);
      return at != input.end() && at->is_number_integer() ? at->get<int>() : 0;
    };
    if (options.gpus == 0) result.grid.gpus = said("ranks");
    if (options.replicas == 0 && result.grid.gpus > 0)
      result.grid.replicas = result.grid.experts + result.grid.gpus;
  }
  if (result.grid.replicas == 0 || result.grid.gpus == 0)
    return fail(Code::InvalidArgument,
                "how many slots on how many GPUs? give --replicas N and --gpus M");
  WEFT_TRY(check_grid(result.grid));
  if (!options.current.empty()) {
    WEFT_TRY_ASSIGN(const json given, read_json(options.current));
    WEFT_TRY_ASSIGN(auto slots, rows<int>(given, options.current, "phy2log"));
    if (slots.size() != result.load.size())
      return fail(Code::InvalidArgument,
                  fmt::format("{} has {} layers, {} has {}", options.current, slots.size(),
                              options.input, result.load.size()));
    for (std::vector<int>& layer : slots) {
      auto placed = layer_from_slots(std::move(layer), result.grid);
      if (!placed)
        return fail_in(fmt::format("{}: layer {}", options.current, result.before.size()),
                       placed.error());
      result.before.push_back(std::move(*placed));
    }
  }
  WEFT_TRY_ASSIGN(const BalancePolicy policy, parse_balance_policy(options.policy));
  for (std::size_t i = 0; i < result.load.size(); ++i) {
    auto layer = balance_layer(result.load[i], result.grid, {policy, options.tolerance},
                               result.before.empty() ? nullptr : &result.before[i]);
    if (!layer) return fail_in(fmt::format("{}: layer {}", options.input, i), layer.error());
    result.after.push_back(std::move(*layer));
  }
  return result;
}

/// [layer][expert][replica] slot, filled up with -1 to the largest number of replicas.
json log2phy(const Balanced& result) {
  int most = 0;
  for (const LayerReplicas& layer : result.after)
    most = std::max(most, std::ranges::max(replica_counts(layer, result.grid.experts)));
  json out = json::array();
  for (const LayerReplicas& layer : result.after) {
    std::vector<std::vector<int>> slots(result.grid.experts, std::vector<int>(most, -1));
    for (int slot = 0; slot < result.grid.replicas; ++slot)
      slots[layer.expert_of[slot]][layer.index_of[slot]] = slot;
    out.push_back(slots);
  }
  return out;
}

json as_json(const Balanced& result, const std::string& policy) {
  json out = {{"policy", policy},
              {"phy2log", json::array()},
              {"log2phy", log2phy(result)},
              {"logcnt", json::array()},
              {"share", json::array()},
              {"imbalance", json::array()},
              {"imbalance_even", json::array()},
              {"moved", json::array()}};
  for (std::size_t i = 0; i < result.after.size(); ++i) {
    const LayerReplicas& layer = result.after[i];
    out["phy2log"].push_back(layer.expert_of);
    out["logcnt"].push_back(replica_counts(layer, result.grid.experts));
    out["share"].push_back(layer.share_of);
    out["imbalance"].push_back(imbalance(layer, result.load[i], result.grid));
    out["imbalance_even"].push_back(
        imbalance(with_even_shares(layer, result.grid.experts), result.load[i], result.grid));
    if (!result.before.empty())
      out["moved"].push_back(num_moved(result.before[i], layer, result.grid));
  }
  if (result.before.empty()) out.erase("moved");
  if (result.offer.is_object()) {
    out["run"] = result.offer;
    out["run"].erase("weight");
  }
  return out;
}

/// max/mean GPU load: of each layer now, with even shares, and (when given) before; and who moves.
void print_table(const Balanced& result, Io& io) {
  const bool from = !result.before.empty();
  io.out << fmt::format("{:>5}  {:>8}  {:>11}{}\n", "LAYER", "MAX/MEAN", "EVEN SHARES",
                        from ? "    BEFORE  MOVED" : "");
  double sum = 0, sum_even = 0;
  for (std::size_t i = 0; i < result.after.size(); ++i) {
    const LayerReplicas& layer = result.after[i];
    const double now = imbalance(layer, result.load[i], result.grid);
    const double even =
        imbalance(with_even_shares(layer, result.grid.experts), result.load[i], result.grid);
    sum += now;
    sum_even += even;
    io.out << fmt::format("{:>5}  {:>8.3f}  {:>11.3f}", i, now, even);
    if (from)
      io.out << fmt::format("  {:>8.3f}  {:>5}",
                            imbalance(result.before[i], result.load[i], result.grid),
                            num_moved(result.before[i], layer, result.grid));
    io.out << "\n";
  }
  const auto layers = static_cast<double>(result.after.size());
  io.err << fmt::format(
      "{} layers, {} experts in {} slots on {} GPUs: the busiest GPU carries {:.3f} of the mean "
      "({:.3f} when each expert's tokens are spread evenly); -o json gives the placement\n",
      result.after.size(), result.grid.experts, result.grid.replicas, result.grid.gpus,
      sum / layers, sum_even / layers);
}

}  // namespace

int verb_balance(const BalanceVerbOptions& options, Io& io) {
  const auto result = compute(options);
  if (!result) return report(result.error(), io);
  if (options.format == Format::Table && result->offer.is_object()) print_offer(result->offer, io);
  if (options.format == Format::Table)
    print_table(*result, io);
  else
    print_object(io, options.format, "balance", as_json(*result, options.policy), "policy", {});
  return kOk;
}

}  // namespace weft::cli
