#include "runtime/worker/expert_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weft::runtime {
namespace {

Job job_of_four_ranks() {
  Job job;
  job.name = "skewed";
  job.model.num_hidden_layers = 2;
  job.model.first_k_dense_replace = 1;
  job.model.n_routed_experts = 8;
  job.parallel.data = job.parallel.expert = 4;
  return job;
}

/// Block 0 is dense, block 1 has a rank 0 with so much of what the others have.
std::vector<double> loads(double hot) {
  std::vector<double> all(16, 0.0);
  for (int e = 0; e < 8; ++e) all[static_cast<std::size_t>(8 + e)] = e < 2 ? hot : 1;
  return all;
}

TEST(ExpertReport, OffersReplicasOnceWhereTheBiasDoesNotKeepUp) {
  const Job job = job_of_four_ranks();
  ExpertReport report(job);
  int offers = 0;
  for (long long step = 1; step <= 1299; ++step) {
    const auto said = report.stepped(step, loads(3), 2.0);
    if (!said || said->kind != "expert_offer") continue;
    ++offers;
    EXPECT_EQ(step, ExpertReport::kBiasSteps);
    const nlohmann::json& d = *said->details;
    EXPECT_NEAR(d["imbalance"].get<double>(), 2.0, 1e-9);
    EXPECT_LT(d["imbalance_with_replicas"].get<double>(), 1.2);
    EXPECT_EQ(d["replicas"], 12);
    EXPECT_EQ(d["weight"].size(), 1u);
    EXPECT_LT(d["predicted_step_seconds"].get<double>(), 2.0);
    EXPECT_NE(said->message.find("nothing was changed"), std::string::npos);
  }
  EXPECT_EQ(offers, 1);
  const auto later = report.stepped(1300, loads(3), 2.0);
  ASSERT_TRUE(later);
  EXPECT_EQ(later->kind, "expert_offer") << "a while later it still holds";
}

TEST(ExpertReport, OffersNothingWhileOneRecentStepWasBalanced) {
  const Job job = job_of_four_ranks();
  ExpertReport report(job);
  for (long long step = 1; step <= 1000; ++step)
    if (const auto said = report.stepped(step, loads(step % 40 == 0 ? 1 : 3), 1.0)) {
      EXPECT_EQ(said->kind, "expert_loads") << step;
    }
}

TEST(ExpertReport, HasNothingToSayOfOneRankOrNoLoads) {
  Job job = job_of_four_ranks();
  ExpertReport silent(job);
  EXPECT_FALSE(silent.stepped(100, {}, 1.0));
  EXPECT_FALSE(silent.stepped(100, std::vector<double>(16, 0.0), 1.0));
  job.parallel.expert = 1;
  EXPECT_FALSE(ExpertReport(job).stepped(100, loads(3), 1.0));
}

TEST(ExpertReport, PredictsThatTheExpertsPartOfAStepShrinks) {
  EXPECT_DOUBLE_EQ(predicted_step_seconds(10, 1.0, 2.0, 1.0), 5);
  EXPECT_DOUBLE_EQ(predicted_step_seconds(10, 0.0, 2.0, 1.0), 10);
  EXPECT_DOUBLE_EQ(predicted_step_seconds(15, 0.5, 2.0, 1.0), 10);
  const double share = share_of_experts(job_of_four_ranks());
  EXPECT_GT(share, 0);
  EXPECT_LT(share, 1);
}

}  // namespace
}  // namespace weft::runtime
