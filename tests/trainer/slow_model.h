// The whole model with its multi-token prediction modules as one would write it on a blackboard:
// one sequence at a time, every token from its definition, nothing kept, nothing shared. In double.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "model_fixture.h"

namespace weft::trainer {

class SlowModel {
 public:
  using Vector = std::vector<double>;
  using Rows = std::vector<Vector>;  // one a token

  SlowModel(const ModelConfig& config, const ParameterSet& set) : c_(config), set_(set) {}

  /// Mean over the targets' weights is left to the caller: sums of weight x negative
  /// log-probability, of the main model first, then of each depth.
  std::vector<double> losses(const MicroBatch& batch) const {
    std::vector<double> sums(1 + static_cast<std::size_t>(c_.num_nextn_predict_layers), 0.0);
    for (int s = 0; s < batch.num_sequences(); ++s) {
      const auto at = static_cast<std::size_t>(s);
      const int begin = batch.sequence_begin[at], length = batch.sequence_begin[at + 1] - begin;
      Rows h;
      for (int t = 0; t < length; ++t) h.push_back(embedding(batch.tokens[index(begin + t)]));
      for (int l = 0; l < c_.num_hidden_layers; ++l) h = block(h, l);
      h = normed(h, "model.norm.weight");
      add_losses(h, batch, begin, 0, sums[0]);
      for (int k = 1; k <= c_.num_nextn_predict_layers; ++k) {
        const int layer = c_.num_hidden_layers + k - 1;
        const std::string name = prefix(layer);
        Rows x;
        for (int i = 0; i + k < length; ++i) {
          Vector both = norm(embedding(batch.tokens[index(begin + i + k)]), name + "enorm.weight");
          const Vector hidden = norm(h[index(i)], name + "hnorm.weight");
          both.insert(both.end(), hidden.begin(), hidden.end());
          x.push_back(times(name + "eh_proj.weight", both));
        }
        h = normed(block(x, layer), name + "shared_head.norm.weight");
        add_losses(h, batch, begin, k, sums[index(k)]);
      }
    }
    return sums;
  }

 private:
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }
  static std::string prefix(int layer) { return "model.layers." + std::to_string(layer) + "."; }

