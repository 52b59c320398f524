#include "scheduler/cluster/fields.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#define WEFT_FIGURE(member) [](Cluster& c) -> Figure& { return c.member; }

namespace weft::scheduler {
namespace {

struct Scale {
  std::string_view unit;
  double factor;
};

/// The first of each is what the hint shows.
std::span<const Scale> scales(Unit unit) {
  static constexpr Scale share[] = {{"", 1}, {"%", 0.01}};
  static constexpr Scale count[] = {{"", 1}};
  static constexpr Scale flops[] = {
      {"TFLOP/s", 1e12}, {"PFLOP/s", 1e15}, {"GFLOP/s", 1e9}, {"MFLOP/s", 1e6}};
  static constexpr Scale bytes[] = {{"GB", 1e9},     {"GiB", 0x1p30}, {"TB", 1e12},
                                    {"TiB", 0x1p40}, {"MB", 1e6},     {"MiB", 0x1p20},
                                    {"KB", 1e3},     {"KiB", 0x1p10}, {"B", 1}};
  static constexpr Scale bandwidth[] = {{"GB/s", 1e9},     {"TB/s", 1e12},    {"MB/s", 1e6},
                                        {"GiB/s", 0x1p30}, {"KB/s", 1e3},     {"B/s", 1},
                                        {"Gb/s", 1e9 / 8}, {"Tb/s", 1e12 / 8}};
  static constexpr Scale time[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1},    {"ns", 1e-9},
                                   {"m", 60},    {"h", 3600},  {"d", 86400}};
  static constexpr Scale power[] = {{"W", 1}, {"kW", 1e3}};
  static constexpr Scale money[] = {{"USD", 1}, {"$", 1}};
  switch (unit) {
    case Unit::Count:
      return count;
    case Unit::Share:
      return share;
    case Unit::Flops:
      return flops;
    case Unit::Bytes:
      return bytes;
    case Unit::Bandwidth:
      return bandwidth;
    case Unit::Time:
      return time;
    case Unit::Power:
      return power;
    case Unit::Money:
      return money;
  }
  return count;
}

std::string known_units(Unit unit) {
  std::string text;
  for (const Scale& scale : scales(unit))
    if (!scale.unit.empty()) text += (text.empty() ? "" : ", ") + std::string(scale.unit);
  return text;
}

/// "50 GB/s": in the unit that people use most.
std::string example_of(Unit unit) {
  if (unit == Unit::Share) return "0.5";
  if (unit == Unit::Count) return "8";
  if (unit == Unit::Money) return "2 USD";
  const std::string_view first = scales(unit).front().unit;
  return "50 " + std::string(first);
}

constexpr double kCountMax = 1e6;

/// Below this a rate is a slip of the unit, and what follows from it is no time that anybody waits.
double least_of(Unit unit) {
  switch (unit) {
    case Unit::Flops:
    case Unit::Bytes:
      return 1e6;
    case Unit::Bandwidth:
      return 1e3;
    case Unit::Share:
      return 1e-6;
    default:
      return 0;
  }
}

const std::vector<ClusterField>& table() {
  using enum Unit;
  static const std::vector<ClusterField> fields = {
      {"gpu.fp32", Flops, WEFT_FIGURE(gpu.fp32), true, false, 1e18,
       "peak of dense FP32 (or TF32) products"},
      {"gpu.bf16", Flops, WEFT_FIGURE(gpu.bf16), true, false, 1e18, "peak of dense BF16 products"},
      {"gpu.fp8", Flops, WEFT_FIGURE(gpu.fp8), false, false, 1e18,
       "peak of dense FP8 products; left out where there is none"},
      {"gpu.memory", Bytes, WEFT_FIGURE(gpu.memory), true, false, 1e15, "what a rank may fill"},
      {"gpu.memory_bandwidth", Bandwidth, WEFT_FIGURE(gpu.memory_bandwidth), true, false, 1e15,
       "of its memory"},
      {"gpu.sms", Count, WEFT_FIGURE(gpu.sms), false, false, 1e5, "streaming multiprocessors"},
      {"gpu.communication_sms", Count, WEFT_FIGURE(gpu.communication_sms), false, true, 1e5,
       "of them taken by the expert exchange while it overlaps compute"},
      {"gpu.power", Power, WEFT_FIGURE(gpu.power), false, false, 1e5, "under training load"},
      {"kernels.gemm_fp32", Share, WEFT_FIGURE(kernels.gemm_fp32), false, false, 1,
       "of the peak, by dense layers' products"},
      {"kernels.gemm_bf16", Share, WEFT_FIGURE(kernels.gemm_bf16), false, false, 1,
       "the same in BF16"},
      {"kernels.gemm_fp8", Share, WEFT_FIGURE(kernels.gemm_fp8), false, false, 1,
       "the same in FP8"},
      {"kernels.grouped_gemm_fp32", Share, WEFT_FIGURE(kernels.grouped_gemm_fp32), false, false, 1,
       "of the peak, by experts' products"},
      {"kernels.grouped_gemm_bf16", Share, WEFT_FIGURE(kernels.grouped_gemm_bf16), false, false, 1,
       "the same in BF16"},
      {"kernels.grouped_gemm_fp8", Share, WEFT_FIGURE(kernels.grouped_gemm_fp8), false, false, 1,
       "the same in FP8"},
      {"kernels.attention_forward", Share, WEFT_FIGURE(kernels.attention_forward), false, false, 1,
       "of the BF16 peak, by causal attention"},
      {"kernels.attention_backward", Share, WEFT_FIGURE(kernels.attention_backward), false, false,
       1, "the same backward"},
      {"kernels.memory", Share, WEFT_FIGURE(kernels.memory), false, false, 1,
       "of the memory bandwidth, by row-wise kernels"},
      {"kernels.collective", Share, WEFT_FIGURE(kernels.collective), false, false, 1,
       "of the NIC bandwidth, by reductions and gathers"},
      {"kernels.overhead", Time, WEFT_FIGURE(kernels.overhead), false, true, 10,
       "of each compute phase beside its work"},
      {"kernels.weights", Bandwidth, WEFT_FIGURE(kernels.weights), false, false, 1e15,
       "at which products go through their matrices (4 B a parameter) beside their FLOPs"},
      {"kernels.softmax", Bandwidth, WEFT_FIGURE(kernels.softmax), false, false, 1e15,
       "of the head's loss over its logits; left out: that of row-wise kernels"},
      {"kernels.uneven", Count, WEFT_FIGURE(kernels.uneven), false, false, 100,
       "phases take so many times as long where micro-batches all differ in size"},
      {"kernels.update", Bandwidth, WEFT_FIGURE(kernels.update), false, false, 1e15,
       "of the optimizer; left out: that of row-wise kernels"},
      {"kernels.touch", Bandwidth, WEFT_FIGURE(kernels.touch), false, false, 1e15,
       "a rank's weights (4 B a parameter), each step: gradients cleared, weights packed again"},
      {"kernels.exchange", Time, WEFT_FIGURE(kernels.exchange), false, true, 1,
       "of a worker's own time in an exchange beside its bytes"},
      {"kernels.step", Time, WEFT_FIGURE(kernels.step), false, true, 10,
       "of a worker's own time in a step beside everything else"},
      {"kernels_bf16.attention_forward", Flops, WEFT_FIGURE(bf16.attention_forward), false, false,
       1e18, "of causal attention where a job computes in BF16 on a CPU host; left out: as in F32"},
      {"kernels_bf16.attention_backward", Flops, WEFT_FIGURE(bf16.attention_backward), false, false,
       1e18, "the same backward"},
      {"kernels_bf16.rows", Bandwidth, WEFT_FIGURE(bf16.rows), false, false, 1e15,
       "of row-wise kernels in BF16, its conversions included"},
      {"kernels_bf16.weights", Bandwidth, WEFT_FIGURE(bf16.weights), false, false, 1e15,
       "at which its products go through their matrices (4 B a parameter) beside their FLOPs"},
      {"kernels_bf16.softmax", Bandwidth, WEFT_FIGURE(bf16.softmax), false, false, 1e15,
       "of its head's loss over its logits"},
      {"kernels_bf16.overhead", Time, WEFT_FIGURE(bf16.overhead), false, true, 10,
       "of each of its compute phases beside its work"},
      {"kernels_bf16.touch", Bandwidth, WEFT_FIGURE(bf16.touch), false, false, 1e15,
       "a rank's weights (4 B a parameter), each step: gradients cleared, weights converted and "
       "packed"},
      {"kernels_fp8.attention_forward", Flops, WEFT_FIGURE(fp8.attention_forward), false, false,
       1e18, "of causal attention where a job computes in FP8 on a CPU host; left out: as in F32"},
      {"kernels_fp8.attention_backward", Flops, WEFT_FIGURE(fp8.attention_backward), false, false,
       1e18, "the same backward"},
      {"kernels_fp8.rows", Bandwidth, WEFT_FIGURE(fp8.rows), false, false, 1e15,
       "of row-wise kernels in FP8, its conversions included"},
      {"kernels_fp8.weights", Bandwidth, WEFT_FIGURE(fp8.weights), false, false, 1e15,
       "at which its products go through their matrices (4 B a parameter) beside their FLOPs"},
      {"kernels_fp8.softmax", Bandwidth, WEFT_FIGURE(fp8.softmax), false, false, 1e15,
       "of its head's loss over its logits"},
      {"kernels_fp8.overhead", Time, WEFT_FIGURE(fp8.overhead), false, true, 10,
       "of each of its compute phases beside its work"},
      {"kernels_fp8.touch", Bandwidth, WEFT_FIGURE(fp8.touch), false, false, 1e15,
       "a rank's weights (4 B a parameter), each step: gradients cleared, weights converted and "
       "packed"},
      {"node.gpus", Count, WEFT_FIGURE(node.gpus), true, false, 1024, "a node"},
      {"node.nvlink_bandwidth", Bandwidth, WEFT_FIGURE(node.nvlink_bandwidth), true, false, 1e14,
       "a GPU and direction, effective (shared memory on one CPU host)"},
      {"node.nvlink_latency", Time, WEFT_FIGURE(node.nvlink_latency), false, true, 1, "a message"},
      {"node.nvlink_nodes", Count, WEFT_FIGURE(node.nvlink_nodes), false, false, 1024,
       "nodes that one NVLink domain spans"},
      {"node.nics", Count, WEFT_FIGURE(node.nics), false, false, 64, "a node"},
      {"node.nic_bandwidth", Bandwidth, WEFT_FIGURE(node.nic_bandwidth), false, false, 1e13,
       "a NIC and direction"},
      {"node.nic_latency", Time, WEFT_FIGURE(node.nic_latency), false, true, 1,
       "under one leaf switch"},
      {"node.nic_latency_across", Time, WEFT_FIGURE(node.nic_latency_across), false, true, 1,
       "across leaves"},
      {"node.cores", Count, WEFT_FIGURE(node.cores), false, false, 4096,
       "that the workers of a CPU node share"},
      {"node.crowding", Count, WEFT_FIGURE(node.crowding), false, false, 100,
       "work takes so many times as long where workers are more than cores"},
      {"node.wakeup", Time, WEFT_FIGURE(node.wakeup), false, true, 1,
       "until a worker that waited for its neighbour goes on where workers are more than cores"},
      {"node.handover", Time, WEFT_FIGURE(node.handover), false, true, 1,
       "more for each exchange where workers are more than cores"},
      {"node.spread", Share, WEFT_FIGURE(node.spread), false, true, 1,
       "by which the steps of one and the same run differ from run to run"},
      {"node.host_bandwidth", Bandwidth, WEFT_FIGURE(node.host_bandwidth), false, false, 1e13,
       "a GPU to its host's memory, for checkpoints"},
      {"node.power", Power, WEFT_FIGURE(node.power), false, true, 1e6,
       "of everything but the GPUs"},
      {"network.nodes", Count, WEFT_FIGURE(nodes), true, false, kCountMax,
       "that a job may use, spares included"},
      {"network.nodes_per_leaf", Count, WEFT_FIGURE(nodes_per_leaf), false, true, kCountMax,
       "0: all under one leaf"},
      {"network.oversubscription", Count, WEFT_FIGURE(oversubscription), false, false, 1e3,
       "2: half the bandwidth from a leaf towards the spine"},
      {"storage.write", Bandwidth, WEFT_FIGURE(storage_write), false, false, 1e15,
       "of the whole cluster"},
      {"storage.read", Bandwidth, WEFT_FIGURE(storage_read), false, false, 1e15,
       "of the whole cluster"},
      {"cost.gpu_hour", Money, WEFT_FIGURE(gpu_hour), false, true, 1e4, "of one GPU"},
      {"failures.node_mtbf", Time, WEFT_FIGURE(node_mtbf), false, false, 1e11,
       "between failures of one node that stop the job"},
      {"failures.restart", Time, WEFT_FIGURE(restart), false, true, 1e6,
       "from a failure to the first new step, lost steps apart"},
  };
  return fields;
}

bool whole(const ClusterField& field) {
  return field.unit == Unit::Count && field.path != "network.oversubscription" &&
         field.path != "node.crowding" && field.path != "kernels.uneven";
}

void check_range(const ClusterField& field, const Cluster& cluster,
                 std::vector<ClusterProblem>& out) {
  const Figure& figure = field.of(cluster);
  const std::string path(field.path);
  if (!figure.given()) {
    if (field.required)
      out.push_back(
          {path, path + " is missing",
           "give it with its source: " + std::string(field.path.substr(field.path.find('.') + 1)) +
               ": [" + example_of(field.unit) + ", where it comes from]"});
    return;
  }
  const bool low = field.zero ? figure.value < 0 : figure.value <= 0;
  if (!std::isfinite(figure.value))
    out.push_back({path, path + " is no number that can be reckoned with",
                   "at most " + figure_text(field.unit, field.max)});
  else if (low)
    out.push_back({path, path + " is " + figure_text(field.unit, figure.value),
                   field.zero ? "it must not be negative" : "it must be more than 0"});
  else if (figure.value > 0 && figure.value < least_of(field.unit))
    out.push_back(
        {path, path + " is " + figure_text(field.unit, figure.value),
         "at least " + figure_text(field.unit, least_of(field.unit)) + ": is the unit right?"});
  else if (figure.value > field.max)
    out.push_back({path, path + " is " + figure_text(field.unit, figure.value),
                   "at most " + figure_text(field.unit, field.max) +
                       (field.unit == Unit::Share ? ": no kernel is faster than the peak" : "")});
  else if (whole(field) && figure.value != std::floor(figure.value))
    out.push_back({path, path + " is " + figure_text(field.unit, figure.value),
                   "it must be a whole number, such as " +
                       figure_text(field.unit, std::max(1.0, std::floor(figure.value)))});
}

}  // namespace

