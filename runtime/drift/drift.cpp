#include "runtime/drift/drift.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "runtime/drift/step_period.h"

namespace weft::runtime {

using dualpipe::MeasuredStep;
using dualpipe::Op;
using dualpipe::Part;
using dualpipe::Phase;
using dualpipe::PhaseKind;
using dualpipe::PhaseStep;
using dualpipe::RankStep;
using dualpipe::Record;

namespace {

constexpr double kSecond = 1e-9;  // of a nanosecond
// A rank's phase this much above its median peer is worth a word; NVRx takes the same threshold.
constexpr double kSlow = 1 / 0.75;
constexpr int kRounds = 12;
constexpr double kGoodEnough = 0.005;

bool is_phase(const Record& record) {
  return record.what == Record::What::Phase || record.what == Record::What::Exchange;
}

/// What is compared as one: input and weight parts are recorded apart, exchanges by direction.
std::string name_of(const PhaseStep& step) {
  std::string name(dualpipe::to_string(step.phase.kind));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (step.phase.part == Part::Again) return name + " again";
  if (!step.backward) return name;
  return name + (step.phase.part == Part::Weights ? " weights" : " backward");
}

PhaseStep step_of(const Record& record) {
  PhaseStep step;
  step.backward = record.backward != 0;
  step.phase.kind = static_cast<PhaseKind>(record.phase);
  step.phase.part = static_cast<Part>(record.part);
  step.phase.layer = record.layer;
  return step;
}

using Sums = std::map<std::pair<std::string, int>, PhaseDrift>;

/// Durations of what is the same on one rank: a phase of one layer of one stage.
using Same = std::tuple<std::string, int, int, int>;  // name, rank, stage, layer
using Durations = std::map<Same, std::vector<double>>;

/// The median stands for all: where ranks share cores some phases are interrupted for as long as
/// somebody else computes, and that wait is not their work.
void add_measured(Durations& durations, Sums& sums) {
  for (auto& [same, all] : durations) {
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
    std::ranges::nth_element(all, middle);
    sums[{std::get<0>(same), std::get<1>(same)}].measured +=
        *middle * static_cast<double>(all.size());
  }
}

/// Of the rank's own time. A hidden exchange goes on until somebody looks, and one that has to wait
/// for its peers does not work meanwhile: only its beginning and its end hold the rank.
std::int64_t own_ns(const Record& record) {
  const std::int64_t held = record.head_ns + record.tail_ns;
  return record.what == Record::What::Exchange && held > 0 ? held : record.end_ns - record.begin_ns;
}

void add_rank(const RankStep& rank, int pass, const PhaseSeconds& predicted, Sums& sums,
              Durations& durations) {
  std::set<int> pairs;  // program indices of overlapped pairs; a phase's record does not say
  for (const Record& record : rank.recorded.records)
    if (record.what == Record::What::Action && record.pass == pass &&
        record.op == static_cast<std::uint8_t>(Op::FB))
      pairs.insert(record.action);
  for (const Record& record : rank.recorded.records) {
    if (record.pass != pass || !is_phase(record) || record.stage < 0 || record.layer < 0) continue;
    const PhaseStep step = step_of(record);
    const std::string name = name_of(step);
    PhaseDrift& sum = sums[{name, rank.info.rank}];
    sum.phase = name;
    sum.rank = rank.info.rank;
    ++sum.count;
    durations[{name, rank.info.rank, record.stage, record.layer}].push_back(
        kSecond * static_cast<double>(own_ns(record)));
    sum.predicted += predicted(record.stage, step, pairs.contains(record.action));
  }
}

/// An exchange is as long as its slowest peer, who is not this rank.
bool waits(const std::string& phase) {
  return phase.starts_with("dispatch") || phase.starts_with("combine");
}

void add_phases(Drift& drift) {
  std::map<std::string, PhaseDrift> phases;
  std::map<std::string, std::vector<double>> ratios;
  for (const PhaseDrift& one : drift.ranks) {
    PhaseDrift& sum = phases[one.phase];
    sum.phase = one.phase;
    sum.rank = -1;
    sum.count += one.count;
    sum.predicted += one.predicted;
    sum.measured += one.measured;
    if (one.predicted > 0) ratios[one.phase].push_back(one.ratio());
  }
  for (auto& [name, sum] : phases) drift.phases.push_back(sum);
  for (auto& [name, all] : ratios) std::ranges::nth_element(all, all.begin() + all.size() / 2);
  for (const PhaseDrift& one : drift.ranks) {
    if (!ratios.contains(one.phase) || waits(one.phase)) continue;
    const std::vector<double>& all = ratios[one.phase];
    const double median = all[all.size() / 2];
    if (median <= 0 || one.ratio() / median <= drift.slowest_ratio) continue;
    drift.slowest_ratio = one.ratio() / median;
    drift.slowest_rank = one.rank;
    drift.slowest_phase = one.phase;
  }
}

/// Of few steps only their own lengths are known, not what is between them.
void set_measured(Drift& drift, const StepPeriod& period, std::vector<double> seconds) {
  std::ranges::sort(seconds);
  const auto at = [&](double share) {
    return seconds[static_cast<std::size_t>(share * static_cast<double>(seconds.size()))];
  };
  const bool few = period.steps == 0;
  drift.step_measured = few ? at(0.5) : period.median;
  drift.step_low = few ? at(0.25) : period.low;
  drift.step_high = few ? at(0.75) : period.high;
}

}  // namespace

Expected<Drift> compare(const std::vector<MeasuredStep>& steps, const PhaseSeconds& predicted,
                        double step_predicted) {
  Sums sums;
  Durations durations;
  std::vector<double> seconds;
  for (const MeasuredStep& step : steps) {
    const int pass = dualpipe::training_pass(step);
    if (pass < 0 || !step.closed) continue;
    for (const RankStep& rank : step.ranks) add_rank(rank, pass, predicted, sums, durations);
    seconds.push_back(step.seconds());
  }
  if (sums.empty())
    return fail(Code::NotFound,
                "no whole training step with phases is recorded; the run's newest attempt needs "
                "trace.steps above 0 "
                "and at least one step");
  add_measured(durations, sums);
  Drift drift;
  for (auto& [key, sum] : sums) drift.ranks.push_back(sum);
  add_phases(drift);
  drift.step_predicted = step_predicted;
  set_measured(drift, step_period(steps), std::move(seconds));
  return drift;
}

Expected<Drift> compare(const std::vector<MeasuredStep>& steps, const scheduler::Work& work,
                        const scheduler::Cluster& cluster) {
  WEFT_TRY_ASSIGN(const scheduler::Placement placement,
                  scheduler::place(work.layout, work.model.layers, work.model.next_token));
  const std::vector<scheduler::StageBlocks> stages = scheduler::stage_blocks(work.model, placement);
  WEFT_TRY_ASSIGN(const scheduler::StepTime time, scheduler::step_time(work, cluster));
  return compare(
      steps,
      [&](int stage, const PhaseStep& step, bool overlapped) {
        if (stage >= static_cast<int>(stages.size()) || step.phase.layer >= stages[stage].layers())
          return 0.0;
        return scheduler::phase_seconds(work, cluster, stages[stage], step, overlapped);
      },
      time.total);
}

Expected<scheduler::Cluster> calibrated(const std::vector<MeasuredStep>& steps,
                                        const scheduler::Work& work, scheduler::Cluster cluster,
                                        const std::string& run) {
  const std::string source = "calibrated from " + run;
  const auto scale = [&](scheduler::Figure& figure, double by, double most = 1e30) {
    if (figure <= 0 || !(by > 0) || std::abs(by - 1) < kGoodEnough) return;
    figure.value = std::clamp(figure.value * by, 1e-6, most);
    figure.source = source;
  };
  const double whole = 1;  // of the peak
  // A phase has work of several kinds, so its rates are approached in rounds.
  for (int round = 0; round < kRounds; ++round) {
    WEFT_TRY_ASSIGN(const Drift drift, compare(steps, work, cluster));
    std::map<std::string, double> faster;  // by which factor the model's rate has to change
    double worst = 0;
    for (const PhaseDrift& phase : drift.phases) {
      if (phase.measured <= 0 || phase.predicted <= 0) continue;
      faster[phase.phase] = phase.predicted / phase.measured;
      worst = std::max(worst, std::abs(faster[phase.phase] - 1));
    }
    if (worst < kGoodEnough) break;
    const auto of = [&](const char* name) { return faster.contains(name) ? faster[name] : 1.0; };
    const auto mean = [&](const char* a, const char* b) { return std::sqrt(of(a) * of(b)); };
    scheduler::KernelRates& kernels = cluster.kernels;
    const double dense = of("attention");
    const double grouped =
        std::cbrt(of("experts") * of("experts backward") * of("experts weights"));
    for (scheduler::Figure* gemm : {&kernels.gemm_fp32, &kernels.gemm_bf16, &kernels.gemm_fp8})
      scale(*gemm, dense, whole);
    for (scheduler::Figure* gemm :
         {&kernels.grouped_gemm_fp32, &kernels.grouped_gemm_bf16, &kernels.grouped_gemm_fp8})
      scale(*gemm, grouped, whole);
    scale(kernels.attention_forward, dense, whole);
    scale(kernels.attention_backward, mean("attention backward", "attention weights"), whole);
    // Workers of one host wait for each other in exchanges as long as they take turns on cores:
    // what those last says nothing of their bandwidth.
    if (cluster.node.cores > 0) continue;
    for (scheduler::ExchangeRate& rate : cluster.exchange) {
      scale(rate.dispatch, mean("dispatch", "combine backward"));
      scale(rate.combine, mean("combine", "dispatch backward"));
    }
    if (cluster.exchange.empty()) scale(cluster.node.nvlink_bandwidth, mean("dispatch", "combine"));
  }
  return cluster;
}

namespace {

/// "0.013", "2.83", "37.5", "377": no exponent, and a microsecond at the least.
std::string three_digits(double value) {
  return fmt::format("{:.{}f}", value,
                     value < 0.9995  ? 3
                     : value < 9.995 ? 2
                     : value < 99.95 ? 1
                                     : 0);
}

}  // namespace

std::string describe(const Drift& drift) {
  std::string text =
      fmt::format("{:<22} {:>12} {:>12} {:>9}\n", "PHASE", "PREDICTED", "MEASURED", "RATIO");
  const auto line = [&](const std::string& name, double predicted, double measured) {
    text += fmt::format("{:<22} {:>9} ms {:>9} ms {:>9}\n", name, three_digits(predicted * 1e3),
                        three_digits(measured * 1e3),
                        predicted > 0 ? three_digits(measured / predicted) : "-");
  };
  for (const PhaseDrift& phase : drift.phases)
    line(phase.phase, phase.predicted / std::max(1, phase.count),
         phase.measured / std::max(1, phase.count));
  line("step", drift.step_predicted, drift.step_measured);
  if (drift.slowest_ratio > kSlow)
    text += fmt::format("rank {} takes {:.2f} times as long as its median peer in {}\n",
                        drift.slowest_rank, drift.slowest_ratio, drift.slowest_phase);
  return text;
}

std::string summary(const Drift& drift) {
  std::string text = fmt::format("the step was predicted to take {:.3g} ms and takes {:.3g} ms",
                                 drift.step_predicted * 1e3, drift.step_measured * 1e3);
  if (drift.step_predicted > 0)
    text += fmt::format(" ({:+.0f} %)", 100 * (drift.step_measured / drift.step_predicted - 1));
  const auto off = std::ranges::max_element(drift.phases, {}, [](const PhaseDrift& phase) {
    return std::abs(phase.measured - phase.predicted);
  });
  if (off != drift.phases.end() && off->predicted > 0)
    text +=
        fmt::format("; most of it in {}: {:.2f} times the prediction", off->phase, off->ratio());
  if (drift.slowest_ratio > kSlow)
    text += fmt::format("; rank {} takes {:.2f} times as long as its median peer in {}",
                        drift.slowest_rank, drift.slowest_ratio, drift.slowest_phase);
  return text;
}

}  // namespace weft::runtime
