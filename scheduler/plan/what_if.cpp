#include "scheduler/plan/what_if.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "base/units.h"
#include "scheduler/cluster/fields.h"
#include "scheduler/cluster/problems.h"
#include "scheduler/plan/legal.h"

namespace weft::scheduler {
namespace {

constexpr double kStepsMax = 1e9;

/// "12", "+2", "-2".
Expected<int> count(std::string_view key, std::string_view text, double now,
                    double most = kLayoutMax) {
  const bool relative = text.starts_with('+') || text.starts_with('-');
  std::string_view digits = text;
  if (text.starts_with('+')) digits.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const double result = relative ? now + value : value;
  if (error != std::errc() || end != digits.data() + digits.size() || result < 1 || result > most ||
      result != std::floor(result)) {
    const std::string whole = std::to_string(static_cast<long long>(most));
    return fail(Code::InvalidArgument, std::string(key) + "=" + std::string(text) +
                                           ": a whole number from 1 to " + whole + ", or +N or -N" +
                                           (relative && error == std::errc() && result < 1
                                                ? ", and there are " + figure_text(Unit::Count, now)
                                                : std::string()));
  }
  return static_cast<int>(result);
}

Expected<double> number(std::string_view key, std::string_view text, double low, double high) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= low) ||
      !(value <= high))
    return fail(Code::InvalidArgument, std::string(key) + "=" + std::string(text) +
                                           ": a number from " + figure_text(Unit::Share, low) +
                                           " to " + figure_text(Unit::Share, high));
  return value;
}

Expected<void> set_figure(const ClusterField& field, std::string_view text, Inputs& inputs) {
  auto value = parse_figure(field.unit, text);
  if (!value) {
    std::string message = value.error().message;
    for (std::size_t at = 0; (at = message.find('\n', at)) != std::string::npos;)
      message.replace(at, 1, ": ");
    return fail(Code::InvalidArgument,
                std::string(field.path) + "=" + std::string(text) + ": " + message);
  }
  field.slot(inputs.cluster) = {*value, "--what-if"};
  return {};
}

Expected<void> set(std::string_view key, std::string_view text, Inputs& inputs) {
  Layout& layout = inputs.work.layout;
  if (key == "nodes") {
    WEFT_TRY_ASSIGN(const int nodes, count(key, text, inputs.cluster.nodes));
    inputs.cluster.nodes = {static_cast<double>(nodes), "--what-if"};
    // Fewer nodes than a leaf or an NVLink domain has leave it as large as they are.
    for (Figure* span : {&inputs.cluster.nodes_per_leaf, &inputs.cluster.node.nvlink_nodes})
      span->value = std::min(span->value, inputs.cluster.nodes.value);
  } else if (key == "pipeline" || key == "pp") {
    WEFT_TRY_ASSIGN(layout.pipeline, count(key, text, layout.pipeline));
  } else if (key == "data" || key == "dp") {
    WEFT_TRY_ASSIGN(layout.data, count(key, text, layout.data));
  } else if (key == "expert" || key == "ep") {
    WEFT_TRY_ASSIGN(layout.expert, count(key, text, layout.expert));
  } else if (key == "micro_batches") {
    WEFT_TRY_ASSIGN(layout.micro_batches, count(key, text, layout.micro_batches));
  } else if (key == "micro_batch_sequences") {
    WEFT_TRY_ASSIGN(inputs.work.micro_batch_sequences,
                    count(key, text, inputs.work.micro_batch_sequences));
  } else if (key == "steps") {
    // Of the whole run, as its job file says them.
    const double done = inputs.steps_done;
    WEFT_TRY_ASSIGN(const double steps,
                    count(key, text, std::round(done + inputs.work.steps), kStepsMax));
    if (steps <= done)
      return fail(Code::InvalidArgument, "steps=" + std::string(text) + ": " +
                                             figure_text(Unit::Count, std::round(done)) +
                                             " are done already; give more");
    inputs.work.steps = steps - done;
  } else if (key == "schedule") {
    WEFT_TRY_ASSIGN(layout.kind, dualpipe::parse_kind(text));
  } else if (key == "recompute") {
    WEFT_TRY_ASSIGN(inputs.work.recompute, parse_recompute(text));
  } else if (key == "precision") {
    WEFT_TRY_ASSIGN(inputs.work.precision, parse_precision(text));
    inputs.work.dispatch = inputs.work.precision;
  } else if (key == "checkpoint") {
    const auto interval = parse_duration(text);
    if (!interval || *interval <= Duration(0))
      return fail(Code::InvalidArgument,
                  "checkpoint=" + std::string(text) + ": a time with its unit, such as 5m");
    inputs.checkpoint_seconds = seconds(*interval);
  } else if (key == "straggler") {
    WEFT_TRY_ASSIGN(inputs.assumptions.straggler, number(key, text, 1, 100));
  } else if (key == "load_variation") {
    WEFT_TRY_ASSIGN(inputs.assumptions.load_variation, number(key, text, 0, 100));
  } else if (const ClusterField* field = find_cluster_field(key)) {
    return set_figure(*field, text, inputs);
  } else {
    std::vector<std::string> known;
    for (const WhatIfKey& one : what_if_keys()) known.emplace_back(one.key);
    std::string hint = join(known, ", ");
    for (const ClusterField& figure : cluster_fields()) known.emplace_back(figure.path);
    if (const std::string near = closest(key, known); !near.empty())
      hint = "did you mean '" + near + "'?";
    else
      hint = "known are " + hint + " and a cluster's figures, such as gpu.memory=96GB";
    return fail(Code::InvalidArgument, "nothing is called '" + std::string(key) + "': " + hint);
  }
  return {};
}

