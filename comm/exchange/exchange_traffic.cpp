#include "comm/exchange/exchange_traffic.h"

#include "base/check.h"
#include "comm/exchange/expert_messages.h"
#include "comm/exchange/expert_sections.h"

namespace weft::comm {
namespace {

struct Count {
  std::size_t rows = 0, choices = 0;
};

/// How many rows and choices go from each rank to each rank, and to each node.
class Counts {
 public:
  Counts(const TrafficShape& shape, const NodeMap& nodes, std::span<const RankChoices> choices)
      : num_ranks_(nodes.num_ranks()),
        num_nodes_(nodes.num_nodes()),
        to_rank_(static_cast<std::size_t>(num_ranks_ * num_ranks_)),
        to_node_(static_cast<std::size_t>(num_ranks_ * num_nodes_)) {
    const int num_local = shape.num_experts / num_ranks_;
    std::vector<std::int64_t> last_at_rank(static_cast<std::size_t>(num_ranks_)),
        last_at_node(static_cast<std::size_t>(num_nodes_));
    std::int64_t token = 0;  // counted through all ranks, from 1
    for (int source = 0; source < num_ranks_; ++source) {
      const RankChoices& own = choices[static_cast<std::size_t>(source)];
      for (std::size_t i = 0; i < own.size(); ++i) {
        if (i % static_cast<std::size_t>(shape.top_k) == 0) ++token;
        const int rank = own[i] / num_local, node = nodes.node_of(rank);
        add(at(to_rank_, source, num_ranks_, rank), last_at_rank, rank, token);
        add(at(to_node_, source, num_nodes_, node), last_at_node, node, token);
      }
    }
  }

  const Count& rank(int source, int rank) const {
    return to_rank_[static_cast<std::size_t>(source * num_ranks_ + rank)];
  }
  const Count& node(int source, int node) const {
    return to_node_[static_cast<std::size_t>(source * num_nodes_ + node)];
  }

 private:
  static Count& at(std::vector<Count>& table, int source, int width, int column) {
    return table[static_cast<std::size_t>(source * width + column)];
  }
  static void add(Count& count, std::vector<std::int64_t>& last, int where, std::int64_t token) {
    ++count.choices;
    if (last[static_cast<std::size_t>(where)] == token) return;
    last[static_cast<std::size_t>(where)] = token;
    ++count.rows;
  }

  int num_ranks_, num_nodes_;
  std::vector<Count> to_rank_, to_node_;
};

/// The size of each message of a kind, from what it carries.
struct MessageBytes {
  ExchangeShape shape;

  std::size_t dispatch(const Count& c) const { return shape.places(c.rows, c.choices).end; }
  std::size_t later(ExchangeStep step, const Count& c) const {
    return step == ExchangeStep::combine_backward
               ? c.rows * shape.forth_row_bytes()
               : shape.back_bytes(c.rows, step == ExchangeStep::combine ? 0 : c.choices);
  }
};

bool goes_forth(ExchangeStep step) {
  return step == ExchangeStep::dispatch || step == ExchangeStep::combine_backward;
}

class Account {
 public:
  explicit Account(const NodeMap& nodes)
      : nodes_(nodes), ranks_(static_cast<std::size_t>(nodes.num_ranks())) {}

  void send(ExchangeStep step, int from, int to, std::size_t bytes) {
    LinkBytes& link = ranks_[static_cast<std::size_t>(from)][step];
    (from == to                                   ? link.self
     : nodes_.node_of(from) == nodes_.node_of(to) ? link.node
                                                  : link.cross) += bytes;
  }
  std::vector<ExchangeTraffic> take() { return std::move(ranks_); }

 private:
  const NodeMap& nodes_;
  std::vector<ExchangeTraffic> ranks_;
};

void count_one_hop(ExchangeStep step, const NodeMap& nodes, const MessageBytes& bytes,
                   const Counts& counts, Account& account) {
  for (int home = 0; home < nodes.num_ranks(); ++home) {
    for (int rank = 0; rank < nodes.num_ranks(); ++rank) {
      const Count& c = counts.rank(home, rank);
      const std::size_t size =
          step == ExchangeStep::dispatch ? bytes.dispatch(c) : bytes.later(step, c);
      goes_forth(step) ? account.send(step, home, rank, size)
                       : account.send(step, rank, home, size);
    }
  }
}

void count_two_hops(ExchangeStep step, const NodeMap& nodes, const MessageBytes& bytes,
                    const Counts& counts, Account& account) {
  const bool dispatch = step == ExchangeStep::dispatch;
  for (int relay = 0; relay < nodes.num_ranks(); ++relay) {
    const int node = nodes.node_of(relay), index = nodes.index_of(relay);
    for (int m = 0; m < nodes.num_nodes(); ++m) {
      const int home = nodes.rank_at(m, index);
      const Count& c = counts.node(home, node);
      const std::size_t size = dispatch ? bytes.dispatch(c) : bytes.later(step, c);
      goes_forth(step) ? account.send(step, home, relay, size)
                       : account.send(step, relay, home, size);
    }
    for (int g = 0; g < nodes.ranks_per_node(); ++g) {
      const int rank = nodes.rank_at(node, g);
      std::size_t size =
          dispatch ? static_cast<std::size_t>(nodes.num_nodes()) * sizeof(std::uint64_t) : 0;
      for (int m = 0; m < nodes.num_nodes(); ++m) {
        const Count& c = counts.rank(nodes.rank_at(m, index), rank);
        size += dispatch ? padded_section(bytes.dispatch(c)) : bytes.later(step, c);
      }
      goes_forth(step) ? account.send(step, relay, rank, size)
                       : account.send(step, rank, relay, size);
    }
  }
}

}  // namespace

std::vector<ExchangeTraffic> exchange_traffic(const TrafficShape& shape,
                                              const ExchangeOptions& options,
                                              std::span<const RankChoices> choices) {
  const auto num_ranks = static_cast<int>(choices.size());
  const NodeMap nodes = options.nodes.empty() ? NodeMap::one_node(num_ranks) : options.nodes;
  WEFT_CHECK(nodes.num_ranks() == num_ranks && shape.num_experts % num_ranks == 0,
             "choices of another group");
  const bool two_hops = options.hops == Hops::two && nodes.num_nodes() > 1;
  const MessageBytes bytes{{static_cast<std::uint32_t>(shape.real_bytes),
                            static_cast<std::uint32_t>(shape.hidden), 0, 0, 0,
                            options.dispatch_payload}};
  const Counts counts(shape, nodes, choices);
  Account account(nodes);
  for (int s = 0; s < kNumExchangeSteps; ++s) {
    const auto step = static_cast<ExchangeStep>(s);
    two_hops ? count_two_hops(step, nodes, bytes, counts, account)
             : count_one_hop(step, nodes, bytes, counts, account);
  }
  return account.take();
}

}  // namespace weft::comm
