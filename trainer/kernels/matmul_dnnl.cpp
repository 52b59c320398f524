// Float and BF16 products through oneDNN's C interface. A primitive is made once per shape (about
// 0.2 ms) and kept; its memory objects are pointed at the operands of each call, so that a call
// makes nothing.
//
// Rows are cut into a body of a multiple of 16 (at most 256 at a time) and an exact tail, so that a
// stage whose experts see any number of rows needs at most 31 primitives per weight shape and no
// row is computed in vain.
//
// BF16: 1.9 to 2 times the float rate with avx512_core_bf16, weight gradients included (they are a
// product with a transposed left side that is added to its F32 result). Both directions read a
// packed copy: a right side as it lies costs up to a third more with few rows.
#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <type_traits>

#include "base/check.h"
#include "trainer/kernels/matmul.h"
#include "trainer/kernels/parallel.h"

namespace weft::trainer::kernels {

namespace {

constexpr int kRowUnit = 16;
constexpr int kRowsMax = 256;

void check(dnnl_status_t status, const char* what) {
  WEFT_CHECK(status == dnnl_success, std::string("oneDNN: ") + what + ", status " +
                                         std::to_string(static_cast<int>(status)));
}

template <class T>
constexpr dnnl_data_type_t kNumber = std::is_same_v<T, Bf16> ? dnnl_bf16 : dnnl_f32;

dnnl_memory_desc_t matrix(int rows, int columns, dnnl_data_type_t number, dnnl_format_tag_t tag) {
  const dnnl_dims_t dims = {rows, columns};
  dnnl_memory_desc_t desc;
  check(dnnl_memory_desc_init_by_tag(&desc, 2, dims, number, tag), "describe a matrix");
  return desc;
}

/// Which product: operands [m, k] and [k, n] of `number`, result of `result`.
struct Shape {
  int k = 0, n = 0;
  dnnl_data_type_t number = dnnl_f32, result = dnnl_f32;
  dnnl_format_tag_t left = dnnl_ab;               // dnnl_ba: stored transposed
  dnnl_format_tag_t right = dnnl_format_tag_any;  // any: in the library's own layout
  bool accumulate = false;
  auto operator<=>(const Shape&) const = default;
};

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

/// A primitive with the memory objects of its operands.
struct Product {
  dnnl_primitive_t primitive = nullptr;
  dnnl_memory_t source = nullptr, weights = nullptr, result = nullptr;

  Product() = default;
  Product(Product&& other) noexcept { *this = std::move(other); }
  Product& operator=(Product&& other) noexcept {
    std::swap(primitive, other.primitive);
    std::swap(source, other.source);
    std::swap(weights, other.weights);
    std::swap(result, other.result);
    return *this;
  }
  ~Product() {
    for (auto* memory : {source, weights, result}) {
      if (memory) dnnl_memory_destroy(memory);
    }
    if (primitive) dnnl_primitive_destroy(primitive);
  }
};

/// How a weight is stored as the right side [k, n] of a product, and the reorder from the F32
/// values that makes it; `plain` is how those lie.
struct Packing {
  dnnl_memory_desc_t desc;
  Product reorder;
};

/// Null where the processor or the library cannot.
dnnl_primitive_desc_t try_describe(dnnl_engine_t engine, int m, const Shape& shape,
                                   const dnnl_memory_desc_t& right) {
  const auto left = matrix(m, shape.k, shape.number, shape.left);
  const auto result = matrix(m, shape.n, shape.result, dnnl_ab);
  dnnl_matmul_desc_t operation;
  check(dnnl_matmul_desc_init(&operation, &left, &right, nullptr, &result), "describe");
  dnnl_primitive_attr_t attributes = nullptr;
  check(dnnl_primitive_attr_create(&attributes), "create attributes");
  if (shape.accumulate) {
    dnnl_post_ops_t post = nullptr;
    check(dnnl_post_ops_create(&post), "create post operations");
    check(dnnl_post_ops_append_sum(post, 1.0f), "append a sum");
    check(dnnl_primitive_attr_set_post_ops(attributes, post), "set post operations");
    dnnl_post_ops_destroy(post);
  }
  dnnl_primitive_desc_t desc = nullptr;
  const dnnl_status_t status =
      dnnl_primitive_desc_create(&desc, &operation, attributes, engine, nullptr);
  dnnl_primitive_attr_destroy(attributes);
  return status == dnnl_success ? desc : nullptr;
}

}  // namespace

struct Context::Products {
  dnnl_engine_t engine = nullptr;
  dnnl_stream_t stream = nullptr;
  std::map<std::pair<int, Shape>, Product> products;  // by rows and shape
  std::map<std::tuple<int, int, dnnl_data_type_t, dnnl_format_tag_t>, Packing> packings;

