#include "trainer/model/precision.h"

#include <string>

#include "trainer/kernels/matmul.h"

namespace weft::trainer {

std::string_view to_string(Precision precision) {
  switch (precision) {
    case Precision::F32:
      return "f32";
    case Precision::BF16:
      return "bf16";
    case Precision::FP8:
      return "fp8";
  }
  return "?";
}

Expected<Precision> parse_precision(std::string_view text) {
  for (const Precision p : {Precision::F32, Precision::BF16, Precision::FP8}) {
    if (text == to_string(p)) return p;
  }
  return fail(Code::InvalidArgument,
              "'" + std::string(text) + "' is no precision; choose f32, bf16 or fp8");
}

Expected<void> check_precision(Precision precision) {
  if (precision == Precision::F32) return {};
  auto can = kernels::check_bf16_products();
  if (can) return {};
  return fail(Code::Unsupported, "precision " + std::string(to_string(precision)) + ": " +
                                     can.error().message + "; choose precision: f32");
}

}  // namespace weft::trainer
