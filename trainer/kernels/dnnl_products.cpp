#include "trainer/kernels/dnnl_products.h"

#include <string>

#include "base/check.h"

namespace weft::trainer::kernels {

void check(dnnl_status_t status, const char* what) {
  WEFT_CHECK(status == dnnl_success, std::string("oneDNN: ") + what + ", status " +
                                         std::to_string(static_cast<int>(status)));
}

dnnl_memory_desc_t matrix(int rows, int columns, dnnl_data_type_t number, dnnl_format_tag_t tag) {
  const dnnl_dims_t dims = {rows, columns};
  dnnl_memory_desc_t desc;
  check(dnnl_memory_desc_init_by_tag(&desc, 2, dims, number, tag), "describe a matrix");
  return desc;
}

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

namespace {

void point(dnnl_memory_t memory, const void* data) {
  check(dnnl_memory_set_data_handle(memory, const_cast<void*>(data)), "set a pointer");
}

}  // namespace

Context::Products::Products() {
  check(dnnl_engine_create(&engine, dnnl_cpu, 0), "create an engine");
  check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "create a stream");
}

Context::Products::~Products() {
  products.clear();
  packings.clear();
  if (stream) dnnl_stream_destroy(stream);
  if (engine) dnnl_engine_destroy(engine);
}

dnnl_memory_t Context::Products::memory(const dnnl_memory_desc_t& desc) {
  dnnl_memory_t result = nullptr;
  check(dnnl_memory_create(&result, &desc, engine, DNNL_MEMORY_NONE), "create a memory object");
  return result;
}

dnnl_primitive_desc_t Context::Products::describe(int m, const Shape& shape,
                                                  const dnnl_memory_desc_t& right) {
  dnnl_primitive_desc_t desc = try_describe(engine, m, shape, right);
  WEFT_CHECK(desc != nullptr, "oneDNN: no such product; check_bf16_products says why");
  return desc;
}

Packing& Context::Products::packing(int k, int n, dnnl_data_type_t number,
                                    dnnl_format_tag_t plain_tag) {
  auto [it, added] = packings.try_emplace({k, n, number, plain_tag});
  Packing& packing = it->second;
  if (!added) return packing;
  const auto any = matrix(k, n, number, dnnl_format_tag_any);
  dnnl_primitive_desc_t desc = describe(64, {k, n, number}, any);
  packing.desc = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
  dnnl_primitive_desc_destroy(desc);
  const auto plain = matrix(k, n, dnnl_f32, plain_tag);
  dnnl_primitive_desc_t reorder = nullptr;
  check(
      dnnl_reorder_primitive_desc_create(&reorder, &plain, engine, &packing.desc, engine, nullptr),
      "describe a packing");
  check(dnnl_primitive_create(&packing.reorder.primitive, reorder), "create a packing");
  dnnl_primitive_desc_destroy(reorder);
  packing.reorder.source = memory(plain);
  packing.reorder.result = memory(packing.desc);
  return packing;
}

Product& Context::Products::product(int m, const Shape& shape, const Packing* packing) {
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

const void* Context::Products::pack(const Weight& weight, PackedCopy::Layout& copy,
                                    Packing& packing, std::uint8_t number_size) {
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

void Context::Products::execute(Product& step, const void* left, const void* right, void* result) {
  point(step.source, left);
  point(step.weights, right);
  point(step.result, result);
  const dnnl_exec_arg_t arguments[] = {
      {DNNL_ARG_SRC, step.source}, {DNNL_ARG_WEIGHTS, step.weights}, {DNNL_ARG_DST, step.result}};
  check(dnnl_primitive_execute(step.primitive, stream, 3, arguments), "multiply");
}

}  // namespace weft::trainer::kernels
