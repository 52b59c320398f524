// The expert exchange where experts have replicas: one hop, forward only. A choice goes to one of
// its expert's seats and its result comes home by itself, unsummed, so that a token's sum is made
// in one order wherever its experts were computed: bit by bit that of the exchange without
// replicas. Internal to comm.
#pragma once

#include "comm/exchange/one_hop.h"

namespace weft::comm {

template <class Real>
class ReplicaHop final : public OneHop<Real> {
 public:
  using typename ExchangePath<Real>::Private;

  /// `shape`: num_local_experts are the seats of a rank.
  ReplicaHop(Communicator& group, const ExchangeShape& shape, const NodeMap& nodes,
             int num_experts);

  /// Requires p.replicas. choices: of experts.
  void begin_dispatch(Private& p, Tag tag, const Choices& choices, const std::byte* rows,
                      const Real* weights) override;
  void begin_forth(Private& p, Tag tag, const std::byte* rows) override;  // there is none
  /// rows: [num_slots, hidden], one a slot.
  void begin_back(Private& p, Tag tag, const Real* rows, bool with_values,
                  const Real* slot_values) override;
  Expected<void> end_back(Private& p, int num_tokens, Real* out, Real* values) override;
  std::size_t memory_bytes() const override;

 private:
  void sum_at_home(const Private& p, int num_tokens);

  const int home_seats_, num_ranks_;
  std::vector<const Real*> result_of_;  // per choice of this rank's tokens
  std::vector<std::int32_t> order_;     // a token's choices by ascending expert
  struct HomePart {
    std::vector<std::int32_t> rows;
    std::vector<Real> values;
  };
  std::vector<HomePart> home_;  // per home rank: the sums of its experts' results
  std::vector<Parts<Real>> parts_;
};

extern template class ReplicaHop<float>;
extern template class ReplicaHop<double>;

}  // namespace weft::comm
