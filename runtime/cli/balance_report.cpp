#include "runtime/cli/balance_report.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

namespace weft::cli {

using nlohmann::json;
using namespace scheduler;

namespace {

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

/// Writes members as they come.
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

}  // namespace

json balance_json(const Balanced& result, const std::string& policy, const json& event) {
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
  if (event.is_object()) {
    out["run"] = event;
    out["run"].erase("weight");
  }
  return out;
}

std::string balance_text(const Balanced& result, const std::string& policy, const json& event) {
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
  if (event.is_object()) {
    json run = event;
    run.erase("weight");
    text.text("run", run.dump(-1, ' ', false, json::error_handler_t::replace));
  }
  return std::move(text).take();
}

void print_balance(const Balanced& result, Io& io) {
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

}  // namespace weft::cli
