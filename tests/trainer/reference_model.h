// The whole model once more, with its multi-token prediction modules, written to be read and not to
// be fast: one token after the other, plain loops in double, parameters by their Hugging Face
// names. Shares no code with trainer/ but the values it is given. Source: DeepSeek-V3 report
// sections 2.1, 2.2 and 4.3, its model.py; transformers' llama and qwen.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "trainer/batch.h"
#include "trainer/model/config.h"
#include "trainer/model/parameters.h"

namespace weft::trainer {

class ReferenceModel {
 public:
  using Vector = std::vector<double>;
  using Rows = std::vector<Vector>;  // one a token

  explicit ReferenceModel(const ModelConfig& config) : c(config) {}
  ReferenceModel(const ModelConfig& config, const ParameterSet& set) : c(config) {
    const auto items = set.items();
    for (std::size_t i = 0; i < items.size(); ++i) {
      const auto value = set.value(static_cast<int>(i));
      parameters[items[i].name] = {value.begin(), value.end()};
    }
  }

  std::map<std::string, Vector> parameters;

  struct Loss {
    double main = 0;     // sum of -weight * log-probability
    double balance = 0;  // aux_loss_alpha / sequences, summed over sequences and MoE layers
    double all() const { return main + balance; }
  };
  /// Cross-entropy of the batch. `sequences`: of the whole batch that it is a part of.
  Loss loss(const MicroBatch& batch, int sequences) const {
    Loss sum;
    for (int s = 0; s < batch.num_sequences(); ++s) {
      const auto [first, last] = bounds(batch, s);
      double balance = 0;
      const Rows h = hidden(batch, first, last, balance);
      sum.balance += c.aux_loss_alpha / sequences * balance;
      sum.main += cross_entropy(h, batch, first, 0);
    }
    return sum;
  }
  /// Cross-entropies of the main model and of each depth of multi-token prediction, sums of
  /// -weight * log-probability; what a depth counts for is not in them.
  std::vector<double> depth_losses(const MicroBatch& batch) const {
    std::vector<double> sums(1 + static_cast<std::size_t>(c.num_nextn_predict_layers), 0.0);
    for (int s = 0; s < batch.num_sequences(); ++s) {
      const auto [first, last] = bounds(batch, s);
      double balance = 0;
      Rows h = hidden(batch, first, last, balance);
      sums[0] += cross_entropy(h, batch, first, 0);
      for (std::size_t k = 1; k < sums.size(); ++k) {
        h = next_depth(h, batch, first, k);
        sums[k] += cross_entropy(h, batch, first, k);
      }
    }
    return sums;
  }

 private:
  const Vector& p(const std::string& name) const { return parameters.at(name); }
  std::string here(int layer, const std::string& name) const {
    return "model.layers." + std::to_string(layer) + "." + name;
  }

  static Vector product(const Vector& matrix, const Vector& x) {
    Vector y(matrix.size() / x.size(), 0.0);
    for (std::size_t i = 0; i < y.size(); ++i)
      for (std::size_t j = 0; j < x.size(); ++j) y[i] += matrix[i * x.size() + j] * x[j];
    return y;
  }
  static Vector part(const Vector& x, int from, int size) {
    return {x.begin() + from, x.begin() + from + size};
  }
  static double dot(const Vector& a, const Vector& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  }
  static void add(Vector& to, const Vector& x, double factor = 1) {
    for (std::size_t i = 0; i < x.size(); ++i) to[i] += factor * x[i];
  }
  Vector norm(const Vector& x, const Vector& gain) const {
    const double mean = dot(x, x) / static_cast<double>(x.size());
    Vector y = x;
    for (std::size_t i = 0; i < x.size(); ++i) y[i] *= gain[i] / std::sqrt(mean + c.rms_norm_eps);
    return y;
  }
  static Vector softmax(const Vector& x) {
    const double largest = *std::max_element(x.begin(), x.end());
    Vector y;
    double sum = 0;
    for (const double v : x) y.push_back(std::exp(v - largest)), sum += y.back();
    for (double& v : y) v /= sum;
    return y;
  }

