// weft bench exchange: how many bytes the expert exchange puts on which link, counted from
// simulated routing; one hop beside two.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "base/rng.h"
#include "comm/exchange/exchange_traffic.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "trainer/kernels/router.h"

namespace weft::cli {
namespace {

using comm::ExchangeStep;
using nlohmann::json;

constexpr double kScoresMax = 4e9;   // minutes of simulated routing
constexpr double kChoicesMax = 2e8;  // all are in memory together
constexpr int kRanksMax = 1024;

tl::unexpected<Error> wrong(std::string message) {
  return fail(Code::InvalidArgument, std::move(message));
}

Expected<void> validate(const BenchExchangeOptions& o) {
  const long long ranks = static_cast<long long>(o.nodes) * o.ranks_per_node;
  if (ranks > kRanksMax)
    return wrong(fmt::format("--nodes {} of --ranks-per-node {} are {} ranks; at most {}", o.nodes,
                             o.ranks_per_node, ranks, kRanksMax));
  if (o.experts % ranks != 0)
    return wrong(fmt::format("--experts {} do not divide evenly over {} ranks; try {}", o.experts,
                             ranks, (o.experts / ranks + 1) * ranks));
  if (o.experts % o.groups != 0)
    return wrong(
        fmt::format("--experts {} do not divide into {} equal --groups", o.experts, o.groups));
  if (o.group_limit > o.groups)
    return wrong(fmt::format("--group-limit {} of only {} --groups", o.group_limit, o.groups));
  if (o.top_k > o.experts / o.groups * o.group_limit)
    return wrong(fmt::format("--top-k {}, but {} groups hold {} experts", o.top_k, o.group_limit,
                             o.experts / o.groups * o.group_limit));
  if (static_cast<double>(ranks) * o.tokens * o.experts > kScoresMax)
    return wrong(
        fmt::format("{} ranks x {} tokens x {} experts are too many scores to simulate; "
                    "bytes per token settle with a few hundred --tokens",
                    ranks, o.tokens, o.experts));
  return {};
}

/// The choices of one rank's tokens: the model's own gate over independent uniform scores.
class SimulatedGate {
 public:
  explicit SimulatedGate(const BenchExchangeOptions& o)
      : options_(o),
        shape_{o.experts, o.top_k, o.groups, o.group_limit, true, 1},
        logits_(static_cast<std::size_t>(o.experts)),
        scores_(logits_.size()),
        bias_(logits_.size()),
        weights_(static_cast<std::size_t>(o.top_k)) {}

  comm::RankChoices choices_of(int rank) {
    comm::RankChoices choices(static_cast<std::size_t>(options_.tokens) *
                              static_cast<std::size_t>(options_.top_k));
    Rng rng(options_.seed, "bench exchange", static_cast<std::uint64_t>(rank));
    for (std::size_t at = 0; at < choices.size(); at += weights_.size()) {
      for (trainer::Real& logit : logits_) {
        const double u = (rng.next_u32() + 0.5) / 4294967296.0;
        logit = static_cast<trainer::Real>(std::log(u / (1 - u)));  // its sigmoid is u
      }
      trainer::kernels::router_forward(context_, shape_, logits_.data(), bias_.data(), 1,
                                       scores_.data(), choices.data() + at, weights_.data());
    }
    return choices;
  }

