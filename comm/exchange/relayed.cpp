#include "comm/exchange/relayed.h"

#include <algorithm>

#include "comm/exchange/expert_sections.h"

namespace weft::comm {
namespace {

std::size_t section_bytes(const ExchangeShape& shape, const Route& route) {
  return shape.places(route.rows.size(), route.choices.size()).end;
}

}  // namespace

void route_relayed(const DispatchView& message, std::span<const std::int32_t> member_of,
                   int num_members, Relayed& relayed) {
  relayed.num_rows = message.num_rows;
  relayed.num_choices = message.num_choices;
  clear_routes(relayed.to, num_members);
  std::int32_t choice = 0;
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(message.num_rows); ++row) {
    for (std::int32_t i = 0; i < message.counts[row]; ++i, ++choice) {
      const std::int32_t member = member_of[static_cast<std::size_t>(message.experts[choice])];
      add_choice(relayed.to[static_cast<std::size_t>(member)], row, choice);
    }
  }
}

std::size_t sections_bytes(const ExchangeShape& shape, std::span<const Relayed> sources,
                           int member) {
  std::size_t bytes = sources.size() * sizeof(std::uint64_t);
  for (const Relayed& source : sources)
    bytes += padded_section(section_bytes(shape, source.to[static_cast<std::size_t>(member)]));
  return bytes;
}

std::size_t sections_bytes_max(const ExchangeShape& shape, std::size_t num_sources) {
  return num_sources * (sizeof(std::uint64_t) + padded_section(shape.message_bytes_max()));
}

template <class Real>
void write_sections(const ExchangeShape& shape, std::span<const Relayed> sources,
                    std::span<const DispatchView> messages, int member,
                    const std::int32_t* local_of, std::byte* out) {
  auto* const lengths = reinterpret_cast<std::uint64_t*>(out);
  out += sources.size() * sizeof(std::uint64_t);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const Route& route = sources[i].to[static_cast<std::size_t>(member)];
    const DispatchView& message = messages[i];
    lengths[i] = section_bytes(shape, route);
    write_dispatch(shape, route, message.rows, message.experts, local_of,
                   reinterpret_cast<const Real*>(message.weights), out);
    const std::size_t padded = padded_section(lengths[i]);
    std::fill(out + lengths[i], out + padded, std::byte{0});
    out += padded;
  }
}

template void write_sections<float>(const ExchangeShape&, std::span<const Relayed>,
                                    std::span<const DispatchView>, int, const std::int32_t*,
                                    std::byte*);
template void write_sections<double>(const ExchangeShape&, std::span<const Relayed>,
                                     std::span<const DispatchView>, int, const std::int32_t*,
                                     std::byte*);

}  // namespace weft::comm
