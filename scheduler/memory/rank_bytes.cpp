#include "scheduler/memory/rank_bytes.h"

#include <algorithm>
#include <map>

#include "dualpipe/check.h"
#include "scheduler/memory/cache_bytes.h"
#include "scheduler/memory/exchange_bytes.h"
#include "scheduler/memory/packed_bytes.h"
#include "scheduler/memory/transport_bytes.h"
#include "scheduler/time/exchange.h"
#include "scheduler/time/step_end.h"

namespace weft::scheduler {

using dualpipe::Action;
using dualpipe::Op;

namespace {

/// Follows one stage's live bytes through its part of a program.
class StageLedger {
 public:
  StageLedger(const Work& work, const StageBlocks& stage, const StorageRules& rules,
              double imbalance)
      : full_(work.recompute == Recompute::Full) {
    for (int layer = 0; layer < stage.layers(); ++layer)
      blocks_.push_back(block_bytes(work, block_at(stage, layer), rules, imbalance));
    edge_ = work.micro_batch_tokens() * rules.residual * work.model.hidden;
    if (stage.last) {
      head_ = head_bytes(work, rules);
      head_.most *= 1 + stage.next_token;
      head_.after *= 1 + stage.next_token;
    }
  }

  void forward() {
    add(edge_);  // the input
    for (const BlockBytes& block : blocks_) {
      run(block.attention);
      run(block.experts);
    }
    run(head_);
  }
  void backward(bool input, bool weights) {
    if (input) add(edge_);  // the output gradient, received or made by the head
    if (weights) add(-head_.after);
    for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
      if (full_ && input) {
        run(block->attention_again);
        run(block->experts_again);
      }
      if (input) run(block->experts_input);
      if (weights) run(block->experts_weights);
      if (input) run(block->attention_input);
      if (weights) run(block->attention_weights);
    }
    if (weights) add(-2 * edge_);
  }
  double most() const { return most_; }
  double live() const { return live_; }
  /// The most since the last call.
  double take_recent() {
    const double recent = recent_;
    recent_ = live_;
    return recent;
  }

 private:
  void run(const Change& change) {
    see(live_ + change.most);
    add(change.after);
  }
  void add(double bytes) {
    live_ += bytes;
    see(live_);
  }
  void see(double bytes) {
    most_ = std::max(most_, bytes);
    recent_ = std::max(recent_, bytes);
  }

