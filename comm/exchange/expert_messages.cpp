#include "comm/exchange/expert_messages.h"

#include <algorithm>
#include <cstring>

namespace weft::comm {
namespace {

tl::unexpected<Error> bad(std::string why) { return fail(Code::Corrupt, std::move(why)); }

Expected<void> check_header(const ExchangeShape& shape, const DispatchHeader& header) {
  if (header.magic != kDispatchMagic) return bad("not a dispatch message");
  if (header.real_bytes != shape.real_bytes || header.hidden != shape.hidden ||
      header.num_local_experts != shape.num_local_experts)
    return bad("rows of " + std::to_string(header.hidden) + " values of " +
               std::to_string(header.real_bytes) + " bytes for " +
               std::to_string(header.num_local_experts) + " experts, here they have " +
               std::to_string(shape.hidden) + " of " + std::to_string(shape.real_bytes) + " for " +
               std::to_string(shape.num_local_experts));
  if (header.payload != static_cast<std::uint32_t>(shape.payload))
    return bad("rows of payload kind " + std::to_string(header.payload) +
               ", here they are of kind " + std::to_string(static_cast<int>(shape.payload)));
  if (header.num_rows > shape.max_tokens ||
      header.num_choices > header.num_rows * shape.choices_per_row_max())
    return bad(std::to_string(header.num_rows) + " rows with " +
               std::to_string(header.num_choices) + " choices, allowed are " +
               std::to_string(shape.max_tokens) + " rows of " +
               std::to_string(shape.choices_per_row_max()));
  return {};
}

Expected<void> check_choices(const ExchangeShape& shape, const DispatchView& view) {
  std::size_t choice = 0;
  for (std::uint32_t row = 0; row < view.num_rows; ++row) {
    const std::int32_t count = view.counts[row];
    if (count < 1 || static_cast<std::size_t>(count) > shape.choices_per_row_max() ||
        choice + static_cast<std::size_t>(count) > view.num_choices)
      return bad("row " + std::to_string(row) + " claims " + std::to_string(count) + " experts");
    for (std::int32_t i = 0; i < count; ++i) {
      const std::int32_t expert = view.experts[choice + static_cast<std::size_t>(i)];
      if (expert < 0 || static_cast<std::uint32_t>(expert) >= shape.num_local_experts)
        return bad("row " + std::to_string(row) + " wants local expert " + std::to_string(expert) +
                   " of " + std::to_string(shape.num_local_experts));
      for (std::int32_t j = 0; j < i; ++j)
        if (view.experts[choice + static_cast<std::size_t>(j)] == expert)
          return bad("row " + std::to_string(row) + " wants local expert " +
                     std::to_string(expert) + " twice");
    }
    choice += static_cast<std::size_t>(count);
  }
  if (choice != view.num_choices)
    return bad("its rows have " + std::to_string(choice) + " choices, its header says " +
               std::to_string(view.num_choices));
  return {};
}

}  // namespace

std::byte* copy_rows(const Route& route, const std::byte* rows, std::size_t row_bytes,
                     std::byte* out) {
  for (const std::int32_t row : route.rows) {
    std::memcpy(out, rows + static_cast<std::size_t>(row) * row_bytes, row_bytes);
    out += row_bytes;
  }
  return out;
}

template <class Real>
void write_dispatch(const ExchangeShape& shape, const Route& route, const std::byte* rows,
                    const std::int32_t* experts, const std::int32_t* local_of, const Real* weights,
                    std::byte* out) {
  const std::size_t num_rows = route.rows.size(), num_choices = route.choices.size();
  const ExchangeShape::Places at = shape.places(num_rows, num_choices);
  const DispatchHeader header{kDispatchMagic,
                              shape.real_bytes,
                              shape.hidden,
                              shape.num_local_experts,
                              static_cast<std::uint32_t>(num_rows),
                              static_cast<std::uint32_t>(num_choices),
                              static_cast<std::uint32_t>(shape.payload),
                              0};
  std::memcpy(out, &header, sizeof header);
  std::byte* const end_of_rows = copy_rows(route, rows, shape.forth_row_bytes(), out + at.rows);
  std::fill(end_of_rows, out + at.counts, std::byte{0});
  if (num_rows > 0)
    std::memcpy(out + at.counts, route.counts.data(), num_rows * sizeof(std::int32_t));
  auto* const local = reinterpret_cast<std::int32_t*>(out + at.experts);
  auto* const gate = reinterpret_cast<Real*>(out + at.weights);
  for (std::size_t i = 0; i < num_choices; ++i) {
    const std::int32_t choice = route.choices[i];
    local[i] = local_of[experts[choice]];
    gate[i] = weights[choice];
  }
  const std::size_t end_of_experts = at.experts + num_choices * sizeof(std::int32_t);
  std::memset(out + end_of_experts, 0, at.weights - end_of_experts);
}

template void write_dispatch(const ExchangeShape&, const Route&, const std::byte*,
                             const std::int32_t*, const std::int32_t*, const float*, std::byte*);
template void write_dispatch(const ExchangeShape&, const Route&, const std::byte*,
                             const std::int32_t*, const std::int32_t*, const double*, std::byte*);

Expected<DispatchView> read_dispatch(const ExchangeShape& shape, ConstBytes message) {
  if (message.size() < sizeof(DispatchHeader))
    return bad("a dispatch message of only " + std::to_string(message.size()) + " bytes");
  DispatchHeader header;
  std::memcpy(&header, message.data(), sizeof header);
  WEFT_TRY(check_header(shape, header));
  const ExchangeShape::Places places = shape.places(header.num_rows, header.num_choices);
  if (message.size() != places.end)
    return bad("a dispatch message of " + std::to_string(message.size()) + " bytes, its header " +
               "asks for " + std::to_string(places.end));
  const std::byte* const bytes = message.data();
  DispatchView view;
  view.num_rows = header.num_rows;
  view.num_choices = header.num_choices;
  view.rows = bytes + places.rows;
  view.counts = reinterpret_cast<const std::int32_t*>(bytes + places.counts);
  view.experts = reinterpret_cast<const std::int32_t*>(bytes + places.experts);
  view.weights = bytes + places.weights;
  WEFT_TRY(check_choices(shape, view));
  return view;
}

}  // namespace weft::comm
