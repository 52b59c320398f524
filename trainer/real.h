// The number type of the kernels: float in the product, double in the build that the
// finite-difference tests link (WEFT_REAL_DOUBLE, target weft_trainer_f64).
#pragma once

namespace weft::trainer {

#ifdef WEFT_REAL_DOUBLE
using Real = double;
#else
using Real = float;
#endif

}  // namespace weft::trainer
