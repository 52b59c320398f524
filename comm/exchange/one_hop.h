// The expert exchange that goes straight from every rank to every rank. Internal to comm.
#pragma once

#include "comm/exchange/exchange_path.h"
#include "comm/exchange/message_set.h"
#include "comm/exchange/part_sums.h"

namespace weft::comm {

template <class Real>
class OneHop : public ExchangePath<Real> {
 public:
  using typename ExchangePath<Real>::Private;

  OneHop(Communicator& group, const ExchangeShape& shape, const NodeMap& nodes);
  ~OneHop() override;

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

 protected:
  MessageSet& take_flight(Private& p);
  void start(Private& p, MessageSet& messages, Tag tag);
  Expected<MessageSet*> arrive(Private& p, bool exact);
  /// out += the sums of what came from each rank, in the order of the node map.
  void add_parts(std::span<const Parts<Real>> of_rank, int num_tokens, Real* out);

  ExchangeShape shape_;

 private:
  struct Flight;

  using ExchangePath<Real>::nodes_;

  Communicator& group_;
  std::vector<std::int32_t> rank_of_, local_of_;  // per seat
  FlightPool<Flight> flights_;
  PartSums<Real> sums_;
  std::vector<Parts<Real>> parts_;  // per rank, node after node
  std::vector<Parts<Real>> came_;   // per rank, as are the next two
  std::vector<DispatchView> views_;
  std::vector<ConstBytes> arrived_;
};

extern template class OneHop<float>;
extern template class OneHop<double>;

}  // namespace weft::comm
