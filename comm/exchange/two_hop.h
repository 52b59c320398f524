// The expert exchange over several nodes: a token crosses to a node once, to the rank of its own
// index there (its *relay*), which hands it on inside the node; what comes back is added up by the
// relay and crosses once. Internal to comm.
// Source: DeepSeek-V3 report, section 3.2.2.
//
//   forth: home -> relay (rail) -> ranks of the experts (node)
//   back:  ranks of the experts -> relay (node), which adds -> home (rail), which adds
//
// A message inside the node holds one section for each node that the relay's rows come from; in a
// dispatch each section is a dispatch message (expert_sections.h), later there are no headers.
#pragma once

#include "comm/exchange/exchange_path.h"
#include "comm/exchange/expert_sections.h"
#include "comm/exchange/part_sums.h"
#include "comm/exchange/two_hop_line.h"

namespace weft::comm {

template <class Real>
class TwoHop : public ExchangePath<Real> {
 public:
  using typename ExchangePath<Real>::Private;

  TwoHop(Communicator& group, const ExchangeShape& shape, const NodeMap& nodes);
  ~TwoHop() override;

  void begin_dispatch(Private& p, Tag tag, const Choices& choices, const std::byte* rows,
                      const Real* weights) override;
  Expected<std::span<const DispatchView>> end_dispatch(Private& p) override;
  void begin_forth(Private& p, Tag tag, const std::byte* rows) override;
  Expected<std::span<const ConstBytes>> end_forth(Private& p) override;
  void begin_back(Private& p, Tag tag, const Real* rows, bool with_values,
                  const Real* slot_values) override;
  Expected<void> end_back(Private& p, int num_tokens, Real* out, Real* values) override;
  void release(Private& p) override;
  std::size_t memory_bytes() const override;

 private:
  using ExchangePath<Real>::nodes_;
  struct Flight;

  Flight& take_flight(Private& p, Tag tag, bool rail_first);
  Expected<Flight*> arrive(Private& p, bool exact);

  Expected<void> relay_dispatch(Flight& flight);
  Expected<void> read_sections(const Flight& flight, int member);
  void relay_forth(Flight& flight);
  void relay_back(Flight& flight);
  std::size_t section_bytes(const Route& route, bool with_values) const;

  Communicator& group_;
  TwoHopLine& line_;
  ExchangeShape shape_;       // of what a rank gets
  ExchangeShape node_shape_;  // of what a relay gets: all experts of the node
  std::vector<std::int32_t> node_of_, node_local_of_;      // per seat
  std::vector<std::int32_t> member_of_, member_local_of_;  // per seat of a node
  FlightPool<Flight> flights_;
  PartSums<Real> node_sums_, home_sums_;
  std::vector<Parts<Real>> node_parts_, home_parts_;
  std::vector<DispatchView> relay_views_;  // per source node
  std::vector<DispatchView> views_;        // per source rank
  std::vector<ConstBytes> arrived_;        // per source rank
};

extern template class TwoHop<float>;
extern template class TwoHop<double>;

}  // namespace weft::comm