  const double* values(const std::string& name) const {
    const Parameter* item = set_.find(name);
    EXPECT_NE(item, nullptr) << name;
    return set_.values_data() + item->offset;
  }
  Vector embedding(int token) const {
    const double* row = values("model.embed_tokens.weight") + token * c_.hidden_size;
    return Vector(row, row + c_.hidden_size);
  }
  Vector times(const std::string& name, const Vector& x) const {
    const double* w = values(name);
    Vector y(index(static_cast<int>(set_.find(name)->shape[0])), 0.0);
    EXPECT_EQ(index(static_cast<int>(set_.find(name)->shape[1])), x.size()) << name;
    for (double& out : y) {
      for (const double in : x) out += *w++ * in;
    }
    return y;
  }
  Vector norm(const Vector& x, const std::string& name) const {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double root = std::sqrt(squares / static_cast<double>(x.size()) + c_.rms_norm_eps);
    Vector y;
    for (std::size_t i = 0; i < x.size(); ++i) y.push_back(x[i] / root * values(name)[i]);
    return y;
  }
  Rows normed(const Rows& rows, const std::string& name) const {
    Rows result;
    for (const Vector& row : rows) result.push_back(norm(row, name));
    return result;
  }
  void rotate(double* x, int position) const {
    for (int i = 0; i < c_.qk_rope_head_dim; i += 2) {
      const double angle =
          position * std::pow(c_.rope_theta, -static_cast<double>(i) / c_.qk_rope_head_dim);
      const double a = x[i], b = x[i + 1];
      x[i] = a * std::cos(angle) - b * std::sin(angle);
      x[i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
  }
  Vector swiglu(const std::string& name, const Vector& x) const {
    Vector gate = times(name + "gate_proj.weight", x);
    const Vector up = times(name + "up_proj.weight", x);
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
    return times(name + "down_proj.weight", gate);
  }

  Rows attention(const Rows& x, const std::string& name) const {
    const int nope = c_.qk_nope_head_dim, rope = c_.qk_rope_head_dim, value = c_.v_head_dim;
    const int n = static_cast<int>(x.size()), heads = c_.num_attention_heads;
    Rows q, kv, k_rope;
    for (int t = 0; t < n; ++t) {
      q.push_back(times(name + "q_b_proj.weight", norm(times(name + "q_a_proj.weight", x[index(t)]),
                                                       name + "q_a_layernorm.weight")));
      for (int h = 0; h < heads; ++h) rotate(&q.back()[index(h * (nope + rope) + nope)], t);
      Vector latent = times(name + "kv_a_proj_with_mqa.weight", x[index(t)]);
      k_rope.emplace_back(latent.end() - rope, latent.end());
      rotate(k_rope.back().data(), t);
      latent.resize(index(c_.kv_lora_rank));
      kv.push_back(times(name + "kv_b_proj.weight", norm(latent, name + "kv_a_layernorm.weight")));
    }
    Rows result;
    for (int t = 0; t < n; ++t) {
      Vector all;
      for (int h = 0; h < heads; ++h) {
        const double* query = &q[index(t)][index(h * (nope + rope))];
        Vector p;
        for (int s = 0; s <= t; ++s) {
          const double* key = &kv[index(s)][index(h * (nope + value))];
          double score = std::inner_product(query, query + nope, key, 0.0);
          score +=
              std::inner_product(query + nope, query + nope + rope, k_rope[index(s)].begin(), 0.0);
          p.push_back(std::exp(score / std::sqrt(nope + rope)));
        }
        const double sum = std::accumulate(p.begin(), p.end(), 0.0);
        for (int i = 0; i < value; ++i) {
          double out = 0;
          for (int s = 0; s <= t; ++s)
            out += p[index(s)] / sum * kv[index(s)][index(h * (nope + value) + nope + i)];
          all.push_back(out);
        }
      }
      result.push_back(times(name + "o_proj.weight", all));
    }
    return result;
  }

  /// Without selection bias and group limit: the best scores.
  Vector experts(const Vector& x, const std::string& name) const {
    Vector scores = times(name + "gate.weight", x);
    for (double& s : scores) s = 1 / (1 + std::exp(-s));
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, std::greater(), [&](std::size_t e) { return scores[e]; });
    order.resize(index(c_.num_experts_per_tok));
    double sum = 0;
    for (const std::size_t e : order) sum += scores[e];
    Vector y = swiglu(name + "shared_experts.", x);
    for (const std::size_t e : order) {
      const Vector out = swiglu(name + "experts." + std::to_string(e) + ".", x);
      for (std::size_t i = 0; i < y.size(); ++i)
        y[i] += c_.routed_scaling_factor * scores[e] / sum * out[i];
    }
    return y;
  }

  Rows block(Rows x, int layer) const {
    const std::string name = prefix(layer);
    const Rows attended =
        attention(normed(x, name + "input_layernorm.weight"), name + "self_attn.");
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += attended[t][i];
      const Vector in = norm(x[t], name + "post_attention_layernorm.weight");
      const Vector out = c_.is_moe(layer) ? experts(in, name + "mlp.") : swiglu(name + "mlp.", in);
      for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += out[i];
    }
    return x;
  }

  void add_losses(const Rows& h, const MicroBatch& batch, int begin, int depth, double& sum) const {
    for (int i = 0; i < static_cast<int>(h.size()); ++i) {
      const std::size_t target_of = index(begin + i + depth);  // token i + depth predicts the next
      if (batch.targets[target_of] < 0) continue;
      const Vector logits = times("lm_head.weight", h[index(i)]);
      double total = 0;
      for (const double x : logits) total += std::exp(x);
      sum -= batch.weight[target_of] * (logits[index(batch.targets[target_of])] - std::log(total));
    }
  }

  const ModelConfig& c_;
  const ParameterSet& set_;
};

}  // namespace weft::trainer