std::span<const ClusterField> cluster_fields() { return table(); }

const ClusterField* find_cluster_field(std::string_view path) {
  const auto found = std::ranges::find(table(), path, &ClusterField::path);
  return found == table().end() ? nullptr : &*found;
}

Expected<double> parse_figure(Unit unit, std::string_view text) {
  const std::string shown(text);
  if (unit == Unit::Money && text.starts_with("$")) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string example = example_of(unit);
  if (error != std::errc() || !std::isfinite(number))
    return fail(Code::InvalidArgument,
                "'" + shown + "' is not a number with a unit\nsuch as " + example);
  std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  if (unit == Unit::Money && shown.starts_with("$") && rest.empty()) return number;
  for (const Scale& scale : scales(unit))
    if (scale.unit == rest) return number * scale.factor;
  if (rest.empty())
    return fail(Code::InvalidArgument, "'" + shown + "' has no unit\nsuch as " + example +
                                           "; known are " + known_units(unit));
  const std::string known = known_units(unit);
  return fail(Code::InvalidArgument, "'" + shown + "': unit '" + std::string(rest) +
                                         "' does not fit here\n" +
                                         (known.empty() ? "a plain number" : "known are " + known));
}

namespace {

/// The unit in which the number is shortest to read.
const Scale& best_scale(Unit unit, double value) {
  const auto list = scales(unit);
  const Scale* best = &list.front();
  if (unit != Unit::Money && unit != Unit::Share)
    for (const Scale& scale : list) {
      if (scale.unit == "Gb/s" || scale.unit == "Tb/s" || scale.unit.find('i') == 1) continue;
      const double now = std::abs(value) / best->factor, then = std::abs(value) / scale.factor;
      if ((now < 1 && then > now && then < 1e6) || (now >= 1000 && then >= 1 && then < now))
        best = &scale;
    }
  return *best;
}

}  // namespace

