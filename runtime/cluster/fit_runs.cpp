#include "runtime/cluster/fit_runs.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/cluster/least_squares.h"
#include "scheduler/time/step_end.h"
#include "scheduler/time/step_time.h"

namespace weft::runtime {

using scheduler::Cluster;
using scheduler::Figure;

namespace {

// The unknowns; their scale makes steps of differing comparable sizes.
enum {
  kSlower,
  kCrowding,
  kTouch,
  kExchange,
  kHandover,
  kWakeup,
  kIdleWakeup,
  kSums,
  kStep,
  kUnknowns
};
using Unknowns = std::vector<double>;
constexpr double kLeast[kUnknowns] = {0.5, 1, 0.2, 0, 0, 0, 0, 0.2, 0};
constexpr double kDelta[kUnknowns] = {0.01, 0.01, 0.01, 1e-6, 1e-6, 1e-6, 1e-6, 0.01, 1e-5};
const char* const kSource = "measured: small runs of this program, all their processes";
const char* const kScaled = "; scaled by small runs";
constexpr int kRounds = 8;  // the model is almost linear in them
// How much a figure's former value weighs beside a run: runs that do not tell two figures apart
// leave both near where the kernels' own measurements had them.
constexpr double kShortExchange = 20e-6;
constexpr double kFormer = 0.02;
constexpr double kShare = 0.3;  // what was measured itself is held closer
constexpr double kShortStep = 100e-6;
// What phases took says by how much they are slower, whatever a step's rest is; but it is the step
// that has to come out.
constexpr double kPhases = 0.5;

/// What all phases go faster or slower by.
std::vector<Figure*> rates_in(Cluster& c) {
  std::vector<Figure*> rates = {&c.gpu.fp32,        &c.gpu.bf16,
                                &c.gpu.fp8,         &c.gpu.memory_bandwidth,
                                &c.kernels.weights, &c.kernels.softmax};
  for (scheduler::NarrowRates* own : {&c.bf16, &c.fp8})
    rates.insert(rates.end(), {&own->attention_forward, &own->attention_backward, &own->rows,
                               &own->weights, &own->softmax});
  return rates;
}

Cluster with(Cluster cluster, const Unknowns& x) {
  slow_down(cluster, x[kSlower]);
  cluster.node.crowding.value = x[kCrowding];
  for (Figure* touch : {&cluster.kernels.touch, &cluster.bf16.touch, &cluster.fp8.touch})
    touch->value /= x[kTouch];
  cluster.kernels.exchange.value = x[kExchange];
  cluster.node.handover.value = x[kHandover];
  cluster.node.wakeup.value = x[kWakeup];
  cluster.node.idle_wakeup.value = x[kIdleWakeup];
  cluster.node.nvlink_bandwidth.value /= x[kSums];
  cluster.kernels.step.value = x[kStep];
  return cluster;
}

/// Of each run first its step; then what its ranks compute.
struct Answers {
  std::vector<double> steps, computing;
};

std::optional<Answers> predicted(std::span<const RunStep> runs, const Cluster& cluster) {
  Answers answers;
  for (const RunStep& run : runs) {
    const auto time = scheduler::step_time(run.work, cluster);
    if (!time || !(time->total > 0) || !(run.seconds > 0)) return std::nullopt;
    answers.steps.push_back(time->total);
    answers.computing.push_back(time->forward + time->backward_input + time->backward_weight +
                                time->pairs - time->exchange);
  }
  return answers;
}

/// How much less a run counts that is further off than most: somebody else had the machine.
double trust(double predicted, double measured) {
  constexpr double kUsual = 0.03;
  return std::sqrt(kUsual / std::max(kUsual, std::abs(predicted / measured - 1)));
}

/// What the model says as a straight line at `x`: one observation for each measured value.
void add_lines(const std::vector<double>& measured, const std::vector<double>& here,
               const std::vector<std::vector<double>>& there, const Unknowns& x,
               const std::vector<double>& weights, std::vector<Observation>& out) {
  for (std::size_t i = 0; i < measured.size(); ++i) {
    if (!(measured[i] > 0)) continue;
    Observation one{
        {}, measured[i] - here[i], weights[i] * trust(here[i], measured[i]) / measured[i]};
    for (std::size_t k = 0; k < kUnknowns; ++k) {
      const double slope = (there[k][i] - here[i]) / kDelta[k];
      one.work.push_back(slope);
      one.value += slope * x[k];
    }
    out.push_back(std::move(one));
  }
}

/// The least squares of that.
std::optional<Unknowns> better(std::span<const RunStep> runs, const Cluster& cluster,
                               const Unknowns& x) {
  const auto here = predicted(runs, with(cluster, x));
  if (!here) return std::nullopt;
  std::vector<std::vector<double>> steps, computing;
  for (std::size_t k = 0; k < kUnknowns; ++k) {
    Unknowns moved = x;
    moved[k] += kDelta[k];
    const auto there = predicted(runs, with(cluster, moved));
    if (!there) return std::nullopt;
    steps.push_back(there->steps);
    computing.push_back(there->computing);
  }
  std::vector<double> took, computed, weights, less;
  for (const RunStep& run : runs) {
    took.push_back(run.seconds);
    computed.push_back(run.computing);
    weights.push_back(run.weight);
    less.push_back(run.weight * kPhases);
  }
  std::vector<Observation> observations;
  add_lines(took, here->steps, steps, x, weights, observations);
  add_lines(computed, here->computing, computing, x, less, observations);
  const auto hold = [&](std::size_t k, double at, double scale) {
    Observation one{std::vector<double>(kUnknowns), at, kFormer / scale};
    one.work[k] = 1;
    observations.push_back(std::move(one));
  };
  hold(kSlower, 1, 1);
  hold(kTouch, 1, kShare);
  hold(kCrowding, std::max(1.0, cluster.node.crowding.value), 1);
  hold(kSums, 1, kShare);
  hold(kExchange, cluster.kernels.exchange, kShortExchange);
  hold(kStep, cluster.kernels.step, kShortStep);
  return least_squares(observations, {std::begin(kLeast), std::end(kLeast)});
}

/// The median of those that were measured where each worker has its core: elsewhere somebody else
/// computes meanwhile. 0: none.
double between_passes(std::span<const RunStep> runs, const Cluster& cluster) {
  std::vector<double> seconds;
  for (const RunStep& run : runs)
    if (run.between > 0 && scheduler::cores_shared_by(run.work, cluster) <= 1)
      seconds.push_back(run.between);
  if (seconds.empty()) return 0;
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::ranges::nth_element(seconds, middle);
  return *middle;
}

void name_sources(Cluster& cluster) {
  for (Figure* figure :
       {&cluster.node.crowding, &cluster.node.handover, &cluster.node.wakeup,
        &cluster.node.idle_wakeup, &cluster.kernels.exchange, &cluster.kernels.step})
    figure->source = kSource;
  std::vector<Figure*> scaled = rates_in(cluster);
  scaled.insert(scaled.end(), {&cluster.node.nvlink_bandwidth, &cluster.kernels.touch,
                               &cluster.bf16.touch, &cluster.fp8.touch});
  for (Figure* figure : scaled)
    if (figure->given() && !figure->source.ends_with(kScaled)) figure->source += kScaled;
}

}  // namespace

void weigh_repeated(std::span<RunStep> runs, std::size_t shapes) {
  constexpr double kUsual = 0.03;
  for (std::size_t shape = 0; shape < shapes; ++shape) {
    double best = runs[shape].seconds;
    for (std::size_t i = shape; i < runs.size(); i += shapes)
      best = std::min(best, runs[i].seconds);
    for (std::size_t i = shape; i < runs.size(); i += shapes)
      runs[i].weight = kUsual / std::max(kUsual, runs[i].seconds / best - 1);
  }
}

void slow_down(Cluster& cluster, double times) {
  for (Figure* rate : rates_in(cluster)) rate->value /= times;
  for (Figure* time : {&cluster.kernels.overhead, &cluster.bf16.overhead, &cluster.fp8.overhead})
    time->value *= times;
}

std::vector<double> fit_runs(std::span<const RunStep> runs, Cluster& given) {
  Cluster cluster = given;
  if (const double between = between_passes(runs, given); between > 0)
    cluster.kernels.step.value = between;
  Unknowns x = {1,
                std::max(1.0, cluster.node.crowding.value),
                1,
                cluster.kernels.exchange.value,
                cluster.node.handover.value,
                cluster.node.wakeup.value,
                cluster.node.idle_wakeup.value,
                1,
                cluster.kernels.step.value};
  for (int round = 0; round < kRounds; ++round) {
    const auto next = better(runs, cluster, x);
    if (!next) return {};
    x = *next;
  }
  const Cluster fitted = with(cluster, x);
  const auto answers = predicted(runs, fitted);
  if (!answers) return {};
  given = fitted;
  name_sources(given);
  std::vector<double> ratios;
  for (std::size_t i = 0; i < runs.size(); ++i)
    ratios.push_back(answers->steps[i] / runs[i].seconds);
  return ratios;
}

}  // namespace weft::runtime
