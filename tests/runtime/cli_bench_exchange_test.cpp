#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/runtime/cli_in_process.h"

namespace weft::cli {
namespace {

using nlohmann::json;

Result bench(std::vector<std::string> args) {
  args.insert(args.begin(), {"bench", "exchange"});
  return run(args);
}

double bytes(const json& report, int exchange, const char* hops, const char* link) {
  return report["exchanges"][exchange]["bytes_per_token"][hops][link];
}

/// V3's shape with fewer tokens: what follows from symmetry must come out.
TEST(BenchExchange, CountsV3sShapeAsItMust) {
  const Result result = bench({"--tokens", "48", "-o", "json"});
  ASSERT_EQ(result.code, kOk) << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(report["schema"], "weft.bench.exchange/v1");
  const double nodes = report["routing"]["nodes_per_token"],
               ranks = report["routing"]["ranks_per_token"];
  EXPECT_LE(report["routing"]["nodes_per_token_max"], 4);
  EXPECT_GT(nodes, 3.5);
  EXPECT_GT(ranks, nodes);
  EXPECT_LE(ranks, 8.0);
  // A token sees all nodes alike: 7 of 8 choices cross. A combined row is 7168 x 4 bytes.
  const double row = 7168 * 4, others = 7.0 / 8;
  EXPECT_NEAR(bytes(report, 1, "one_hop", "cross_node") / row, ranks * others, 0.03 * ranks);
  EXPECT_NEAR(bytes(report, 1, "two_hops", "cross_node") / row, nodes * others, 0.03 * nodes);
  EXPECT_NEAR(report["exchanges"][1]["cross_node_saving"], ranks / nodes, 0.01 * ranks / nodes);
  // The backward pass of combine has no header and rows of 7168 codes and 56 scales.
  EXPECT_NEAR(bytes(report, 2, "two_hops", "cross_node") / 7224,
              bytes(report, 1, "two_hops", "cross_node") / row, 1e-9);
}

TEST(BenchExchange, PrintsATableAndSaysThatItIsSimulated) {
  const Result result = bench({"--tokens", "4", "--hidden", "128", "--payload", "bf16"});
  ASSERT_EQ(result.code, kOk) << result.err;
  EXPECT_NE(result.out.find("cross node"), std::string::npos);
  EXPECT_NE(result.err.find("simulated"), std::string::npos);
}

TEST(BenchExchange, RefusesShapesThatCannotBe) {
  for (const auto& [args, hint] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--experts", "100"}, "--experts 100 do not divide evenly over 64 ranks; try 128"},
           {{"--group-limit", "9"}, "--group-limit 9 of only 8"},
           {{"--groups", "3"}, "3 equal --groups"},
           {{"--top-k", "200"}, "--top-k 200"},
           {{"--nodes", "1000"}, "at most 1024"},
           {{"--tokens", "1000000"}, "too many scores"},
           {{"--tokens", "0"}, "tokens"},
           {{"--payload", "fp4"}, "payload"}}) {
    const Result result = bench(args);
    EXPECT_EQ(result.code, kUsage) << hint;
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find(hint), std::string::npos) << result.err;
  }
}

}  // namespace
}  // namespace weft::cli
