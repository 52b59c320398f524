// What the phases of a stage's pass have to do: products, attention and bytes of row-wise kernels;
// and how long that takes on a GPU. First principles but for the constants of RowWise.
#pragma once

#include <vector>

#include "dualpipe/overlap.h"
#include "scheduler/cluster/cluster.h"
#include "scheduler/work.h"

namespace weft::scheduler {

/// Bytes that row-wise kernels (norms, rotary, quantising, permuting, SwiGLU, and what else is no
/// product) move for each element of a token's or row's width, per phase. Calibrated: what is left
/// of the mean compute times of deepseek-ai/profile-data train.json (4.4, 9.3, 2.4 ms of attention
/// F, B, W; 4.6, 5.3, 3.5 ms of experts) when products and attention run at the published rates of
/// deploy/clusters/h800-2048.yaml.
struct RowWise {
  double attention[3] = {11.4, 21.5, 6.9};  // forward, backward for input, weights
  double experts[3] = {11.1, 17.0, 1.9};
  double head = 16;  // logits in FP32: written, read for the loss, gradient written and read
};

/// What one phase does on one rank.
struct PhaseWork {
  double gemm = 0;                             // FLOPs of dense products, in the job's precision
  double grouped = 0;                          // of experts' products
  double wide = 0;                             // of products that stay in BF16 (head, gate, joins)
  double core_forward = 0, core_backward = 0;  // of attention itself
  double bytes = 0;                            // of row-wise kernels
  double softmax = 0;                          // of the head's loss over its logits
  // Parameters of the products' matrices, gradients twice (read and written): what a product goes
  // through however few its rows are.
  double weights = 0;
};

/// One stage's block in the order of its phases.
enum class Block { Dense, Moe, NextToken };
Block block_at(const StageBlocks& stage, int layer);
/// Is the model's next-token module, and so everything but the first dense layers, MoE?
bool exchanges(const Work& work, Block block);

/// Phases of a stage as the executor would list them.
std::vector<dualpipe::Phase> stage_phases(const Work& work, const StageBlocks& stage,
                                          dualpipe::Pass pass);

/// A compute phase. `imbalance`: rows of the busiest rank over the mean.
PhaseWork work_of(const Work& work, const StageBlocks& stage, const dualpipe::PhaseStep& step,
                  double imbalance, const RowWise& constants = {});
/// The cluster's own figures for this precision; null: those of KernelRates are all there are.
const NarrowRates* narrow_rates(Precision precision, const Cluster& cluster);

/// Seconds. Kernels of a job with an expert exchange leave it its SMs always, as the published
/// profile's do.
double seconds_of(const PhaseWork& phase, const Work& work, const Cluster& cluster);

}  // namespace weft::scheduler
