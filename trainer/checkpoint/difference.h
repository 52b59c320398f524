// In what do two checkpoints differ? By tensor, whatever layouts wrote them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/reader.h"

namespace weft::trainer::checkpoint {

struct TensorDifference {
  std::string item, name;
  std::string what;             // "only in the first", "shapes [2] and [3]", ...; "": its values
  std::uint64_t elements = 0;   // of the tensor
  std::uint64_t different = 0;  // of them
  double max_absolute = 0;      // infinite where one of two is no number
  double max_relative = 0;      // to the larger of the two
};

/// Every tensor that is not the same in both, by item and name. Tensors whose manifests promise the
/// same bytes are not read. F32 and BF16 are compared as numbers, other types by their bytes.
/// Errors: those of the readers.
Expected<std::vector<TensorDifference>> differences(Reader& a, Reader& b);

}  // namespace weft::trainer::checkpoint
