// Float and BF16 products through oneDNN's C interface (dnnl_products.h).
//
// Rows are cut into a body of a multiple of 16 (at most 256 at a time) and an exact tail, so that a
// stage whose experts see any number of rows needs at most 31 primitives per weight shape and no
// row is computed in vain.
//
// BF16: 1.9 to 2 times the float rate with avx512_core_bf16, weight gradients included (they are a
// product with a transposed left side that is added to its F32 result). Both directions read a
// packed copy: a right side as it lies costs up to a third more with few rows.
#include <omp.h>

#include <algorithm>
#include <memory>
#include <type_traits>

#include "trainer/kernels/dnnl_products.h"
#include "trainer/kernels/matmul.h"
#include "trainer/kernels/parallel.h"

namespace weft::trainer::kernels {

namespace {

constexpr int kRowUnit = 16;
constexpr int kRowsMax = 256;

template <class T>
constexpr dnnl_data_type_t kNumber = std::is_same_v<T, Bf16> ? dnnl_bf16 : dnnl_f32;

/// How many of so many rows make the next product.
int next_rows(int left) {
  const int rows = std::min(left, kRowsMax);
  return rows >= kRowUnit ? rows - rows % kRowUnit : rows;
}

/// How many of so many rows a product sums over at once: more, because each adds to its result.
int next_summed(int left) {
  if (left < kRowsMax) return next_rows(left);
  return std::min(left - left % kRowsMax, 4 * kRowsMax);
}

}  // namespace

Context::Products& Context::products() {
  // The number of threads is the calling thread's setting, and other code may have changed it.
  omp_set_num_threads(num_threads_);
  if (!products_) products_ = std::make_shared<Products>();
  return *products_;
}

namespace {

/// y [m, n] = x [m, k] times the right side, which `packed` says the layout of. Chunks of rows go
/// to the context's threads.
template <class X, class Y>
void multiply_rows(Context& context, const X* x, int m, const Shape& shape, dnnl_format_tag_t plain,
                   bool packed, const void* right, Y* y) {
  const int chunks = (m + kRowsMax - 1) / kRowsMax;
  const auto run = [&](Context::Products& products, int chunk) {
    const Packing* packing =
        packed ? &products.packing(shape.k, shape.n, shape.number, plain) : nullptr;
    const int end = std::min(m, (chunk + 1) * kRowsMax);
    for (int done = chunk * kRowsMax; done < end;) {
      const int count = next_rows(end - done);
      products.execute(products.product(count, shape, packing),
                       x + static_cast<std::ptrdiff_t>(done) * shape.k, right,
                       y + static_cast<std::ptrdiff_t>(done) * shape.n);
      done += count;
    }
  };
  if (chunks < context.num_threads() || context.num_threads() == 1) {
    for (int chunk = 0; chunk < chunks; ++chunk) run(context.products(), chunk);
    return;
  }
  parallel_for(context, chunks, [&](Context& worker, int chunk) { run(worker.products(), chunk); });
}

}  // namespace

template <class X, class Y>
void linear_forward(Context& context, const X* x, int m, const Weight& weight, Y* y,
                    bool accumulate) {
  if (m == 0) return;
  auto& products = context.products();
  const Shape shape{weight.in, weight.out,          kNumber<X>, kNumber<Y>,
                    dnnl_ab,   dnnl_format_tag_any, accumulate};
  Packing& packing = products.packing(shape.k, shape.n, shape.number, dnnl_ba);
  const void* right = products.pack(weight, weight.packed->forward, packing, sizeof(X));
  multiply_rows(context, x, m, shape, dnnl_ba, true, right, y);
}

// Float: W as it lies is the right-hand side; measured no slower than a packed copy.
template <class X, class Y>
void linear_backward_input(Context& context, const X* dy, int m, const Weight& weight, Y* dx,
                           bool accumulate) {
  if (m == 0) return;
  auto& products = context.products();
  Shape shape{weight.out, weight.in, kNumber<X>, kNumber<Y>, dnnl_ab, dnnl_ab, accumulate};
  if constexpr (std::is_same_v<X, Real>) {
    multiply_rows(context, dy, m, shape, dnnl_ab, false, weight.value, dx);
  } else {
    shape.right = dnnl_format_tag_any;
    Packing& packing = products.packing(shape.k, shape.n, shape.number, dnnl_ab);
    const void* right = products.pack(weight, weight.packed->backward, packing, sizeof(X));
    multiply_rows(context, dy, m, shape, dnnl_ab, true, right, dx);
  }
}

// Not dnnl_sgemm, which is 3 % faster but takes 40 MB from the system and gives them back in a step
// of a small model: page faults for more than that.
template <class X>
void linear_backward_weight(Context& context, const X* dy, const X* x, int m, int out, int in,
                            Real* dw) {
  if (m == 0) return;
  auto& products = context.products();
  for (int done = 0; done < m;) {
    const int count = next_summed(m - done);
    const Shape shape{count, in, kNumber<X>, dnnl_f32, dnnl_ba, dnnl_ab, true};
    products.execute(products.product(out, shape, nullptr),
                     dy + static_cast<std::ptrdiff_t>(done) * out,
                     x + static_cast<std::ptrdiff_t>(done) * in, dw);
    done += count;
  }
}

#define WEFT_INSTANTIATE(X, Y)                                                    \
  template void linear_forward(Context&, const X*, int, const Weight&, Y*, bool); \
  template void linear_backward_input(Context&, const X*, int, const Weight&, Y*, bool);
WEFT_INSTANTIATE(Real, Real)
WEFT_INSTANTIATE(Bf16, Real)
WEFT_INSTANTIATE(Bf16, Bf16)
template void linear_backward_weight(Context&, const Real*, const Real*, int, int, int, Real*);
template void linear_backward_weight(Context&, const Bf16*, const Bf16*, int, int, int, Real*);

Expected<void> check_bf16_products() {
  dnnl_engine_t engine = nullptr;
  check(dnnl_engine_create(&engine, dnnl_cpu, 0), "create an engine");
  const Shape shape{64, 64, dnnl_bf16, dnnl_bf16};
  const auto any = matrix(shape.k, shape.n, dnnl_bf16, dnnl_format_tag_any);
  dnnl_primitive_desc_t desc = try_describe(engine, 64, shape, any);
  if (desc != nullptr) dnnl_primitive_desc_destroy(desc);
  dnnl_engine_destroy(engine);
  if (desc != nullptr) return {};
  return fail(Code::Unsupported,
              "this processor has no BF16 products: oneDNN asks for AVX-512 (avx512_core, better "
              "avx512_core_bf16 or amx_bf16)");
}

}  // namespace weft::trainer::kernels
