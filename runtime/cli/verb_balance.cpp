#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "runtime/cli/balance_report.h"
#include "runtime/cli/number_rows.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"
#include "scheduler/balance/balance.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace scheduler;

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

/// The loads of an event, as they are in the file of --input.
Expected<std::vector<std::vector<double>>> weight_of(const json& event, const std::string& run) {
  std::vector<std::vector<double>> out;
  const auto at = event.find("weight");
  bool good = at != event.end() && at->is_array() && !at->empty();
  for (std::size_t i = 0; good && i < at->size(); ++i) {
    const json& row = (*at)[i];
    good = row.is_array() && row.size() == (*at)[0].size() &&
           std::ranges::all_of(row, [](const json& value) { return value.is_number(); });
    if (good) out.push_back(row.get<std::vector<double>>());
  }
  if (!good)
    return fail(Code::Corrupt, run + ": its event with expert loads holds no loads of layers");
  return out;
}

/// [layer][slot] experts of a current placement.
Expected<std::vector<std::vector<int>>> slots_of(const std::string& path) {
  WEFT_TRY_ASSIGN(const auto rows, read_number_rows(path, "phy2log", true));
  std::vector<std::vector<int>> out;
  for (const std::vector<double>& row : rows) {
    std::vector<int>& slots = out.emplace_back();
    // What is no int is no expert either.
    for (const double value : row)
      slots.push_back(value >= 0 && value < 1e9 ? static_cast<int>(value) : -1);
  }
  return out;
}

constexpr std::size_t kWrongMax = 10;

/// What the command line does not say; a run may say the rest of itself.
std::string missing_words(const BalanceVerbOptions& options) {
  if (options.input.empty() && options.run.empty())
    return "which loads? give --input FILE or --run RUN";
  if (options.run.empty() && (options.replicas == 0 || options.gpus == 0))
    return "how many slots on how many GPUs? give --replicas N and --gpus M";
  return {};
}

std::string words_of(const ExpertGrid& grid) {
  return fmt::format("--replicas {} --groups {} --nodes {} --gpus {}", grid.replicas, grid.groups,
                     grid.nodes, grid.gpus);
}

/// Everything that is wrong with the command line and the loads, at once.
Expected<void> check_all(const BalanceVerbOptions& options, BalancePolicy policy,
                         const Balanced& result) {
  const std::vector<std::string> of_grid = grid_problems(result.grid, policy);
  std::vector<std::string> wrong = of_grid;
  for (std::size_t i = 0; i < result.load.size() && wrong.size() < kWrongMax; ++i)
    if (const auto good = check_load(result.load[i], result.grid); !good)
      wrong.push_back(
          fmt::format("{}: layer {}: {}", options.input + options.run, i, good.error().message));
  if (wrong.empty()) return {};
  if (!of_grid.empty())
    if (const auto near = nearest_grid(result.grid, policy))
      wrong.push_back("would do: " + words_of(*near));
  return fail(Code::InvalidArgument, "expert balancing: " + join(wrong, "\n  "));
}

/// `event`: of the run, where the loads are a run's.
Expected<Balanced> compute(const BalanceVerbOptions& options, json& event) {
  Balanced result;
  if (options.run.empty()) {
    WEFT_TRY_ASSIGN(result.load, read_number_rows(options.input, "weight", false));
  } else {
    WEFT_TRY_ASSIGN(event, loads_of_run(options.run));
    WEFT_TRY_ASSIGN(result.load, weight_of(event, options.run));
  }
  result.grid = {static_cast<int>(result.load[0].size()), options.replicas, options.groups,
                 options.nodes, options.gpus};
  if (!options.run.empty()) {  // as it runs, and one more slot a rank
    const auto said = [&](const char* key) {
      const auto at = event.find(key);
      return at != event.end() && at->is_number_integer() ? at->get<int>() : 0;
    };
    if (options.gpus == 0) result.grid.gpus = said("ranks");
    if (options.replicas == 0 && result.grid.gpus > 0)
      result.grid.replicas = result.grid.experts + result.grid.gpus;
  }
  if (result.grid.replicas == 0 || result.grid.gpus == 0)
    return fail(Code::InvalidArgument,
                "how many slots on how many GPUs? give --replicas N and --gpus M");
  WEFT_TRY_ASSIGN(const BalancePolicy policy, parse_balance_policy(options.policy));
  WEFT_TRY(check_all(options, policy, result));
  if (!options.current.empty()) {
    WEFT_TRY_ASSIGN(auto slots, slots_of(options.current));
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
  for (std::size_t i = 0; i < result.load.size(); ++i) {
    auto layer = balance_layer(result.load[i], result.grid, {policy, options.tolerance},
                               result.before.empty() ? nullptr : &result.before[i]);
    if (!layer) return tl::unexpected(layer.error());  // of the grid, whatever the loads
    result.after.push_back(std::move(*layer));
  }
  return result;
}

}  // namespace

int verb_balance(const BalanceVerbOptions& options, Io& io) {
  if (const std::string missing = missing_words(options); !missing.empty()) {
    io.err << "weft: error: weft balance: " << missing << "\nSee: weft balance --help\n";
    return kUsage;
  }
  json event;
  const auto result = compute(options, event);
  if (!result) return report(result.error(), io);
  if (options.format == Format::Table && event.is_object()) print_offer(event, io);
  if (options.format == Format::Table)
    print_balance(*result, io);
  else if (options.format == Format::Json)
    io.out << balance_text(*result, options.policy, event);
  else
    print_object(io, options.format, "balance", balance_json(*result, options.policy, event),
                 "policy", {});
  return kOk;
}

}  // namespace weft::cli
