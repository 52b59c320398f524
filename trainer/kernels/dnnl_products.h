// oneDNN's primitives behind matmul_dnnl.cpp; not for others to include. A primitive is made once
// per shape (about 0.2 ms) and kept; its memory objects are pointed at the operands of each call,
// so that a call makes nothing. One owner and its memory belong to one thread at a time.
#pragma once

#include <dnnl.h>

#include <cstdint>
#include <map>
#include <tuple>
#include <utility>

#include "trainer/kernels/matmul.h"

namespace weft::trainer::kernels {

/// Ends the process on failure: a product that cannot be made is a mistake of ours.
void check(dnnl_status_t status, const char* what);
dnnl_memory_desc_t matrix(int rows, int columns, dnnl_data_type_t number, dnnl_format_tag_t tag);

/// Which product: operands [m, k] and [k, n] of `number`, result of `result`.
struct Shape {
  int k = 0, n = 0;
  dnnl_data_type_t number = dnnl_f32, result = dnnl_f32;
  dnnl_format_tag_t left = dnnl_ab;               // dnnl_ba: stored transposed
  dnnl_format_tag_t right = dnnl_format_tag_any;  // any: in the library's own layout
  bool accumulate = false;
  auto operator<=>(const Shape&) const = default;
};

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
                                   const dnnl_memory_desc_t& right);

struct Context::Products {
  dnnl_engine_t engine = nullptr;
  dnnl_stream_t stream = nullptr;
  std::map<std::pair<int, Shape>, Product> products;  // by rows and shape
  std::map<std::tuple<int, int, dnnl_data_type_t, dnnl_format_tag_t>, Packing> packings;

  Products();
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  /// The layout is chosen once per (k, n), at a typical number of rows, and then demanded for every
  /// other number of rows.
  Packing& packing(int k, int n, dnnl_data_type_t number, dnnl_format_tag_t plain_tag);
  Product& product(int m, const Shape& shape, const Packing* packing);
  /// The weight in the packing's layout, made anew where the copy is of an older version.
  const void* pack(const Weight& weight, PackedCopy::Layout& copy, Packing& packing,
                   std::uint8_t number_size);
  void execute(Product& step, const void* left, const void* right, void* result);

 private:
  dnnl_memory_t memory(const dnnl_memory_desc_t& desc);
  dnnl_primitive_desc_t describe(int m, const Shape& shape, const dnnl_memory_desc_t& right);
};

}  // namespace weft::trainer::kernels