 private:
  const BenchExchangeOptions& options_;
  trainer::kernels::Context context_;
  trainer::kernels::RouterShape shape_;
  std::vector<trainer::Real> logits_, scores_, bias_, weights_;
};

/// Where a token's experts lie, on average.
struct Spread {
  double nodes = 0, ranks = 0;
  int nodes_max = 0;
};

Spread spread_of(const std::vector<comm::RankChoices>& choices, const comm::NodeMap& nodes,
                 const BenchExchangeOptions& o) {
  const int num_local = o.experts / nodes.num_ranks();
  Spread spread;
  std::vector<int> at_rank(static_cast<std::size_t>(nodes.num_ranks()), -1);
  std::vector<int> at_node(static_cast<std::size_t>(nodes.num_nodes()), -1);
  int token = 0;
  for (const comm::RankChoices& own : choices)
    for (std::size_t at = 0; at < own.size(); at += static_cast<std::size_t>(o.top_k), ++token) {
      int here = 0;
      for (int k = 0; k < o.top_k; ++k) {
        const int rank = own[at + static_cast<std::size_t>(k)] / num_local;
        int& last_rank = at_rank[static_cast<std::size_t>(rank)];
        int& last_node = at_node[static_cast<std::size_t>(nodes.node_of(rank))];
        if (std::exchange(last_rank, token) != token) spread.ranks += 1;
        if (std::exchange(last_node, token) != token) ++here;
      }
      spread.nodes += here;
      spread.nodes_max = std::max(spread.nodes_max, here);
    }
  spread.nodes /= token;
  spread.ranks /= token;
  return spread;
}

struct Links {
  double self = 0, node = 0, cross = 0;  // bytes per token
};

/// Per exchange, averaged over all tokens of all ranks.
std::array<Links, comm::kNumExchangeSteps> bytes_per_token(
    const BenchExchangeOptions& o, comm::Hops hops, const comm::NodeMap& nodes,
    const std::vector<comm::RankChoices>& choices) {
  const comm::Payload payload = *comm::parse_payload(o.payload);
  const auto traffic = comm::exchange_traffic({o.experts, o.top_k, o.hidden, sizeof(float)},
                                              {nodes, hops, payload}, choices);
  std::array<Links, comm::kNumExchangeSteps> links;
  const double tokens = static_cast<double>(o.tokens) * nodes.num_ranks();
  for (const comm::ExchangeTraffic& rank : traffic)
    for (std::size_t s = 0; s < links.size(); ++s) {
      links[s].self += static_cast<double>(rank.steps[s].self) / tokens;
      links[s].node += static_cast<double>(rank.steps[s].node) / tokens;
      links[s].cross += static_cast<double>(rank.steps[s].cross) / tokens;
    }
  return links;
}

constexpr std::array<const char*, comm::kNumExchangeSteps> kStepNames = {
    "dispatch", "combine", "combine backward", "dispatch backward"};

std::string ratio_text(double one, double two) {
  return two == 0 ? "-" : fmt::format("{:.2f}x", one / two);
}

void print_table(Io& io, const BenchExchangeOptions& o, const Spread& spread,
                 const std::array<Links, comm::kNumExchangeSteps>& one,
                 const std::array<Links, comm::kNumExchangeSteps>& two) {
  io.out << fmt::format(
      "{} experts, top {}, at most {} of {} groups; {} nodes x {} ranks; hidden {}; {} tokens a "
      "rank; dispatch {}\n"
      "a token's experts lie on {:.2f} nodes (at most {}) and {:.2f} ranks, {:.2f} a node\n\n",
      o.experts, o.top_k, o.group_limit, o.groups, o.nodes, o.ranks_per_node, o.hidden, o.tokens,
      o.payload, spread.nodes, spread.nodes_max, spread.ranks, spread.ranks / spread.nodes);
  io.out << fmt::format("{:<18}{:<11}{:>13}{:>13}{:>13}{:>13}{:>10}\n", "", "", "ONE HOP",
                        "TWO HOPS", "ONE HOP", "TWO HOPS", "ONE HOP");
  io.out << fmt::format("{:<18}{:<11}{:>13}{:>13}{:>13}{:>13}{:>10}\n", "EXCHANGE", "LINK",
                        "B/token", "B/token", "MB/rank", "MB/rank", "/ TWO");
  const double megabytes = o.tokens / 1e6;
  for (std::size_t s = 0; s < one.size(); ++s) {
    const auto row = [&](const char* step, const char* link, double a, double b) {
      io.out << fmt::format("{:<18}{:<11}{:>13.0f}{:>13.0f}{:>13.1f}{:>13.1f}{:>10}\n", step, link,
                            a, b, a * megabytes, b * megabytes, ratio_text(a, b));
    };
    row(kStepNames[s], "cross node", one[s].cross, two[s].cross);
    row("", "same node", one[s].node, two[s].node);
    row("", "self", one[s].self, two[s].self);
  }
  io.err
      << "counted from simulated routing (uniform scores); the backward pass of combine travels as "
         "dispatch does, combine and the backward pass of dispatch as fp32.\n"
         "Published for DeepSeek-V3 (report 3.2.2): at most 4 nodes a token; a link inside the "
         "node is 3.2 times as fast as one between nodes, so up to 3.2 copies a node hide "
         "behind one crossing.\n";
}

json links_json(const Links& links) {
  return {{"cross_node", links.cross}, {"same_node", links.node}, {"self", links.self}};
}

json to_object(const BenchExchangeOptions& o, const Spread& spread,
               const std::array<Links, comm::kNumExchangeSteps>& one,
               const std::array<Links, comm::kNumExchangeSteps>& two) {
  json exchanges = json::array();
  for (std::size_t s = 0; s < one.size(); ++s)
    exchanges.push_back(
        {{"exchange", kStepNames[s]},
         {"bytes_per_token", {{"one_hop", links_json(one[s])}, {"two_hops", links_json(two[s])}}},
         {"cross_node_saving", two[s].cross == 0 ? json() : json(one[s].cross / two[s].cross)}});
  return {{"experts", o.experts},
          {"top_k", o.top_k},
          {"groups", o.groups},
          {"group_limit", o.group_limit},
          {"nodes", o.nodes},
          {"ranks_per_node", o.ranks_per_node},
          {"hidden", o.hidden},
          {"tokens_per_rank", o.tokens},
          {"payload", o.payload},
          {"seed", o.seed},
          {"routing",
           {{"source", "simulated"},
            {"nodes_per_token", spread.nodes},
            {"nodes_per_token_max", spread.nodes_max},
            {"ranks_per_token", spread.ranks}}},
          {"exchanges", exchanges}};
}

}  // namespace

int verb_bench_exchange(const BenchExchangeOptions& options, Io& io) {
  if (const auto good = validate(options); !good) {
    report(good.error(), io);
    return kUsage;
  }
  const auto nodes = comm::NodeMap::blocks(options.nodes, options.ranks_per_node);
  SimulatedGate gate(options);
  std::vector<comm::RankChoices> choices;
  for (int rank = 0; rank < nodes.num_ranks(); ++rank) choices.push_back(gate.choices_of(rank));
  const Spread spread = spread_of(choices, nodes, options);
  const auto one = bytes_per_token(options, comm::Hops::one, nodes, choices);
  const auto two = bytes_per_token(options, comm::Hops::two, nodes, choices);
  if (options.format == Format::Table)
    print_table(io, options, spread, one, two);
  else
    print_object(io, options.format, "bench.exchange", to_object(options, spread, one, two),
                 "payload", {});
  return kOk;
}

}  // namespace weft::cli
