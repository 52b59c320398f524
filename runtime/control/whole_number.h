// Whole numbers out of JSON that a peer or a file gave. get<int>() is no way to read them: it also
// takes 1e300, whose conversion is undefined.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

namespace weft::runtime {

/// Throws json::out_of_range, as get() does json::type_error, when it is no whole number of the
/// type.
template <class Int = std::int64_t>
Int whole(const nlohmann::json& value) {
  using nlohmann::json;
  if (value.is_number_unsigned()) {
    if (const auto number = value.get<std::uint64_t>(); std::in_range<Int>(number))
      return static_cast<Int>(number);
  } else if (value.is_number_integer()) {
    if (const auto number = value.get<std::int64_t>(); std::in_range<Int>(number))
      return static_cast<Int>(number);
  }
  throw json::out_of_range::create(401, value.dump() + " is no whole number in range", &value);
}

}  // namespace weft::runtime
