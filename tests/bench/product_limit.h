// What the matrix-product library reaches on a step's products with weights, in f32 and in BF16:
// packed weights, primitives made beforehand, nothing but the products.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "tests/bench/limit.h"

namespace weft::bench {

/// Seconds and GFLOP/s: run() once for the time of one step's products.
class ProductLimit {
 public:
  ProductLimit(const trainer::ModelConfig& c, int m, dnnl::memory::data_type type)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), type_(type) {
    for (int l = 0; l < c.num_hidden_layers; ++l) {
      for (const Product& p : forward_products(c, m, c.is_moe(l))) add(p);
    }
    add({m, c.vocab_size, c.hidden_size});
  }

  double flops() const { return flops_; }

  void run() {
    for (auto& step : steps_) step.primitive.execute(stream_, step.arguments);
    stream_.wait();
  }

 private:
  using Tag = dnnl::memory::format_tag;
  using Type = dnnl::memory::data_type;
  struct Step {
    dnnl::matmul primitive;
    std::unordered_map<int, dnnl::memory> arguments;
  };

  /// Forward (y = x W^T), for the input (dx = dy W), for the weight (dW = dy^T x, in f32).
  void add(const Product& p) {
    add_step(p.m, p.k, p.n, Tag::ab, Tag::any, type_);
    add_step(p.m, p.n, p.k, Tag::ab, Tag::any, type_);
    add_step(p.n, p.m, p.k, Tag::ba, Tag::ab, Type::f32);
    flops_ += 6.0 * p.m * p.n * p.k;
  }

  void add_step(int m, int k, int n, Tag left, Tag right, Type result) {
    const dnnl::memory::desc a({m, k}, type_, left), b({k, n}, type_, right);
    const dnnl::memory::desc c({m, n}, result, Tag::ab);
    const dnnl::matmul::primitive_desc desc(dnnl::matmul::desc(a, b, c), engine_);
    const auto zeroed = [&](const dnnl::memory::desc& of) {
      dnnl::memory memory(of, engine_);
      auto* bytes = static_cast<std::uint8_t*>(memory.get_data_handle());
      std::fill_n(bytes, of.get_size(), std::uint8_t{0});
      return memory;
    };
    steps_.push_back({dnnl::matmul(desc),
                      {{DNNL_ARG_SRC, zeroed(desc.src_desc())},
                       {DNNL_ARG_WEIGHTS, zeroed(desc.weights_desc())},
                       {DNNL_ARG_DST, zeroed(desc.dst_desc())}}});
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  Type type_;
  std::vector<Step> steps_;
  double flops_ = 0;
};

}  // namespace weft::bench
