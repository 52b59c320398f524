// Float products through oneDNN's C interface. A primitive is made once per shape (about 0.2 ms)
// and kept; its memory objects are pointed at the operands of each call, so that a call makes
// nothing.
//
// Rows are cut into a body of a multiple of 16 (at most 256 at a time) and an exact tail, so that a
// stage whose experts see any number of rows needs at most 31 primitives per weight shape and no
// row is computed in vain.
#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/check.h"
#include "trainer/kernels/matmul.h"

namespace weft::trainer::kernels {

namespace {

constexpr int kRowUnit = 16;
constexpr int kRowsMax = 256;

void check(dnnl_status_t status, const char* what) {
  WEFT_CHECK(status == dnnl_success, std::string("oneDNN: ") + what + ", status " +
                                         std::to_string(static_cast<int>(status)));
}

dnnl_memory_desc_t matrix(int rows, int columns, dnnl_format_tag_t tag) {
  const dnnl_dims_t dims = {rows, columns};
  dnnl_memory_desc_t desc;
  check(dnnl_memory_desc_init_by_tag(&desc, 2, dims, dnnl_f32, tag), "describe a matrix");
  return desc;
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

/// How W [n, k] is stored for y = x W^T, and the reorder that makes it.
struct Packing {
  dnnl_memory_desc_t desc;
  std::size_t elements = 0;
  Product reorder;
};

}  // namespace

struct Context::Products {
  dnnl_engine_t engine = nullptr;
  dnnl_stream_t stream = nullptr;
  std::map<std::tuple<int, int, int, bool, bool>, Product> products;  // m, k, n, packed, accumulate
  std::map<std::pair<int, int>, Packing> packings;                    // k, n

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

  dnnl_primitive_desc_t describe(int m, int k, int n, const dnnl_memory_desc_t& weights,
                                 bool accumulate) {
    const auto source = matrix(m, k, dnnl_ab), result = matrix(m, n, dnnl_ab);
    dnnl_matmul_desc_t operation;
    check(dnnl_matmul_desc_init(&operation, &source, &weights, nullptr, &result), "describe");
    dnnl_primitive_attr_t attributes = nullptr;
    check(dnnl_primitive_attr_create(&attributes), "create attributes");
    if (accumulate) {
      dnnl_post_ops_t post = nullptr;
      check(dnnl_post_ops_create(&post), "create post operations");
      check(dnnl_post_ops_append_sum(post, 1.0f), "append a sum");
      check(dnnl_primitive_attr_set_post_ops(attributes, post), "set post operations");
      dnnl_post_ops_destroy(post);
    }
    dnnl_primitive_desc_t desc = nullptr;
    check(dnnl_primitive_desc_create(&desc, &operation, attributes, engine, nullptr),
          "describe a product");
    dnnl_primitive_attr_destroy(attributes);
    return desc;
  }

  /// The layout is chosen once per (k, n), at a typical number of rows, and then demanded for every
  /// other number of rows.
  Packing& packing(int k, int n) {
    auto [it, added] = packings.try_emplace({k, n});
    Packing& packing = it->second;
    if (!added) return packing;
    const auto any = matrix(k, n, dnnl_format_tag_any);
    dnnl_primitive_desc_t desc = describe(64, k, n, any, false);
    packing.desc = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_destroy(desc);
    packing.elements = dnnl_memory_desc_get_size(&packing.desc) / sizeof(float);
    const auto plain = matrix(k, n, dnnl_ba);
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

  Product& product(int m, int k, int n, bool packed, bool accumulate) {
    auto [it, added] = products.try_emplace({m, k, n, packed, accumulate});
    Product& product = it->second;
    if (!added) return product;
    const auto weights = packed ? packing(k, n).desc : matrix(k, n, dnnl_ab);
    dnnl_primitive_desc_t desc = describe(m, k, n, weights, accumulate);
    check(dnnl_primitive_create(&product.primitive, desc), "create a product");
    dnnl_primitive_desc_destroy(desc);
    product.source = memory(matrix(m, k, dnnl_ab));
    product.weights = memory(weights);
    product.result = memory(matrix(m, n, dnnl_ab));
    return product;
  }

  static void point(dnnl_memory_t memory, const float* data) {
    check(dnnl_memory_set_data_handle(memory, const_cast<float*>(data)), "set a pointer");
  }

  void pack(const Weight& weight) {
    PackedCopy& copy = *weight.packed;
    if (copy.version == weight.version) return;
    Packing& packing_of = packing(weight.in, weight.out);
    copy.storage.resize(packing_of.elements);
    point(packing_of.reorder.source, weight.value);
    point(packing_of.reorder.result, copy.storage.data());
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, packing_of.reorder.source},
                                         {DNNL_ARG_TO, packing_of.reorder.result}};
    check(dnnl_primitive_execute(packing_of.reorder.primitive, stream, 2, arguments), "pack");
    copy.version = weight.version;
  }

  void run(const float* source, int m, int k, int n, const float* weights, bool packed,
           float* result, bool accumulate) {
    for (int done = 0; done < m;) {
      int rows = std::min(m - done, kRowsMax);
      if (rows >= kRowUnit) rows -= rows % kRowUnit;
      Product& step = product(rows, k, n, packed, accumulate);
      point(step.source, source + static_cast<std::ptrdiff_t>(done) * k);
      point(step.weights, weights);
      point(step.result, result + static_cast<std::ptrdiff_t>(done) * n);
      const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, step.source},
                                           {DNNL_ARG_WEIGHTS, step.weights},
                                           {DNNL_ARG_DST, step.result}};
      check(dnnl_primitive_execute(step.primitive, stream, 3, arguments), "multiply");
      done += rows;
    }
  }
};

Context::Products& Context::products() {
  // The number of threads is the calling thread's setting, and other code may have changed it.
  omp_set_num_threads(num_threads_);
  if (!products_) products_ = std::make_shared<Products>();
  return *products_;
}

void linear_forward(Context& context, const Real* x, int m, const Weight& weight, Real* y,
                    bool accumulate) {
  if (m == 0) return;
  auto& products = context.products();
  products.pack(weight);
  products.run(x, m, weight.in, weight.out, weight.packed->storage.data(), true, y, accumulate);
}

// W as it lies is the right-hand side here; measured no slower than a packed copy.
void linear_backward_input(Context& context, const Real* dy, int m, const Weight& weight, Real* dx,
                           bool accumulate) {
  if (m == 0) return;
  context.products().run(dy, m, weight.out, weight.in, weight.value, false, dx, accumulate);
}

void linear_backward_weight(Context& context, const Real* dy, const Real* x, int m, int out, int in,
                            Real* dw) {
  if (m == 0) return;
  context.products();
  check(dnnl_sgemm('T', 'N', out, in, m, 1.0f, dy, out, x, in, 1.0f, dw, in), "multiply");
}

}  // namespace weft::trainer::kernels
