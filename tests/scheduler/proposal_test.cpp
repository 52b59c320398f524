// A proposal is kept to its word: applied, the job fits.
#include "scheduler/plan/proposal.h"

#include <gtest/gtest.h>

#include <array>

#include "base/rng.h"
#include "scheduler/plan/legal.h"

namespace weft::scheduler {
namespace {

using dualpipe::Kind;

Figure figure(double value) { return {value, "test"}; }

Cluster cluster_of(int nodes, double memory) {
  Cluster c;
  c.name = "small";
  c.gpu.name = "G";
  c.gpu.fp32 = figure(1e13);
  c.gpu.bf16 = figure(1e14);
  c.gpu.memory = figure(memory);
  c.gpu.memory_bandwidth = figure(2e12);
  c.gpu.sms = figure(100);
  c.node.gpus = figure(4);
  c.node.nvlink_bandwidth = figure(2e11);
  c.node.nics = figure(4);
  c.node.nic_bandwidth = figure(5e10);
  c.nodes = figure(nodes);
  return c;
}

Work small_work() {
  Work w;
  w.model.layers = 8;
  w.model.dense_layers = 1;
  w.model.hidden = 512;
  w.model.vocab = 4096;
  w.model.intermediate = 1024;
  w.model.moe_intermediate = 256;
  w.model.experts = 16;
  w.model.top_k = 4;
  w.model.shared = 1;
  w.layout = {Kind::DualPipe, 2, 4, 4, 8};
  w.sequence = 512;
  return w;
}

/// Layouts of all kinds of wrong: odd positions, experts that do not divide, too many GPUs, too
/// little memory, a precision that the GPU does not have.
Inputs drawn(std::uint64_t seed) {
  Rng rng(seed, "proposal");
  const auto one_of = [&](auto... choices) {
    const std::array all = {choices...};
    return all[rng.below(static_cast<std::uint32_t>(all.size()))];
  };
  Inputs inputs;
  inputs.cluster = cluster_of(one_of(1, 2, 5), one_of(4e8, 8e8, 2e9, 8e10));
  if (one_of(0, 1) == 1) inputs.cluster.gpu.fp8 = figure(2e14);
  Work& w = inputs.work = small_work();
  w.layout.kind = one_of(Kind::DualPipe, Kind::DualPipeV, Kind::ZBV, Kind::ZeroBubble,
                         Kind::OneFOneB, Kind::Interleaved, Kind::GPipe);
  w.layout.pipeline = one_of(1, 2, 3, 4, 5, 8, 16, 100);
  w.layout.data = one_of(1, 2, 3, 4, 6, 8, 12, 64);
  w.layout.expert = one_of(1, 2, 3, 4, 5, 16, 32);
  w.layout.micro_batches = one_of(1, 2, 5, 7, 8, 16);
  w.micro_batch_sequences = one_of(1, 2, 3, 8);
  w.precision = w.dispatch = one_of(Precision::F32, Precision::BF16, Precision::FP8);
  w.model.tied = one_of(0, 0, 0, 1) == 1;
  return inputs;
}

bool fits(const Inputs& inputs) {
  if (!layout_problems(inputs.work).empty()) return false;
  const auto plan = predict(inputs.work, inputs.cluster);
  return plan && plan->fits;
}

TEST(Proposal, AppliedTheJobFits) {
  int bad = 0, answered = 0, batch_kept = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Inputs inputs = drawn(seed);
    if (fits(inputs)) continue;
    ++bad;
    const auto found = proposals(inputs, inputs, "");
    answered += found.empty() ? 0 : 1;
    for (const Proposal& proposal : found) {
      Inputs changed = inputs;
      const auto follows = apply_what_if(proposal.what_if, changed);
      ASSERT_TRUE(follows) << seed << " " << proposal.what_if << ": " << follows.error().message;
      EXPECT_TRUE(follows->empty()) << seed << " " << proposal.what_if;
      const auto plan = predict(changed.work, changed.cluster);
      ASSERT_TRUE(plan) << seed << " " << proposal.what_if << ": " << plan.error().message;
      EXPECT_TRUE(plan->fits) << seed << " " << proposal.what_if << ": " << plan->problems.front();
      EXPECT_DOUBLE_EQ(plan->step.total, proposal.step_seconds);
      EXPECT_DOUBLE_EQ(plan->peak_bytes(), proposal.peak_bytes);
      batch_kept += changed.work.step_sequences() == inputs.work.step_sequences() ? 1 : 0;
    }
  }
  EXPECT_GT(bad, 70);
  EXPECT_GT(answered, bad * 9 / 10);  // the rest fits no cluster of this size
  EXPECT_GT(batch_kept, bad / 2);
}

TEST(Proposal, AfterAWhatIfItIsTheWholeWhatIf) {
  int answered = 0;
  for (const char* asked :
       {"nodes=1", "pipeline=3", "expert=16,data=24", "pipeline=3,expert=5,micro_batches=7",
        "gpu.memory=300MB", "nodes=1,gpu.memory=300MB,micro_batch_sequences=4"}) {
    const Inputs base{small_work(), cluster_of(2, 8e10), {}, 0};
    Inputs inputs = base;
    ASSERT_TRUE(apply_what_if(asked, inputs)) << asked;
    if (fits(inputs)) continue;
    for (const Proposal& proposal : proposals(inputs, base, asked)) {
      Inputs changed = base;
      ASSERT_TRUE(apply_what_if(proposal.what_if, changed)) << proposal.what_if;
      EXPECT_TRUE(fits(changed)) << proposal.what_if;
      ++answered;
    }
  }
  EXPECT_GE(answered, 4);
}

TEST(Proposal, ChangesOneDecisionWhereOneIsEnough) {
  Inputs inputs{small_work(), cluster_of(2, 8e10), {}, 0};
  inputs.work.layout.expert = 3;
  const auto expert = proposals(inputs, inputs, "");
  ASSERT_EQ(expert.size(), 1u);
  EXPECT_EQ(expert[0].what_if, "expert=4");
  inputs.work = small_work();
  inputs.work.layout.data = 8;  // 16 GPUs of 8
  const auto gpus = proposals(inputs, inputs, "");
  ASSERT_EQ(gpus.size(), 2u);
  EXPECT_EQ(gpus[0].what_if, "data=4,micro_batches=16");
  EXPECT_EQ(gpus[1].what_if, "nodes=4");
}

TEST(Proposal, EverythingThatIsWrongWithALayoutIsSaidAtOnce) {
  Work work = small_work();
  work.layout = {Kind::DualPipe, 9, 8, 3, 7};
  EXPECT_EQ(layout_problems(work).size(), 4u);  // lanes, experts, sizes, layers
  EXPECT_FALSE(legal(work));
  EXPECT_TRUE(layout_problems(small_work()).empty());
}

TEST(Proposal, AnIllegalLayoutIsTheSameInWordsAndAsAnAnswer) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Work work = drawn(seed).work;
    EXPECT_EQ(legal(work), layout_problems(work).empty()) << seed;
    if (legal(work)) {
      EXPECT_TRUE(step_time(work, cluster_of(64, 1e15))) << seed;
    }
  }
}

}  // namespace
}  // namespace weft::scheduler
