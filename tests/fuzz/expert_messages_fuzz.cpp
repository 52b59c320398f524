// Any bytes as a dispatch message, alone or in a relay's sections: refused, or every index in it is
// in range and nothing outside the message is read.
#include "base/check.h"
#include "comm/exchange/expert_messages.h"
#include "comm/exchange/expert_sections.h"
#include "tests/fuzz/replay.h"

using namespace weft::comm;

namespace {

constexpr std::size_t kSections = 2;
/// The first byte of an input: what the receiver expects.
ExchangeShape shape_of(std::uint8_t kind) {
  return {(kind & 1) != 0 ? 8u : 4u, 5, 4, 8, 2, static_cast<Payload>((kind >> 1) % 3)};
}

void try_message(const ExchangeShape& shape, ConstBytes bytes) {
  const auto view = read_dispatch(shape, bytes);
  if (!view) {
    WEFT_CHECK(view.error().code == weft::Code::Corrupt && !view.error().message.empty());
    return;
  }
  std::vector<double> rows(std::size_t{view->num_rows} * shape.hidden);
  if (shape.real_bytes == sizeof(double) || shape.payload != Payload::full)
    decode_rows(shape.payload, shape.hidden, view->num_rows, view->rows, rows.data());
  std::size_t choice = 0;
  for (std::uint32_t row = 0; row < view->num_rows; ++row) {
    WEFT_CHECK(view->counts[row] >= 1);
    for (std::int32_t i = 0; i < view->counts[row]; ++i, ++choice) {
      const std::int32_t expert = view->experts[choice];
      WEFT_CHECK(expert >= 0 && expert < static_cast<std::int32_t>(shape.num_local_experts));
    }
  }
  WEFT_CHECK(choice == view->num_choices);
  WEFT_CHECK(view->weights + choice * shape.real_bytes == bytes.data() + bytes.size());
}

std::string message(const ExchangeShape& shape, int num_rows) {
  Route route;
  std::vector<std::int32_t> experts;
  for (std::int32_t row = 0; row < num_rows; ++row)
    for (std::int32_t k = 0; k < 1 + row % 2; ++k) {
      add_choice(route, row, static_cast<std::int32_t>(experts.size()));
      experts.push_back((row + k) % 4);
    }
  const std::int32_t local[] = {0, 1, 2, 3};
  std::string out(shape.places(route.rows.size(), experts.size()).end, '\0');
  const std::vector<std::byte> rows(static_cast<std::size_t>(num_rows) * shape.forth_row_bytes());
  auto* const to = reinterpret_cast<std::byte*>(out.data());
  if (shape.real_bytes == 8)
    write_dispatch(shape, route, rows.data(), experts.data(), local,
                   std::vector<double>(experts.size(), 0.5).data(), to);
  else
    write_dispatch(shape, route, rows.data(), experts.data(), local,
                   std::vector<float>(experts.size(), 0.5f).data(), to);
  return out;
}

std::string sections(const std::string& first, const std::string& second) {
  std::string out;
  for (const std::string& section : {first, second}) {
    const std::uint64_t length = section.size();
    out.append(reinterpret_cast<const char*>(&length), sizeof length);
  }
  for (const std::string& section : {first, second}) {
    out += section;
    out.resize(padded_section(out.size()));
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const ExchangeShape shape = shape_of(data[0]);
  // A copy that is aligned and of exactly this size.
  const auto* const begin = reinterpret_cast<const std::byte*>(data) + 1;
  const std::vector<std::byte> bytes(begin, begin + size - 1);
  try_message(shape, bytes);
  auto parts = Sections::open(bytes, kSections);
  if (!parts) {
    WEFT_CHECK(parts.error().code == weft::Code::Corrupt && !parts.error().message.empty());
    return 0;
  }
  for (std::size_t i = 0; i < kSections; ++i) try_message(shape, parts->next());
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  std::vector<std::string> seeds;
  for (std::uint8_t kind = 0; kind < 6; ++kind) {
    const ExchangeShape shape = shape_of(kind);
    const std::string first(1, static_cast<char>(kind));
    for (const int rows : {0, 1, 3}) {
      const std::string good = message(shape, rows);
      WEFT_CHECK(read_dispatch(shape, std::as_bytes(std::span(good))).has_value());
      seeds.push_back(first + good);
      seeds.push_back(first + sections(message(shape, rows), message(shape, 2)));
    }
  }
  return seeds;
}
