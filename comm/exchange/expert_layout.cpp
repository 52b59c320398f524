#include "comm/exchange/expert_layout.h"

#include <cstring>

namespace weft::comm {
namespace {

void count_arrivals(std::span<const DispatchView> messages, ExpertLayout& layout) {
  ExpertLayout::Private& p = *layout.priv;
  p.row_begin.assign(messages.size() + 1, 0);
  p.choice_begin.assign(messages.size() + 1, 0);
  for (std::size_t r = 0; r < messages.size(); ++r) {
    p.row_begin[r + 1] = p.row_begin[r] + static_cast<std::int32_t>(messages[r].num_rows);
    p.choice_begin[r + 1] = p.choice_begin[r] + static_cast<std::int32_t>(messages[r].num_choices);
  }
  layout.num_rows = p.row_begin.back();
  layout.num_slots = p.choice_begin.back();
}

template <class Real>
void decode_arrived_rows(std::span<const DispatchView> messages, const ExchangeShape& shape,
                         ExpertLayout& layout) {
  auto* to = reinterpret_cast<Real*>(
      layout.priv->rows.at_least(static_cast<std::size_t>(layout.num_rows) * shape.row_bytes()));
  for (const DispatchView& message : messages) {
    decode_rows(shape.payload, shape.hidden, message.num_rows, message.rows, to);
    to += std::size_t{message.num_rows} * shape.hidden;
  }
}

void count_slots(std::span<const DispatchView> messages, std::size_t num_local,
                 std::vector<std::int32_t>& expert_begin) {
  expert_begin.assign(num_local + 1, 0);
  for (const DispatchView& message : messages)
    for (std::uint32_t i = 0; i < message.num_choices; ++i)
      ++expert_begin[static_cast<std::size_t>(message.experts[i]) + 1];
  for (std::size_t e = 0; e < num_local; ++e) expert_begin[e + 1] += expert_begin[e];
}

/// A counting sort of the choices by expert; rows stay in order within one.
template <class Real>
void fill_slots(std::span<const DispatchView> messages, ExpertLayout& layout) {
  ExpertLayout::Private& p = *layout.priv;
  const auto num_slots = static_cast<std::size_t>(layout.num_slots);
  p.slot_cursor.assign(layout.expert_begin.begin(), layout.expert_begin.end() - 1);
  layout.slot_row.resize(num_slots);
  layout.slot_weight.resize(num_slots);
  if constexpr (sizeof(Real) == 8) layout.slot_weight_double.resize(num_slots);
  p.choice_slot.resize(num_slots);
  std::size_t arrived = 0;
  std::int32_t row = 0;
  for (const DispatchView& message : messages) {
    const auto* const gate = reinterpret_cast<const Real*>(message.weights);
    std::uint32_t choice = 0;
    for (std::uint32_t r = 0; r < message.num_rows; ++r, ++row) {
      for (std::int32_t i = 0; i < message.counts[r]; ++i, ++choice, ++arrived) {
        const std::int32_t slot =
            p.slot_cursor[static_cast<std::size_t>(message.experts[choice])]++;
        layout.slot_row[static_cast<std::size_t>(slot)] = row;
        layout.slot_weight[static_cast<std::size_t>(slot)] = static_cast<float>(gate[choice]);
        if constexpr (sizeof(Real) == 8)
          layout.slot_weight_double[static_cast<std::size_t>(slot)] = gate[choice];
        p.choice_slot[arrived] = slot;
      }
    }
  }
}

std::size_t list_bytes(const auto&... lists) {
  return (std::size_t{0} + ... + (lists.capacity() * sizeof(lists[0])));
}

std::size_t route_bytes(std::span<const Route> routes) {
  std::size_t bytes = 0;
  for (const Route& route : routes) bytes += list_bytes(route.rows, route.counts, route.choices);
  return bytes;
}

}  // namespace

std::size_t layout_bytes(const ExpertLayout& layout) {
  std::size_t bytes = list_bytes(layout.expert_begin, layout.slot_row, layout.slot_weight,
                                 layout.slot_weight_double);
  if (layout.priv == nullptr) return bytes;
  const ExpertLayout::Private& p = *layout.priv;
  bytes +=
      p.rows.capacity() + p.gradients.capacity() + route_bytes(p.routes) +
      list_bytes(p.row_begin, p.choice_begin, p.choice_slot, p.slot_cursor, p.experts, p.seats);
  for (const Relayed& relayed : p.relayed) bytes += route_bytes(relayed.to);
  return bytes;
}

template <class Real>
void fill_layout(std::span<const DispatchView> messages, const ExchangeShape& shape,
                 ExpertLayout& layout) {
  count_arrivals(messages, layout);
  decode_arrived_rows<Real>(messages, shape, layout);
  count_slots(messages, shape.num_local_experts, layout.expert_begin);
  fill_slots<Real>(messages, layout);
}

template <class Real>
std::byte* write_back(const ExpertLayout::Private& p, int r, std::size_t hidden, const Real* rows,
                      const Real* slot_values, std::byte* out) {
  const auto rank = static_cast<std::size_t>(r);
  const std::size_t row_bytes = p.num_rows_from(r) * hidden * sizeof(Real);
  if (row_bytes > 0)
    std::memcpy(out, rows + static_cast<std::size_t>(p.row_begin[rank]) * hidden, row_bytes);
  out += row_bytes;
  if (slot_values == nullptr) return out;
  auto* value = reinterpret_cast<Real*>(out);
  for (std::int32_t i = p.choice_begin[rank]; i < p.choice_begin[rank + 1]; ++i)
    *value++ = slot_values[p.choice_slot[static_cast<std::size_t>(i)]];
  return reinterpret_cast<std::byte*>(value);
}

template <class Real>
Parts<Real> read_back(const Route& route, ConstBytes message, std::size_t hidden, Real* values) {
  const auto* const rows = reinterpret_cast<const Real*>(message.data());
  if (values != nullptr) {
    const Real* value = rows + route.rows.size() * hidden;
    for (const std::int32_t choice : route.choices) values[choice] = *value++;
  }
  return {route.rows, rows};
}

template <class Real>
void write_slots_back(const ExpertLayout::Private& p, int r, std::size_t hidden,
                      const Real* slot_rows, std::byte* out) {
  const std::size_t row_bytes = hidden * sizeof(Real);
  const auto rank = static_cast<std::size_t>(r);
  for (std::int32_t i = p.choice_begin[rank]; i < p.choice_begin[rank + 1]; ++i, out += row_bytes)
    std::memcpy(
        out,
        slot_rows + static_cast<std::size_t>(p.choice_slot[static_cast<std::size_t>(i)]) * hidden,
        row_bytes);
}

template void write_slots_back(const ExpertLayout::Private&, int, std::size_t, const float*,
                               std::byte*);
template void write_slots_back(const ExpertLayout::Private&, int, std::size_t, const double*,
                               std::byte*);
template void fill_layout<float>(std::span<const DispatchView>, const ExchangeShape&,
                                 ExpertLayout&);
template void fill_layout<double>(std::span<const DispatchView>, const ExchangeShape&,
                                  ExpertLayout&);
template std::byte* write_back(const ExpertLayout::Private&, int, std::size_t, const float*,
                               const float*, std::byte*);
template std::byte* write_back(const ExpertLayout::Private&, int, std::size_t, const double*,
                               const double*, std::byte*);
template Parts<float> read_back(const Route&, ConstBytes, std::size_t, float*);
template Parts<double> read_back(const Route&, ConstBytes, std::size_t, double*);

}  // namespace weft::comm