std::string figure_text(Unit unit, double value) {
  const Scale& scale = best_scale(unit, value);
  std::array<char, 48> number;
  const bool count = unit == Unit::Count && std::abs(value) < 1e15;
  std::snprintf(number.data(), number.size(), count ? "%.15g" : "%.6g", value / scale.factor);
  return std::string(number.data()) + (scale.unit.empty() ? "" : " ") + std::string(scale.unit);
}

std::string rounded_text(Unit unit, double value) {
  if (unit == Unit::Count && value == std::floor(value)) return figure_text(unit, value);
  // 999.6 MB/s rounds to 1 GB/s: the unit is chosen anew.
  const double factor = best_scale(unit, value).factor;
  std::array<char, 48> number;
  std::snprintf(number.data(), number.size(), "%.2e", value / factor);
  return figure_text(unit, std::strtod(number.data(), nullptr) * factor);
}

std::vector<ClusterProblem> problems(const Cluster& c) {
  std::vector<ClusterProblem> out;
  for (const ClusterField& field : table()) check_range(field, c, out);
  const auto count = [](double value) { return figure_text(Unit::Count, value); };
  if (c.gpu.sms.given() && c.gpu.communication_sms >= c.gpu.sms)
    out.push_back({"gpu.communication_sms",
                   "gpu.communication_sms is " + count(c.gpu.communication_sms) + " and gpu.sms " +
                       count(c.gpu.sms) + ": nothing is left to compute",
                   "at most " + count(c.gpu.sms - 1)});
  if (c.nodes_per_leaf > c.nodes && c.nodes >= 1)
    out.push_back({"network.nodes_per_leaf",
                   "network.nodes_per_leaf is " + count(c.nodes_per_leaf) +
                       ", but there are only " + count(c.nodes) + " nodes",
                   "at most " + count(std::floor(c.nodes))});
  if (c.oversubscription.given() && c.oversubscription > 0 && c.oversubscription < 1)
    out.push_back({"network.oversubscription",
                   "network.oversubscription is " + count(c.oversubscription), "1 (none) or more"});
  if (c.node.crowding.given() && c.node.crowding > 0 && c.node.crowding < 1)
    out.push_back({"node.crowding", "node.crowding is " + count(c.node.crowding),
                   "1 (nothing is lost by sharing cores) or more"});
  if (c.kernels.uneven.given() && c.kernels.uneven > 0 && c.kernels.uneven < 1)
    out.push_back({"kernels.uneven", "kernels.uneven is " + count(c.kernels.uneven),
                   "1 (sizes that differ cost nothing) or more"});
  if (c.nodes > 1 && !c.node.nic_bandwidth.given())
    out.push_back({"node.nic_bandwidth",
                   "there are " + count(c.nodes) + " nodes and node.nic_bandwidth is missing",
                   "give what joins them, or network.nodes: 1"});
  if (c.node.nvlink_nodes.given() && c.nodes >= 1 && c.node.nvlink_nodes > c.nodes)
    out.push_back({"node.nvlink_nodes",
                   "node.nvlink_nodes is " + count(c.node.nvlink_nodes) + ", but there are only " +
                       count(c.nodes) + " nodes",
                   "at most " + count(c.nodes)});
  if (c.node.nic_latency_across.given() && c.node.nic_latency_across < c.node.nic_latency)
    out.push_back({"node.nic_latency_across",
                   "node.nic_latency_across is less than node.nic_latency, which is the way under "
                   "one leaf",
                   "at least " + figure_text(Unit::Time, c.node.nic_latency)});
  if (c.nodes * c.node.gpus > kCountMax)
    out.push_back({"network.nodes",
                   "network.nodes x node.gpus is " + count(c.nodes * c.node.gpus) + " GPUs",
                   "at most " + count(kCountMax)});
  for (std::size_t i = 0; i < c.exchange.size(); ++i) {
    const std::string path = "exchange." + std::to_string(i);
    const ExchangeRate& rate = c.exchange[i];
    if (rate.ranks < 2)
      out.push_back({path, path + ".ranks is " + std::to_string(rate.ranks), "at least 2"});
    if (!(rate.dispatch > 0) || !(rate.combine > 0))
      out.push_back({path, path + ": dispatch and combine must be more than 0 B/s",
                     "such as dispatch: [51 GB/s, DeepEP]"});
    if (i > 0 && rate.ranks <= c.exchange[i - 1].ranks)
      out.push_back({path,
                     path + ".ranks is " + std::to_string(rate.ranks) + " after " +
                         std::to_string(c.exchange[i - 1].ranks),
                     "list them by ascending ranks, each once"});
  }
  return out;
}

}  // namespace weft::scheduler
