#include <fmt/compile.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/text.h"
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

struct Balanced {
  ExpertGrid grid;
  json offer;  // of a run: its event
  std::vector<std::vector<double>> load;
  std::vector<LayerReplicas> before, after;  // before: empty without a current placement
};

std::string words_of(const ExpertGrid& grid) {
  return fmt::format("--replicas {} --groups {} --nodes {} --gpus {}", grid.replicas, grid.groups,
                     grid.nodes, grid.gpus);
}

/// Everything that is wrong with the command line and the loads, at once.
Expected<BalancePolicy> policy_of(const BalanceVerbOptions& options, const Balanced& result) {
  std::vector<std::string> wrong;
  const auto policy = parse_balance_policy(options.policy);
  if (!policy) wrong.push_back(policy.error().message);
  const BalancePolicy known = policy.value_or(BalancePolicy::Best);
  const std::vector<std::string> of_grid = grid_problems(result.grid, known);
  wrong.insert(wrong.end(), of_grid.begin(), of_grid.end());
  for (std::size_t i = 0; i < result.load.size() && wrong.size() < kWrongMax; ++i)
    if (const auto good = check_load(result.load[i], result.grid); !good)
      wrong.push_back(
          fmt::format("{}: layer {}: {}", options.input + options.run, i, good.error().message));
  if (wrong.empty()) return known;
  if (!of_grid.empty())
    if (const auto near = nearest_grid(result.grid, known))
      wrong.push_back("would do: " + words_of(*near));
  return fail(Code::InvalidArgument, "expert balancing: " + join(wrong, "\n  "));
}

