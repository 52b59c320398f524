#include "runtime/cluster/kernel_rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/cluster/least_squares.h"
#include "scheduler/cluster/fields.h"

namespace weft::runtime {
namespace {

using scheduler::Cluster;
using scheduler::Figure;
using scheduler::PhaseWork;
using scheduler::Precision;
using scheduler::Unit;

// Seconds of a FLOP of gemm, grouped, attention F and B; of a byte of row-wise kernels, of
// weights and of logits; of a phase.
enum { kGemm, kGrouped, kForward, kBackward, kRows, kWeights, kSoftmax, kPhase, kUnknowns };
const char* const kSource = "measured: phases of small steps, least squares";
constexpr double kFastest = 1e-12;  // seconds of a byte: what small phases do not tell is no rate

std::vector<Observation> observations(std::span<const ProbeRun> runs, const Cluster& cluster) {
  std::vector<Observation> out;
  for (const ProbeRun& run : runs) {
    const bool fp8 = run.work.precision == Precision::FP8;
    const double width = run.work.precision == Precision::F32 ? 2 : 1;  // constants: of BF16 rows
    for (const ProbeRun::Phase& one : run.phases) {
      if (one.step.phase.kind == dualpipe::PhaseKind::Embed) continue;  // microseconds
      const PhaseWork w = scheduler::work_of(run.work, run.stage, one.step, 1);
      // Head and gate of an FP8 job compute in BF16.
      const double known = fp8 ? w.wide / (cluster.gpu.bf16 * cluster.kernels.gemm_bf16) : 0;
      out.push_back({{w.gemm + (fp8 ? 0 : w.wide), w.grouped, w.core_forward, w.core_backward,
                      w.bytes * width, 4 * w.weights, w.softmax * width, 1},
                     one.seconds - known,
                     1 / one.seconds});
    }
  }
  return out;
}

/// The share that this is of the peak, which is raised where it is less.
Figure share(double per_flop, Figure& peak) {
  if (!(per_flop > 0)) return {1, kSource};
  if (1 / per_flop > peak) peak = {1 / per_flop, kSource};
  return {std::max(1 / per_flop / peak, 1e-6), kSource};
}

Figure rate(double per_unit, double fastest = kFastest) {
  return {1 / std::max(per_unit, fastest), kSource};
}

void set_products(const std::vector<double>& x, Precision precision, Cluster& c) {
  scheduler::KernelRates& k = c.kernels;
  Figure& peak = precision == Precision::F32    ? c.gpu.fp32
                 : precision == Precision::BF16 ? c.gpu.bf16
                                                : c.gpu.fp8;
  Figure& gemm = precision == Precision::F32    ? k.gemm_fp32
                 : precision == Precision::BF16 ? k.gemm_bf16
                                                : k.gemm_fp8;
  Figure& grouped = precision == Precision::F32    ? k.grouped_gemm_fp32
                    : precision == Precision::BF16 ? k.grouped_gemm_bf16
                                                   : k.grouped_gemm_fp8;
  share(std::min(x[kGemm] > 0 ? x[kGemm] : x[kGrouped], x[kGrouped] > 0 ? x[kGrouped] : x[kGemm]),
        peak);  // the faster one may raise it
  gemm = share(x[kGemm], peak);
  grouped = share(x[kGrouped], peak);
}

void set_others(const std::vector<double>& x, Cluster& c) {
  scheduler::KernelRates& k = c.kernels;
  k.attention_forward = share(x[kForward], c.gpu.fp32);
  k.attention_backward = share(x[kBackward], c.gpu.fp32);
  // Small rows may not be told apart from the phases' constant.
  const Figure rows = rate(x[kRows]);
  if (rows > c.gpu.memory_bandwidth)
    c.gpu.memory_bandwidth = {rows, std::string(kSource) + " (rows in caches)"};
  k.memory = {rows / c.gpu.memory_bandwidth, kSource};
  k.weights = rate(x[kWeights]);
  k.softmax = rate(x[kSoftmax]);
  k.overhead = {x[kPhase], kSource};
}

void set_others(const std::vector<double>& x, scheduler::NarrowRates& own) {
  constexpr double kFastestFlop = 1e-15;
  own.attention_forward = rate(x[kForward], kFastestFlop);
  own.attention_backward = rate(x[kBackward], kFastestFlop);
  own.rows = rate(x[kRows]);
  own.weights = rate(x[kWeights]);
  own.softmax = rate(x[kSoftmax]);
  own.overhead = {x[kPhase], kSource};
}

}  // namespace

void set_rates(std::span<const ProbeRun> runs, Precision precision, Cluster& cluster,
               const std::function<void(const std::string&)>& talk) {
  const std::vector<Observation> taken = observations(runs, cluster);
  const std::vector<double> x = least_squares(taken, std::vector<double>(kUnknowns));
  set_products(x, precision, cluster);
  if (precision == Precision::F32)
    set_others(x, cluster);
  else
    set_others(x, precision == Precision::BF16 ? cluster.bf16 : cluster.fp8);
  double worst = 0, sum = 0;
  for (const Observation& one : taken) {
    double predicted = -one.value;
    for (std::size_t k = 0; k < kUnknowns; ++k) predicted += one.work[k] * x[k];
    const double off = std::abs(predicted * one.weight);
    worst = std::max(worst, off);
    sum += off;
  }
  const auto speed = [](Unit unit, double per_unit) {
    return scheduler::rounded_text(unit, 1 / std::max(per_unit, kFastest));
  };
  talk(fmt::format(
      "kernels in {}: products {}, attention {}, rows {}, {} a phase; {} phases, off by {:.0f} % "
      "on average, {:.0f} % at most",
      scheduler::to_string(precision), speed(Unit::Flops, x[kGemm]),
      speed(Unit::Flops, x[kForward]), speed(Unit::Bandwidth, x[kRows]),
      scheduler::rounded_text(Unit::Time, x[kPhase]), taken.size(),
      100 * sum / static_cast<double>(taken.size()), 100 * worst));
}

}  // namespace weft::runtime
