// What writing and reading a GGUF header share. Details of this folder; not for others.
#pragma once

#include <cstdint>

#include "base/expected.h"
#include "trainer/gguf/header.h"

namespace weft::trainer::gguf {

inline constexpr std::uint32_t kVersion = 3;

/// Bytes of a number; 0 for texts and arrays.
std::size_t value_bytes(ValueType type);

inline std::uint64_t aligned(std::uint64_t at, std::uint64_t alignment) {
  return (at + alignment - 1) / alignment * alignment;
}

/// Errors: Corrupt for dims, sizes or a number format that a file cannot have.
Expected<std::uint64_t> tensor_bytes(const TensorInfo& tensor);

}  // namespace weft::trainer::gguf
