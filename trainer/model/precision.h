// In which numbers a stage computes.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/expected.h"

namespace weft::trainer {

/// The residual stream, parameters (master weights), gradients of weights and every sum are F32 in
/// all of them; what differs is what is kept for the backward and what products are made of.
enum class Precision : std::uint8_t {
  F32,
  BF16,  // kept and multiplied in BF16, summed in F32
  FP8    // as BF16, with the products that DeepSeek-V3 lists in E4M3 and their inputs kept so
};
std::string_view to_string(Precision precision);  // f32, bf16, fp8
/// Errors: InvalidArgument naming the three.
Expected<Precision> parse_precision(std::string_view text);

/// Can this build on this processor compute so? Errors: Unsupported, with the way out.
Expected<void> check_precision(Precision precision);

}  // namespace weft::trainer
