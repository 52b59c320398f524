// The way that the messages of an expert exchange take. An exchange goes *forth*, from the tokens'
// home to their experts (dispatch, and combine backward), or *back* (combine, and dispatch
// backward); a path moves both and knows nothing of layers or losses. Internal to comm.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "comm/exchange/exchange_traffic.h"
#include "comm/exchange/expert_layout.h"
#include "comm/exchange/message_set.h"

namespace weft::comm {

/// Each begin is followed by its end and then by `release`; a path that failed is not used again.
/// Errors of every end: the group's; Corrupt, naming the peer.
template <class Real>
class ExchangePath {
 public:
  using Private = ExpertLayout::Private;

  ExchangePath(const NodeMap& nodes, int rank) : nodes_(nodes), rank_(rank) {}
  virtual ~ExchangePath() = default;

  const NodeMap& nodes() const { return nodes_; }
  /// What was sent since this path was made.
  const ExchangeTraffic& traffic() const { return traffic_; }

  /// rows: the tokens' rows as they travel; weights: [num_tokens, top_k].
  virtual void begin_dispatch(Private& p, Tag tag, const Choices& choices, const std::byte* rows,
                              const Real* weights) = 0;
  /// What arrived from each source rank, checked; valid until `release`.
  virtual Expected<std::span<const DispatchView>> end_dispatch(Private& p) = 0;

  /// Rows of tokens, to where the tokens went.
  virtual void begin_forth(Private& p, Tag tag, const std::byte* rows) = 0;
  /// The rows that arrived from each source rank; valid until `release`.
  virtual Expected<std::span<const ConstBytes>> end_forth(Private& p) = 0;

  /// Rows [num_rows, hidden] and, if with_values, a value per slot, to where they came from.
  virtual void begin_back(Private& p, Tag tag, const Real* rows, bool with_values,
                          const Real* slot_values) = 0;
  /// out [num_tokens, hidden] += the sum of each token's parts; values [num_tokens, top_k] unless
  /// null.
  virtual Expected<void> end_back(Private& p, int num_tokens, Real* out, Real* values) = 0;

  /// The exchange has ended; its buffers serve the next one.
  virtual void release(Private& p) = 0;

  /// Of its messages. Call it between exchanges.
  virtual std::size_t memory_bytes() const = 0;

 protected:
  /// Adds what the set is about to send.
  void count(ExchangeStep step, const MessageSet& messages) {
    LinkBytes& bytes = traffic_[step];
    for (int i = 0; i < messages.size(); ++i) {
      const int to = messages.rank(i);
      (to == rank_                                   ? bytes.self
       : nodes_.node_of(to) == nodes_.node_of(rank_) ? bytes.node
                                                     : bytes.cross) += messages.bytes_to(i);
    }
  }

  const NodeMap nodes_;

 private:
  const int rank_;
  ExchangeTraffic traffic_;
};

/// Flights that are made when none is idle, and kept.
template <class Flight>
class FlightPool {
 public:
  template <class Make>
  Flight& take(const Make& make) {
    if (idle_.empty()) {
      all_.push_back(make());
      idle_.reserve(all_.size());
      idle_.push_back(all_.back().get());
    }
    Flight& flight = *idle_.back();
    idle_.pop_back();
    return flight;
  }
  void give_back(Flight& flight) { idle_.push_back(&flight); }
  const std::vector<std::unique_ptr<Flight>>& all() const { return all_; }

 private:
  std::vector<std::unique_ptr<Flight>> all_;
  std::vector<Flight*> idle_;
};

}  // namespace weft::comm
