#include "scheduler/plan/proposal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <optional>

#include "scheduler/cluster/fields.h"
#include "scheduler/plan/legal.h"
#include "scheduler/plan/nearest.h"

namespace weft::scheduler {

namespace {

std::string number(double value) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.17g", value);
  return text.data();
}

/// The items that make `to` of `base`, given that `now` is what was asked for already.
std::string items(const Work& base, const Work& now, const Work& to) {
  std::string out;
  const auto item = [&](std::string_view key, const auto& b, const auto& n, const auto& t,
                        const std::string& text) {
    if (b == t && n == t) return;
    out += (out.empty() ? "" : ",") + std::string(key) + "=" + text;
  };
  const Layout &b = base.layout, &n = now.layout, &t = to.layout;
  item("schedule", b.kind, n.kind, t.kind, std::string(dualpipe::to_string(t.kind)));
  item("pipeline", b.pipeline, n.pipeline, t.pipeline, std::to_string(t.pipeline));
  item("data", b.data, n.data, t.data, std::to_string(t.data));
  item("expert", b.expert, n.expert, t.expert, std::to_string(t.expert));
  item("micro_batches", b.micro_batches, n.micro_batches, t.micro_batches,
       std::to_string(t.micro_batches));
  item("micro_batch_sequences", base.micro_batch_sequences, now.micro_batch_sequences,
       to.micro_batch_sequences, number(to.micro_batch_sequences));
  item("recompute", base.recompute, now.recompute, to.recompute,
       std::string(to_string(to.recompute)));
  item("precision", base.precision, now.precision, to.precision,
       std::string(to_string(to.precision)));
  return out;
}

/// Nodes and memory for the layout as it is.
std::string larger_cluster(const Inputs& inputs) {
  if (!legal(inputs.work)) return {};
  std::string out;
  const Cluster& cluster = inputs.cluster;
  Cluster larger = cluster;
  if (inputs.work.layout.world() > cluster.num_gpus()) {
    const int nodes =
        (inputs.work.layout.world() + cluster.gpus_per_node() - 1) / cluster.gpus_per_node();
    larger.nodes.value = nodes;
    out = "nodes=" + std::to_string(nodes);
  }
  const auto memory = rank_bytes(inputs.work, larger);
  if (!memory) return {};
  const double peak = std::ranges::max_element(*memory, {}, &RankBytes::total)->total();
  if (peak > cluster.gpu.memory) {
    const double unit = std::pow(10.0, std::floor(std::log10(peak)) - 2);
    const double enough = std::ceil(peak / unit) * unit;
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), "%.6gGB", enough / 1e9);
    out += (out.empty() ? "" : ",") + std::string("gpu.memory=") + text.data();
  }
  return out;
}

std::vector<std::string> items_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) out.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

std::string_view full_name(std::string_view key) {
  return key == "pp" ? "pipeline" : key == "dp" ? "data" : key == "ep" ? "expert" : key;
}

/// What was asked, less what is asked anew, then that.
std::string merged(const std::string& asked, const std::string& more) {
  std::string out;
  const auto key_of = [](std::string_view item) {
    return full_name(item.substr(0, item.find('=')));
  };
  const std::vector<std::string> anew = items_of(more);
  for (const std::string& item : items_of(asked)) {
    const auto again = [&](const std::string& other) { return key_of(other) == key_of(item); };
    if (std::ranges::none_of(anew, again)) out += item + ",";
  }
  return out + more;
}

/// The proposal that these items make, if they keep their promise.
std::optional<Proposal> tried(const Inputs& base, const std::string& text) {
  Inputs inputs = base;
  if (!apply_what_if(text, inputs)) return std::nullopt;
  const auto plan = predict(inputs.work, inputs.cluster, inputs.assumptions);
  if (!plan || !plan->fits) return std::nullopt;
  return Proposal{text, plan->step.total, plan->peak_bytes()};
}

}  // namespace

std::vector<Proposal> proposals(const Inputs& inputs, const Inputs& base,
                                const std::string& asked) {
  std::vector<Proposal> out;
  const auto offer = [&](const std::string& more) {
    if (more.empty()) return;
    if (auto proposal = tried(base, merged(asked, more))) out.push_back(*std::move(proposal));
  };
  Inputs able = inputs;  // with a precision that the GPUs have
  if (!has_precision(able.work.precision, able.cluster))
    able.work.precision = able.work.dispatch = Precision::BF16;
  if (const auto work = nearest_layout(able, able.work))
    offer(items(base.work, inputs.work, *work));
  if (able.work.precision == inputs.work.precision) offer(larger_cluster(inputs));
  return out;
}

}  // namespace weft::scheduler