  // --- positions ---
  double angle(int pair, int dim, int position) const {
    const double plain = std::pow(c.rope_theta, -2.0 * pair / dim);
    if (c.yarn.factor <= 1) return position * plain;
    // The pair's turns within the original context decide, by way of the index where a pair would
    // turn exactly beta times.
    const auto index_of = [&](double turns) {
      return dim *
             std::log(c.yarn.original_max_position_embeddings / (turns * 2 * std::numbers::pi)) /
             (2 * std::log(c.rope_theta));
    };
    const double low = std::max(0.0, std::floor(index_of(c.yarn.beta_fast)));
    const double high = std::min(dim - 1.0, std::ceil(index_of(c.yarn.beta_slow)));
    double ramp = (pair - low) / (high == low ? 0.001 : high - low);
    ramp = std::min(1.0, std::max(0.0, ramp));
    return position * (plain / c.yarn.factor * ramp + plain * (1 - ramp));
  }
  double magnitude(double mscale) const {
    return c.yarn.factor <= 1 ? 1 : 0.1 * mscale * std::log(c.yarn.factor) + 1;
  }
  Vector rotate(Vector x, int position, bool halves) const {
    const int dim = static_cast<int>(x.size());
    const double scale = magnitude(c.yarn.mscale) / magnitude(c.yarn.mscale_all_dim);
    for (int i = 0; i < dim / 2; ++i) {
      const auto one = static_cast<std::size_t>(halves ? i : 2 * i);
      const auto two = static_cast<std::size_t>(halves ? i + dim / 2 : 2 * i + 1);
      const double turn = angle(i, dim, position), a = x[one], b = x[two];
      x[one] = scale * (a * std::cos(turn) - b * std::sin(turn));
      x[two] = scale * (a * std::sin(turn) + b * std::cos(turn));
    }
    return x;
  }