  bool full_;
  std::vector<BlockBytes> blocks_;
  Change head_;
  double edge_ = 0, live_ = 0, most_ = 0, recent_ = 0;
};

/// The most that is live at once. A GPU has one pool; on a CPU each stage keeps what its largest
/// moment needed.
double activations(const std::vector<Action>& program, const Work& work,
                   const std::vector<StageBlocks>& stages, const StorageRules& rules, bool pool,
                   double imbalance) {
  std::map<int, StageLedger> ledgers;
  double most = 0;
  const auto of = [&](int stage) -> StageLedger& {
    return ledgers
        .try_emplace(stage, work, stages[static_cast<std::size_t>(stage)], rules, imbalance)
        .first->second;
  };
  for (const Action& action : program) {
    switch (action.op) {
      case Op::F:
        of(action.chunk.stage).forward();
        break;
      case Op::FB:
        of(action.chunk.stage).forward();
        of(action.other.stage).backward(true, true);
        break;
      case Op::B:
        of(action.chunk.stage).backward(true, true);
        break;
      case Op::BI:
        of(action.chunk.stage).backward(true, false);
        break;
      case Op::W:
        of(action.chunk.stage).backward(false, true);
        break;
      default:
        continue;
    }
    // In an overlapped pair the two stages' moments do not coincide by more than one phase.
    double live = 0, extra = 0;
    for (auto& [stage, ledger] : ledgers) {
      live += ledger.live();
      extra = std::max(extra, ledger.take_recent() - ledger.live());
    }
    most = std::max(most, live + extra);
  }
  if (pool) return most;
  double sum = 0;
  for (const auto& [stage, ledger] : ledgers) sum += ledger.most();
  return sum;
}

void add_parameters(const Work& work, const StageBlocks& stage, bool gpu, RankBytes& bytes) {
  const Layout& layout = work.layout;
  const int copies = dualpipe::num_directions(layout.kind);
  const double dense = dense_parameters(work.model, stage);
  const double experts = expert_parameters(work.model, stage) / layout.expert;
  const double dense_replicas = layout.data * copies;
  const double expert_replicas = 1.0 * layout.data / layout.expert * copies;
  const double own = dense / dense_replicas + experts / expert_replicas;
  const bool wide = work.precision == Precision::F32;
  bytes.weights += (dense + experts) * (gpu && !wide ? 2 : 4);
  bytes.gradients += (dense + experts) * 4;
  bytes.moments += own * 2 * (work.bf16_moments ? 2 : 4);
  // Weights for the forward pass alone. What training had taken from the system stays taken.
  const double redundant = 1.0 * work.redundant_experts * stage.moe * work.model.expert();
  bytes.replicas += redundant * (gpu && !wide ? 2 : 4);
  if (gpu) {
    if (!wide) bytes.masters += own * 4;
    return;
  }
  // The CPU's weights are its masters; owners sum the other replicas' gradients in rank order.
  bytes.received += 4 * (dense / dense_replicas * (dense_replicas - 1) +
                         experts / expert_replicas * (expert_replicas - 1));
  bytes.packed += packed_bytes(work, stage);
  bytes.packed_replicas += 1.0 * work.redundant_experts * stage.moe * packed_replica_bytes(work);
}

/// The most blocks of one stage whose exchange is open: between dispatch and the last weight
/// gradient; with everything computed again, from that second time on.
int open_layouts(const std::vector<Action>& program, int stage, int blocks, bool full) {
  int open = 0, most = 0;
  const auto take = [&](int count) {
    open += count;
    most = std::max(most, open);
  };
  // Block after block, each done before the next.
  const auto one_by_one = [&] {
    take(std::min(blocks, 1));
    open -= std::min(blocks, 1);
  };
  for (const Action& action : program) {
    const bool here = action.chunk.stage == stage;
    const Op op = action.op;
    if (here && (op == Op::F || op == Op::FB)) full ? one_by_one() : take(blocks);
    if (here && op == Op::BI && full) take(blocks);
    if (here && op == Op::W) open -= blocks;
    if ((here && op == Op::B) || (op == Op::FB && action.other.stage == stage))
      full ? one_by_one() : void(open -= blocks);
  }
  return most;
}

/// Each stage, and each next-token module behind it, has an exchange of its own.
void add_host_buffers(const Work& work, const std::vector<StageBlocks>& stages, int position,
                      const std::vector<Action>& program, double imbalance, RankBytes& bytes) {
  const ExchangeBytes each = exchange_bytes(work, imbalance);
  const bool full = work.recompute == Recompute::Full;
  for (const int s : dualpipe::stages_of(work.layout.kind, work.layout.pipeline, position)) {
    const StageBlocks& stage = stages[static_cast<std::size_t>(s)];
    const int modules = exchanges(work, Block::NextToken) ? stage.next_token : 0;
    const int paths = modules + (stage.moe > 0 ? 1 : 0);
    const int layouts =
        open_layouts(program, s, stage.moe, full) + modules * open_layouts(program, s, 1, full);
    bytes.exchange += layouts * each.layout + paths * (each.messages + each.encoded);
    if (stage.moe > 0) bytes.exchange += each.replicas;
  }
  const TransportBytes carried = transport_bytes(work, stages, position, program);
  bytes.transport = carried.rings;
  bytes.collectives = carried.collectives;
}

}  // namespace

Expected<std::vector<RankBytes>> rank_bytes(const Work& work, const Cluster& cluster,
                                            double load_variation) {
  WEFT_TRY_ASSIGN(const Placement placement,
                  place(work.layout, work.model.layers, work.model.next_token));
  WEFT_TRY_ASSIGN(
      const dualpipe::Schedule schedule,
      dualpipe::generate(work.layout.kind, {work.layout.pipeline, work.layout.micro_batches}));
  const bool gpu = cluster.gpu.sms > 0;
  const StorageRules rules = storage_rules(gpu);
  const double imbalance = expected_imbalance(work, load_variation);
  const auto stages = stage_blocks(work.model, placement);
  const std::vector<int> live = dualpipe::peak_activations(schedule);
  const dualpipe::Schedule with_messages = gpu ? schedule : dualpipe::add_messages(schedule);
  WEFT_TRY_ASSIGN(const std::vector<double> cache, rollout_cache(work, gpu));
  std::vector<RankBytes> out;
  for (int position = 0; position < work.layout.pipeline; ++position) {
    RankBytes& bytes = out.emplace_back();
    const auto p = static_cast<std::size_t>(position);
    for (const int s : dualpipe::stages_of(work.layout.kind, work.layout.pipeline, position))
      add_parameters(work, stages[static_cast<std::size_t>(s)], gpu, bytes);
    bytes.activations = activations(schedule.programs[p], work, stages, rules, gpu, imbalance);
    bytes.live = live[p];
    bytes.pool = gpu;
    bytes.kv_cache = cache[p];
    if (!gpu) {
      add_host_buffers(work, stages, position, with_messages.programs[p], imbalance, bytes);
      continue;
    }
    const double message = work.micro_batch_tokens() * rules.residual * work.model.hidden;
    bytes.messages = 4 * message;  // in and out, both directions
    for (const Direction direction : {Direction::Dispatch, Direction::Combine})
      bytes.exchange += 2 * exchange_cost(work, cluster, direction, imbalance).bytes;
  }
  return out;
}

double checkpoint_bytes(const Work& work) {
  return work.model.total() * (4 + 2 * (work.bf16_moments ? 2 : 4));
}

}  // namespace weft::scheduler
