#include "comm/exchange/expert_sections.h"

#include <cstring>
#include <string>

namespace weft::comm {
namespace {

std::uint64_t length_at(ConstBytes lengths) {
  std::uint64_t length = 0;
  std::memcpy(&length, lengths.data(), sizeof length);
  return length;
}

}  // namespace

Expected<Sections> Sections::open(ConstBytes message, std::size_t num_sections) {
  const std::size_t table_bytes = num_sections * sizeof(std::uint64_t);
  if (message.size() < table_bytes)
    return fail(Code::Corrupt, "a message of only " + std::to_string(message.size()) +
                                   " bytes where the lengths of " + std::to_string(num_sections) +
                                   " sections should be");
  const ConstBytes lengths = message.first(table_bytes), rest = message.subspan(table_bytes);
  std::size_t left = rest.size();
  for (std::size_t i = 0; i < num_sections; ++i) {
    const std::uint64_t length = length_at(lengths.subspan(i * sizeof(std::uint64_t)));
    if (length > left || padded_section(length) > left)
      return fail(Code::Corrupt, "section " + std::to_string(i) + " claims " +
                                     std::to_string(length) + " of " + std::to_string(left) +
                                     " bytes");
    left -= padded_section(length);
  }
  if (left != 0) return fail(Code::Corrupt, std::to_string(left) + " bytes after the last section");
  return Sections(lengths, rest);
}

ConstBytes Sections::next() {
  const std::uint64_t length = length_at(lengths_);
  const ConstBytes section = rest_.first(length);
  lengths_ = lengths_.subspan(sizeof(std::uint64_t));
  rest_ = rest_.subspan(padded_section(length));
  return section;
}

}  // namespace weft::comm