  Products() {
    check(dnnl_engine_create(&engine, dnnl_cpu, 0), "create an engine");
    check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "create a stream");
  }
  ~Products() {
    products.clear();
    packings.clear();
    if (stream) dnnl_stream_destroy(stream);
    if (engine) dnnl_engine_destroy(engine);
  }
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  dnnl_memory_t memory(const dnnl_memory_desc_t& desc) {
    dnnl_memory_t result = nullptr;
    check(dnnl_memory_create(&result, &desc, engine, DNNL_MEMORY_NONE), "create a memory object");
    return result;
  }

  dnnl_primitive_desc_t describe(int m, const Shape& shape, const dnnl_memory_desc_t& right) {
    dnnl_primitive_desc_t desc = try_describe(engine, m, shape, right);
    WEFT_CHECK(desc != nullptr, "oneDNN: no such product; check_bf16_products says why");
    return desc;
  }

  /// The layout is chosen once per (k, n), at a typical number of rows, and then demanded for every
  /// other number of rows.
  Packing& packing(int k, int n, dnnl_data_type_t number, dnnl_format_tag_t plain_tag) {
    auto [it, added] = packings.try_emplace({k, n, number, plain_tag});
    Packing& packing = it->second;
    if (!added) return packing;
    const auto any = matrix(k, n, number, dnnl_format_tag_any);
    dnnl_primitive_desc_t desc = describe(64, {k, n, number}, any);
    packing.desc = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_destroy(desc);
    const auto plain = matrix(k, n, dnnl_f32, plain_tag);
    dnnl_primitive_desc_t reorder = nullptr;
    check(dnnl_reorder_primitive_desc_create(&reorder, &plain, engine, &packing.desc, engine,
                                             nullptr),
          "describe a packing");
    check(dnnl_primitive_create(&packing.reorder.primitive, reorder), "create a packing");
    dnnl_primitive_desc_destroy(reorder);
    packing.reorder.source = memory(plain);
    packing.reorder.result = memory(packing.desc);
    return packing;
  }

  Product& product(int m, const Shape& shape, const Packing* packing) {
    auto [it, added] = products.try_emplace({m, shape});
    Product& product = it->second;
    if (!added) return product;
    const auto right =
        packing != nullptr ? packing->desc : matrix(shape.k, shape.n, shape.number, shape.right);
    dnnl_primitive_desc_t desc = describe(m, shape, right);
    check(dnnl_primitive_create(&product.primitive, desc), "create a product");
    dnnl_primitive_desc_destroy(desc);
    product.source = memory(matrix(m, shape.k, shape.number, shape.left));
    product.weights = memory(right);
    product.result = memory(matrix(m, shape.n, shape.result, dnnl_ab));
    return product;
  }

  static void point(dnnl_memory_t memory, const void* data) {
    check(dnnl_memory_set_data_handle(memory, const_cast<void*>(data)), "set a pointer");
  }

  const void* pack(const Weight& weight, PackedCopy::Layout& copy, Packing& packing,
                   std::uint8_t number_size) {
    if (copy.version == weight.version && copy.number == number_size) return copy.storage.data();
    copy.storage.resize(dnnl_memory_desc_get_size(&packing.desc));
    point(packing.reorder.source, weight.value);
    point(packing.reorder.result, copy.storage.data());
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, packing.reorder.source},
                                         {DNNL_ARG_TO, packing.reorder.result}};
    check(dnnl_primitive_execute(packing.reorder.primitive, stream, 2, arguments), "pack");
    copy.version = weight.version;
    copy.number = number_size;
    return copy.storage.data();
  }

  void execute(Product& step, const void* left, const void* right, void* result) {
    point(step.source, left);
    point(step.weights, right);
    point(step.result, result);
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, step.source}, {DNNL_ARG_WEIGHTS, step.weights}, {DNNL_ARG_DST, step.result}};
    check(dnnl_primitive_execute(step.primitive, stream, 3, arguments), "multiply");
  }
};

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