Expected<Balanced> compute(const BalanceVerbOptions& options) {
  Balanced result;
  json input;
  if (options.run.empty()) {
    WEFT_TRY_ASSIGN(result.load, read_number_rows(options.input, "weight", false));
  } else {
    WEFT_TRY_ASSIGN(input, loads_of_run(options.run));
    WEFT_TRY_ASSIGN(result.load, weight_of(input, options.run));
  }
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
  WEFT_TRY_ASSIGN(const BalancePolicy policy, policy_of(options, result));
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

int most_replicas(const Balanced& result) {
  int most = 0;
  for (const LayerReplicas& layer : result.after)
    most = std::max(most, std::ranges::max(replica_counts(layer, result.grid.experts)));
  return most;
}

/// [expert][replica] slot, filled up with -1 to `most`.
std::vector<std::vector<int>> slots_by_expert(const LayerReplicas& layer, int experts, int most) {
  std::vector<std::vector<int>> out(experts, std::vector<int>(most, -1));
  for (std::size_t slot = 0; slot < layer.expert_of.size(); ++slot)
    out[layer.expert_of[slot]][layer.index_of[slot]] = static_cast<int>(slot);
  return out;
}

/// [layer][expert][replica].
json log2phy(const Balanced& result) {
  const int most = most_replicas(result);
  json out = json::array();
  for (const LayerReplicas& layer : result.after)
    out.push_back(slots_by_expert(layer, result.grid.experts, most));
  return out;
}

/// What each layer's answer is worth, one number a layer.
struct Worth {
  std::vector<double> now, even;
  std::vector<int> moved;  // empty without a current placement
};

Worth worth_of(const Balanced& result) {
  Worth out;
  for (std::size_t i = 0; i < result.after.size(); ++i) {
    const LayerReplicas& layer = result.after[i];
    out.now.push_back(imbalance(layer, result.load[i], result.grid));
    out.even.push_back(
        imbalance(with_even_shares(layer, result.grid.experts), result.load[i], result.grid));
    if (!result.before.empty())
      out.moved.push_back(num_moved(result.before[i], layer, result.grid));
  }
  return out;
}

json as_json(const Balanced& result, const std::string& policy) {
  const Worth worth = worth_of(result);
  json out = {{"policy", policy},
              {"phy2log", json::array()},
              {"log2phy", log2phy(result)},
              {"logcnt", json::array()},
              {"share", json::array()},
              {"imbalance", worth.now},
              {"imbalance_even", worth.even}};
  for (const LayerReplicas& layer : result.after) {
    out["phy2log"].push_back(layer.expert_of);
    out["logcnt"].push_back(replica_counts(layer, result.grid.experts));
    out["share"].push_back(layer.share_of);
  }
  if (!result.before.empty()) out["moved"] = worth.moved;
  if (result.offer.is_object()) {
    out["run"] = result.offer;
    out["run"].erase("weight");
  }
  return out;
}

/// The same as text, a layer a line: a tenth of the lines and of the time of the general printer.
class Text {
 public:
  explicit Text(const std::string& policy) {
    out_ = fmt::format("{{\n  \"schema\": \"weft.balance/v1\",\n  \"policy\": \"{}\"", policy);
  }
  template <class T>
  void list(const char* name, const std::vector<T>& values) {
    member(name);
    row(values);
  }
  /// `of`: the row of one layer.
  template <class Of>
  void layers(const char* name, const std::vector<LayerReplicas>& layers, Of&& of) {
    member(name);
    out_ += "[";
    for (const LayerReplicas& layer : layers) {
      out_ += &layer == layers.data() ? "\n    " : ",\n    ";
      row(of(layer));
    }
    out_ += "\n  ]";
  }
  void text(const char* name, const std::string& value) {
    member(name);
    out_ += value;
  }
  std::string take() && { return std::move(out_) + "\n}\n"; }

 private:
  void member(const char* name) { out_ += fmt::format(",\n  \"{}\": ", name); }
  void add(int value) { fmt::format_to(std::back_inserter(out_), FMT_COMPILE("{}"), value); }
  void add(double value) { fmt::format_to(std::back_inserter(out_), FMT_COMPILE("{}"), value); }
  template <class T>
  void add(const std::vector<T>& values) {
    row(values);
  }
  template <class T>
  void row(const std::vector<T>& values) {
    out_ += "[";
    for (const T& value : values) {
      if (&value != values.data()) out_ += ",";
      add(value);
    }
    out_ += "]";
  }
  std::string out_;
};

std::string as_text(const Balanced& result, const std::string& policy) {
  const Worth worth = worth_of(result);
  const int experts = result.grid.experts, most = most_replicas(result);
  Text text(policy);
  text.list("imbalance", worth.now);
  text.list("imbalance_even", worth.even);
  if (!worth.moved.empty()) text.list("moved", worth.moved);
  text.layers("phy2log", result.after, [](const LayerReplicas& l) { return l.expert_of; });
  text.layers("logcnt", result.after,
              [&](const LayerReplicas& l) { return replica_counts(l, experts); });
  text.layers("log2phy", result.after,
              [&](const LayerReplicas& l) { return slots_by_expert(l, experts, most); });
  text.layers("share", result.after, [](const LayerReplicas& l) { return l.share_of; });
  if (result.offer.is_object()) {
    json run = result.offer;
    run.erase("weight");
    text.text("run", run.dump(-1, ' ', false, json::error_handler_t::replace));
  }
  return std::move(text).take();
}

/// max/mean GPU load: of each layer now, with even shares, and (when given) before; and who moves.
void print_table(const Balanced& result, Io& io) {
  const bool from = !result.before.empty();
  io.out << fmt::format("{:>5}  {:>8}  {:>11}{}\n", "LAYER", "MAX/MEAN", "EVEN SHARES",
                        from ? "    BEFORE  MOVED" : "");
  const Worth worth = worth_of(result);
  double sum = 0, sum_even = 0;
  for (std::size_t i = 0; i < result.after.size(); ++i) {
    const double now = worth.now[i], even = worth.even[i];
    sum += now;
    sum_even += even;
    io.out << fmt::format("{:>5}  {:>8.3f}  {:>11.3f}", i, now, even);
    if (from)
      io.out << fmt::format("  {:>8.3f}  {:>5}",
                            imbalance(result.before[i], result.load[i], result.grid),
                            worth.moved[i]);
    io.out << "\n";
  }
  const auto layers = static_cast<double>(result.after.size());
  io.err << fmt::format(
      "{} layer{}, {} experts in {} slots on {} GPUs: the busiest GPU carries {:.3f} of the mean "
      "({:.3f} when each expert's tokens are spread evenly); -o json gives the placement\n",
      result.after.size(), result.after.size() == 1 ? "" : "s", result.grid.experts,
      result.grid.replicas, result.grid.gpus, sum / layers, sum_even / layers);
}

}  // namespace

int verb_balance(const BalanceVerbOptions& options, Io& io) {
  if (const std::string missing = missing_words(options); !missing.empty()) {
    io.err << "weft: error: weft balance: " << missing << "\nSee: weft balance --help\n";
    return kUsage;
  }
  const auto result = compute(options);
  if (!result) return report(result.error(), io);
  if (options.format == Format::Table && result->offer.is_object()) print_offer(result->offer, io);
  if (options.format == Format::Table)
    print_table(*result, io);
  else if (options.format == Format::Json)
    io.out << as_text(*result, options.policy);
  else
    print_object(io, options.format, "balance", as_json(*result, options.policy), "policy", {});
  return kOk;
}

}  // namespace weft::cli
