// A cluster's figures from a run's recorded steps.
#include <algorithm>
#include <cmath>
#include <map>

#include "runtime/drift/drift.h"
#include "runtime/drift/step_period.h"
#include "scheduler/cluster/fields.h"
#include "scheduler/time/step_end.h"

namespace weft::runtime {

using dualpipe::MeasuredStep;
using scheduler::Cluster;
using scheduler::Figure;
using scheduler::Precision;
using scheduler::Work;

namespace {

constexpr int kRounds = 12;
constexpr double kGoodEnough = 0.005;
constexpr const char* kCalibrated = "calibrated from ";

/// By which factors the model's rates have to change, by phase.
using Faster = std::map<std::string, double>;

double of(const Faster& faster, const char* name) {
  const auto found = faster.find(name);
  return found == faster.end() ? 1.0 : found->second;
}

double mean(const Faster& faster, const char* a, const char* b) {
  return std::sqrt(of(faster, a) * of(faster, b));
}

class Calibration {
 public:
  Calibration(const Work& work, Cluster& cluster, std::string source)
      : work_(work), cluster_(cluster), source_(std::move(source)) {}

  void change(const Faster& faster) {
    kernels(faster);
    // Workers of one host wait for each other in exchanges as long as they take turns on cores:
    // what those last says nothing of their bandwidth.
    if (cluster_.node.cores > 0) return;
    for (scheduler::ExchangeRate& rate : cluster_.exchange) {
      scale(rate.dispatch, mean(faster, "dispatch", "combine backward"));
      scale(rate.combine, mean(faster, "combine", "dispatch backward"));
    }
    if (cluster_.exchange.empty())
      scale(cluster_.node.nvlink_bandwidth, mean(faster, "dispatch", "combine"));
  }

  /// What a step takes beside its phases.
  void change_step(double seconds) {
    Figure& step = cluster_.kernels.step;
    const double now = std::max(0.0, step + seconds / scheduler::cores_shared_by(work_, cluster_));
    if (std::abs(now - step) < 1e-7) return;
    step = {now, source_};
  }

 private:
  void scale(Figure& figure, double by, double most = 1e30) {
    if (figure <= 0 || !(by > 0) || std::abs(by - 1) < kGoodEnough) return;
    figure.value = std::clamp(figure.value * by, 1e-6, most);
    figure.source = source_;
  }

  /// Of a CPU host a run speaks of its own precision only; a GPU's are taken to drift alike.
  bool speaks_of(Precision precision) const {
    return !(cluster_.node.cores > 0) || work_.precision == precision;
  }

  void kernels(const Faster& faster) {
    constexpr double kWhole = 1;  // of the peak
    scheduler::KernelRates& k = cluster_.kernels;
    const double dense = of(faster, "attention");
    const double back = mean(faster, "attention backward", "attention weights");
    const double grouped = std::cbrt(of(faster, "experts") * of(faster, "experts backward") *
                                     of(faster, "experts weights"));
    const auto products = [&](Precision precision, Figure& gemm, Figure& experts) {
      if (!speaks_of(precision)) return;
      scale(gemm, dense, kWhole);
      scale(experts, grouped, kWhole);
    };
    products(Precision::F32, k.gemm_fp32, k.grouped_gemm_fp32);
    products(Precision::BF16, k.gemm_bf16, k.grouped_gemm_bf16);
    products(Precision::FP8, k.gemm_fp8, k.grouped_gemm_fp8);
    scheduler::NarrowRates* own = work_.precision == Precision::BF16  ? &cluster_.bf16
                                  : work_.precision == Precision::FP8 ? &cluster_.fp8
                                                                      : nullptr;
    const bool narrow = own != nullptr && own->attention_forward.given();
    scale(narrow ? own->attention_forward : k.attention_forward, dense, narrow ? 1e30 : kWhole);
    scale(narrow ? own->attention_backward : k.attention_backward, back, narrow ? 1e30 : kWhole);
  }

  const Work& work_;
  Cluster& cluster_;
  std::string source_;
};

}  // namespace

Expected<Cluster> calibrated(const std::vector<MeasuredStep>& steps, const Work& work,
                             Cluster cluster, const std::string& run) {
  Calibration calibration(work, cluster, kCalibrated + run);
  // A phase has work of several kinds, so its rates are approached in rounds.
  for (int round = 0; round < kRounds; ++round) {
    WEFT_TRY_ASSIGN(const Drift drift, compare(steps, work, cluster));
    Faster faster;
    double worst = 0;
    for (const PhaseDrift& phase : drift.phases) {
      if (phase.measured <= 0 || phase.predicted <= 0) continue;
      faster[phase.phase] = phase.predicted / phase.measured;
      worst = std::max(worst, std::abs(faster[phase.phase] - 1));
    }
    if (worst < kGoodEnough) break;
    calibration.change(faster);
  }
  if (!(cluster.node.cores > 0) || step_period(steps).steps == 0) return cluster;
  WEFT_TRY_ASSIGN(const Drift left, compare(steps, work, cluster));
  calibration.change_step(left.step_measured - left.step_predicted);
  return cluster;
}

std::vector<std::string> not_calibrated(const Cluster& cluster) {
  std::vector<std::string> names;
  const auto timed = [](std::string_view path) {
    return path.starts_with("kernels") || path.ends_with("_bandwidth") ||
           path.ends_with("_latency") || path == "node.crowding" || path == "node.handover" ||
           path.ends_with("wakeup");
  };
  for (const scheduler::ClusterField& field : scheduler::cluster_fields())
    if (const Figure& figure = field.of(cluster);
        timed(field.path) && figure.given() && !figure.source.starts_with(kCalibrated))
      names.emplace_back(field.path);
  for (const scheduler::ExchangeRate& rate : cluster.exchange)
    if (!rate.dispatch.source.starts_with(kCalibrated))
      names.push_back("exchange of " + std::to_string(rate.ranks));
  return names;
}

}  // namespace weft::runtime
