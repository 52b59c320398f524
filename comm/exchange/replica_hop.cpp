#include "comm/exchange/replica_hop.h"

#include <algorithm>

namespace weft::comm {

template <class Real>
ReplicaHop<Real>::ReplicaHop(Communicator& group, const ExchangeShape& shape, const NodeMap& nodes,
                             int num_experts)
    : OneHop<Real>(group, shape, nodes),
      home_seats_(num_experts / group.size()),
      num_ranks_(group.size()),
      order_(shape.top_k),
      home_(static_cast<std::size_t>(group.size())),
      parts_(home_.size()) {}

template <class Real>
void ReplicaHop<Real>::begin_dispatch(Private& p, Tag tag, const Choices& choices,
                                      const std::byte* rows, const Real* weights) {
  const auto count =
      static_cast<std::size_t>(choices.num_tokens) * static_cast<std::size_t>(choices.top_k);
  p.experts.assign(choices.experts, choices.experts + count);
  p.seats.clear();
  for (const std::int32_t expert : p.experts) p.seats.push_back(p.replicas->next(expert));
  OneHop<Real>::begin_dispatch(p, tag, {choices.num_tokens, choices.top_k, p.seats.data()}, rows,
                               weights);
}

template <class Real>
void ReplicaHop<Real>::begin_forth(Private&, Tag, const std::byte*) {
  WEFT_CHECK(false, "an exchange with replicas has no backward pass");
}

template <class Real>
void ReplicaHop<Real>::begin_back(Private& p, Tag tag, const Real* rows, bool with_values,
                                  const Real*) {
  WEFT_CHECK(!with_values, "an exchange with replicas has no backward pass");
  MessageSet& messages = this->take_flight(p);
  const std::size_t row_bytes = this->shape_.row_bytes();
  for (int r = 0; r < num_ranks_; ++r) {
    std::byte* const out = messages.write(r, p.num_choices_from(r) * row_bytes);
    write_slots_back(p, r, this->shape_.hidden, rows, out);
    messages.expect(r, p.routes[static_cast<std::size_t>(r)].choices.size() * row_bytes);
  }
  this->start(p, messages, tag);
}

template <class Real>
Expected<void> ReplicaHop<Real>::end_back(Private& p, int num_tokens, Real* out, Real*) {
  WEFT_TRY_ASSIGN(MessageSet* const messages, this->arrive(p, true));
  result_of_.resize(p.experts.size());
  for (int r = 0; r < num_ranks_; ++r) {
    const auto* row = reinterpret_cast<const Real*>(messages->from(r).data());
    for (const std::int32_t choice : p.routes[static_cast<std::size_t>(r)].choices) {
      result_of_[static_cast<std::size_t>(choice)] = row;
      row += this->shape_.hidden;
    }
  }
  sum_at_home(p, num_tokens);
  for (std::size_t r = 0; r < home_.size(); ++r)
    parts_[r] = {home_[r].rows, home_[r].values.data()};
  this->add_parts(parts_, num_tokens, out);
  return {};
}

/// What each home rank would have sent: per token the results of its experts, from zero, ascending.
template <class Real>
void ReplicaHop<Real>::sum_at_home(const Private& p, int num_tokens) {
  for (HomePart& part : home_) {
    part.rows.clear();
    part.values.clear();
  }
  const std::size_t hidden = this->shape_.hidden;
  const auto top_k = static_cast<std::int32_t>(order_.size());
  for (std::int32_t token = 0; token < num_tokens; ++token) {
    for (std::int32_t k = 0; k < top_k; ++k)
      order_[static_cast<std::size_t>(k)] = token * top_k + k;
    std::ranges::sort(order_, {}, [&](std::int32_t choice) {
      return p.experts[static_cast<std::size_t>(choice)];
    });
    for (const std::int32_t choice : order_) {
      const auto at = static_cast<std::size_t>(choice);
      HomePart& part = home_[static_cast<std::size_t>(p.experts[at] / home_seats_)];
      if (part.rows.empty() || part.rows.back() != token) {
        part.rows.push_back(token);
        part.values.resize(part.values.size() + hidden, Real(0));
      }
      Real* const sum = part.values.data() + part.values.size() - hidden;
      for (std::size_t i = 0; i < hidden; ++i) sum[i] += result_of_[at][i];
    }
  }
}

template <class Real>
std::size_t ReplicaHop<Real>::memory_bytes() const {
  std::size_t bytes = OneHop<Real>::memory_bytes() + result_of_.capacity() * sizeof(const Real*);
  for (const HomePart& part : home_)
    bytes += part.rows.capacity() * sizeof(std::int32_t) + part.values.capacity() * sizeof(Real);
  return bytes;
}

template class ReplicaHop<float>;
template class ReplicaHop<double>;

}  // namespace weft::comm