/// Gives up lanes until the layout fits; the batch is spread over those that are left.
void shrink(Inputs& inputs, std::vector<std::string>& follows) {
  Layout& layout = inputs.work.layout;
  if (layout.world() <= inputs.cluster.num_gpus()) return;
  const int data = inputs.cluster.num_gpus() / layout.pipeline / layout.expert * layout.expert;
  if (data < 1) return;
  const double sequences = inputs.work.step_sequences();
  const int before = layout.data;
  int micro_batches =
      static_cast<int>(std::ceil(sequences / data / inputs.work.micro_batch_sequences));
  while (!dualpipe::check_size(layout.kind, {layout.pipeline, micro_batches}) &&
         micro_batches < 1 << 16)
    ++micro_batches;
  follows.push_back("data: " + std::to_string(before) + " -> " + std::to_string(data));
  follows.push_back("micro_batches: " + std::to_string(layout.micro_batches) + " -> " +
                    std::to_string(micro_batches));
  layout.data = data;
  layout.micro_batches = micro_batches;
  inputs.work.steps *= sequences / inputs.work.step_sequences();
}

}  // namespace

std::vector<WhatIfKey> what_if_keys() {
  return {{"nodes", "of the cluster"},
          {"pipeline", "positions (pp)"},
          {"data", "ranks of a position (dp)"},
          {"expert", "ranks that share the experts (ep)"},
          {"micro_batches", "a lane and step"},
          {"micro_batch_sequences", "sequences of a micro-batch"},
          {"schedule", "dualpipe, 1f1b, ..."},
          {"recompute", "none, mla_up, full"},
          {"precision", "f32, bf16, fp8"},
          {"steps", "of the run"},
          {"checkpoint", "time between checkpoints"},
          {"straggler", "the slowest rank's time over the others'"},
          {"load_variation", "of an expert's share from sequence to sequence"}};
}

Expected<std::vector<std::string>> apply_what_if(std::string_view text, Inputs& inputs) {
  std::vector<std::string> wrong;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos || equals == 0)
      wrong.push_back("'" + std::string(item) +
                      "' is not KEY=VALUE, such as nodes=-2 or expert=32");
    else if (const auto done = set(item.substr(0, equals), item.substr(equals + 1), inputs); !done)
      wrong.push_back(done.error().message);
  }
  for (const ClusterProblem& problem : problems(inputs.cluster))
    wrong.push_back(problem.message + ": " + problem.hint);
  const Layout& layout = inputs.work.layout;
  if (1LL * layout.pipeline * layout.data > kLayoutMax)
    wrong.push_back("pipeline=" + std::to_string(layout.pipeline) +
                    " x data=" + std::to_string(layout.data) + " is more than " +
                    std::to_string(kLayoutMax) + " ranks");
  if (!wrong.empty())
    return fail(
        Code::InvalidArgument,
        std::string(wrong.size() == 1 ? "--what-if: " : "--what-if:\n  ") + join(wrong, "\n  "));
  std::vector<std::string> follows;
  shrink(inputs, follows);
  return follows;
}

}  // namespace weft::scheduler