  // --- attention: [token][head] of queries, keys, values ---
  struct Heads {
    std::vector<Rows> q, k, v;
    double scale = 1;
  };
  Heads latent_heads(int layer, const Rows& x, const std::vector<int>& positions) const {
    const int nope = c.qk_nope_head_dim, rope = c.qk_rope_head_dim, value = c.v_head_dim;
    Heads heads;
    const double correction = magnitude(c.yarn.mscale_all_dim);
    heads.scale = correction * correction / std::sqrt(nope + rope);
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Vector q =
          c.q_lora_rank > 0
              ? product(p(here(layer, "self_attn.q_b_proj.weight")),
                        norm(product(p(here(layer, "self_attn.q_a_proj.weight")), x[t]),
                             p(here(layer, "self_attn.q_a_layernorm.weight"))))
              : product(p(here(layer, "self_attn.q_proj.weight")), x[t]);
      const Vector down = product(p(here(layer, "self_attn.kv_a_proj_with_mqa.weight")), x[t]);
      const Vector k_rope = rotate(part(down, c.kv_lora_rank, rope), positions[t], false);
      const Vector kv = product(
          p(here(layer, "self_attn.kv_b_proj.weight")),
          norm(part(down, 0, c.kv_lora_rank), p(here(layer, "self_attn.kv_a_layernorm.weight"))));
      for (Rows* rows : {&heads.q.emplace_back(), &heads.k.emplace_back(), &heads.v.emplace_back()})
        rows->resize(static_cast<std::size_t>(c.num_attention_heads));
      for (int h = 0; h < c.num_attention_heads; ++h) {
        const auto head = static_cast<std::size_t>(h);
        Vector query = part(q, h * (nope + rope), nope);
        add_behind(query, rotate(part(q, h * (nope + rope) + nope, rope), positions[t], false));
        Vector key = part(kv, h * (nope + value), nope);
        add_behind(key, k_rope);
        heads.q[t][head] = query;
        heads.k[t][head] = key;
        heads.v[t][head] = part(kv, h * (nope + value) + nope, value);
      }
    }
    return heads;
  }
  static void add_behind(Vector& x, const Vector& more) {
    x.insert(x.end(), more.begin(), more.end());
  }
  Heads grouped_heads(int layer, const Rows& x, const std::vector<int>& positions) const {
    Heads heads;
    heads.scale = 1 / std::sqrt(c.head_dim);
    const auto projected = [&](const char* which, std::size_t t) {
      const std::string name = here(layer, std::string("self_attn.") + which);
      Vector y = product(p(name + "_proj.weight"), x[t]);
      if (c.attention_bias) add(y, p(name + "_proj.bias"));
      return y;
    };
    const auto placed = [&](const char* which, Vector head, std::size_t t) {
      if (c.qk_norm)
        head = norm(head, p(here(layer, std::string("self_attn.") + which + "_norm.weight")));
      return rotate(head, positions[t], true);
    };
    const int shared = c.num_attention_heads / c.num_key_value_heads;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Vector q = projected("q", t), k = projected("k", t), v = projected("v", t);
      Rows qs, ks, vs;
      for (int h = 0; h < c.num_attention_heads; ++h) {
        qs.push_back(placed("q", part(q, h * c.head_dim, c.head_dim), t));
        ks.push_back(placed("k", part(k, h / shared * c.head_dim, c.head_dim), t));
        vs.push_back(part(v, h / shared * c.head_dim, c.head_dim));
      }
      heads.q.push_back(qs);
      heads.k.push_back(ks);
      heads.v.push_back(vs);
    }
    return heads;
  }
  Rows attention(int layer, const Rows& x, const std::vector<int>& positions) const {
    const Heads heads =
        c.kv_lora_rank > 0 ? latent_heads(layer, x, positions) : grouped_heads(layer, x, positions);
    Rows out;
    for (std::size_t t = 0; t < x.size(); ++t) {
      Vector all;
      for (std::size_t h = 0; h < heads.q[t].size(); ++h) {
        Vector scores;
        for (std::size_t j = 0; j <= t; ++j)
          scores.push_back(heads.scale * dot(heads.q[t][h], heads.k[j][h]));
        const Vector share = softmax(scores);
        Vector sum(heads.v[t][h].size(), 0.0);
        for (std::size_t j = 0; j <= t; ++j) add(sum, heads.v[j][h], share[j]);
        add_behind(all, sum);
      }
      out.push_back(product(p(here(layer, "self_attn.o_proj.weight")), all));
    }
    return out;
  }

  // --- experts ---
  Vector mlp(const std::string& prefix, const Vector& x) const {
    Vector gate = product(p(prefix + "gate_proj.weight"), x);
    const Vector up = product(p(prefix + "up_proj.weight"), x);
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
    return product(p(prefix + "down_proj.weight"), gate);
  }
  /// Indices of the n largest, the lower one on ties; only where open.
  static std::vector<int> largest(const Vector& x, int n, const std::vector<bool>& open) {
    std::vector<int> order;
    for (std::size_t i = 0; i < x.size(); ++i)
      if (open[i]) order.push_back(static_cast<int>(i));
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return x[static_cast<std::size_t>(a)] > x[static_cast<std::size_t>(b)];
    });
    order.resize(static_cast<std::size_t>(n));
    return order;
  }
  Vector scores_of(int layer, const Vector& x) const {
    Vector scores = product(p(here(layer, "mlp.gate.weight")), x);
    for (double& s : scores) s = 1 / (1 + std::exp(-s));
    return scores;
  }
  std::vector<int> choose(int layer, const Vector& scores) const {
    Vector biased = scores;
    if (c.selection_bias) add(biased, p(here(layer, "mlp.gate.e_score_correction_bias")));
    const int size = c.n_routed_experts / c.n_group;
    Vector group_scores;
    for (int g = 0; g < c.n_group; ++g) {
      Vector group = part(biased, g * size, size);
      std::sort(group.rbegin(), group.rend());
      group_scores.push_back(c.selection_bias && size > 1 ? group[0] + group[1] : group[0]);
    }
    std::vector<bool> open(scores.size(), false);
    for (const int g : largest(group_scores, c.topk_group,
                               std::vector<bool>(static_cast<std::size_t>(c.n_group), true)))
      for (int e = g * size; e < (g + 1) * size; ++e) open[static_cast<std::size_t>(e)] = true;
    return largest(biased, c.num_experts_per_tok, open);
  }
  Vector experts(int layer, const Vector& x) const {
    const Vector scores = scores_of(layer, x);
    const std::vector<int> chosen = choose(layer, scores);
    double sum = 0;
    for (const int e : chosen) sum += scores[static_cast<std::size_t>(e)];
    Vector y(x.size(), 0.0);
    for (const int e : chosen) {
      const double share = scores[static_cast<std::size_t>(e)] / (c.norm_topk_prob ? sum : 1.0);
      add(y, mlp(here(layer, "mlp.experts." + std::to_string(e) + "."), x),
          share * c.routed_scaling_factor);
    }
    if (c.n_shared_experts > 0) add(y, mlp(here(layer, "mlp.shared_experts."), x));
    return y;
  }
  /// sum over experts of f P, formulas 17 to 20.
  double balance(int layer, const Rows& x) const {
    const double tokens = static_cast<double>(x.size());
    Vector f(static_cast<std::size_t>(c.n_routed_experts), 0.0), mean = f;
    for (const Vector& row : x) {
      const Vector scores = scores_of(layer, row);
      for (const int e :
           largest(scores, c.num_experts_per_tok, std::vector<bool>(scores.size(), true)))
        f[static_cast<std::size_t>(e)] += c.n_routed_experts / (c.num_experts_per_tok * tokens);
      double sum = 0;
      for (const double s : scores) sum += s;
      add(mean, scores, 1 / (sum * tokens));
    }
    return dot(f, mean);
  }

  // --- the whole ---
  static std::pair<std::size_t, std::size_t> bounds(const MicroBatch& batch, int sequence) {
    const auto s = static_cast<std::size_t>(sequence);
    return {static_cast<std::size_t>(batch.sequence_begin[s]),
            static_cast<std::size_t>(batch.sequence_begin[s + 1])};
  }
  Vector embedding(int token) const {
    return part(p("model.embed_tokens.weight"), token * c.hidden_size, c.hidden_size);
  }
  Rows normed(const Rows& x, const std::string& gain) const {
    Rows y;
    for (const Vector& row : x) y.push_back(norm(row, p(gain)));
    return y;
  }
  Rows block(int layer, Rows x, const std::vector<int>& positions, double& balance_sum) const {
    const Rows attended =
        attention(layer, normed(x, here(layer, "input_layernorm.weight")), positions);
    for (std::size_t t = 0; t < x.size(); ++t) add(x[t], attended[t]);
    const Rows in = normed(x, here(layer, "post_attention_layernorm.weight"));
    const bool moe = c.n_routed_experts > 0 && layer >= c.first_k_dense_replace;
    if (moe) balance_sum += balance(layer, in);
    for (std::size_t t = 0; t < x.size(); ++t)
      add(x[t], moe ? experts(layer, in[t]) : mlp(here(layer, "mlp."), in[t]));
    return x;
  }
  /// Of the main model, behind its last norm.
  Rows hidden(const MicroBatch& batch, std::size_t first, std::size_t last,
              double& balance_sum) const {
    Rows x;
    std::vector<int> positions;
    for (std::size_t t = first; t < last; ++t) {
      x.push_back(embedding(batch.tokens[t]));
      positions.push_back(batch.positions[t]);
    }
    for (int layer = 0; layer < c.num_hidden_layers; ++layer)
      x = block(layer, x, positions, balance_sum);
    return normed(x, "model.norm.weight");
  }
  /// Of depth `k`, whose input is what the depth before made and the token k later.
  Rows next_depth(const Rows& before, const MicroBatch& batch, std::size_t first,
                  std::size_t k) const {
    const int layer = c.num_hidden_layers + static_cast<int>(k) - 1;
    Rows x;
    std::vector<int> positions;
    for (std::size_t i = 0; i + 1 < before.size(); ++i) {
      Vector both = norm(embedding(batch.tokens[first + i + k]), p(here(layer, "enorm.weight")));
      add_behind(both, norm(before[i], p(here(layer, "hnorm.weight"))));
      x.push_back(product(p(here(layer, "eh_proj.weight")), both));
      positions.push_back(batch.positions[first + i]);
    }
    double ignored = 0;
    return normed(block(layer, x, positions, ignored), here(layer, "shared_head.norm.weight"));
  }
  /// Row i predicts what follows on token i + depth.
  double cross_entropy(const Rows& h, const MicroBatch& batch, std::size_t first,
                       std::size_t depth) const {
    const Vector& head = p(c.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
    double sum = 0;
    for (std::size_t i = 0; i < h.size(); ++i) {
      const std::size_t at = first + i + depth;
      if (batch.targets[at] < 0) continue;
      sum -= batch.weight[at] *
             std::log(softmax(product(head, h[i]))[static_cast<std::size_t>(batch.targets[at])]);
    }
    return sum;
  }

  ModelConfig c;
};

}  // namespace weft::trainer
