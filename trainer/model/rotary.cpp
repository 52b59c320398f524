#include "trainer/model/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace weft::trainer {

namespace {

/// The (fractional) index of the pair that turns so often within the original context.
double pair_that_turns(double times, const ModelConfig& c, int dim) {
  const double wave_length = c.yarn.original_max_position_embeddings / times;  // in positions
  return dim * std::log(wave_length / (2 * std::numbers::pi)) / (2 * std::log(c.rope_theta));
}

double magnitude(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

}  // namespace

int rotary_dim(const ModelConfig& c) {
  return c.latent_attention() ? c.qk_rope_head_dim : c.head_dim;
}

std::vector<double> rotary_frequencies(const ModelConfig& c) {
  const int dim = rotary_dim(c);
  std::vector<double> out(static_cast<std::size_t>(dim / 2));
  for (int i = 0; i < dim / 2; ++i)
    out[static_cast<std::size_t>(i)] = std::pow(c.rope_theta, -2.0 * i / dim);
  if (!c.yarn.active()) return out;
  const double low = std::max(std::floor(pair_that_turns(c.yarn.beta_fast, c, dim)), 0.0);
  const double high = std::min(std::ceil(pair_that_turns(c.yarn.beta_slow, c, dim)), dim - 1.0);
  const double width = high == low ? 0.001 : high - low;  // as the published code has it
  for (int i = 0; i < dim / 2; ++i) {
    const double stretched = std::clamp((i - low) / width, 0.0, 1.0);
    double& frequency = out[static_cast<std::size_t>(i)];
    frequency = frequency * (1 - stretched) + frequency / c.yarn.factor * stretched;
  }
  return out;
}

double rotary_scale(const ModelConfig& c) {
  return magnitude(c.yarn.factor, c.yarn.mscale) / magnitude(c.yarn.factor, c.yarn.mscale_all_dim);
}

double softmax_scale(const ModelConfig& c) {
  const int width = c.latent_attention() ? c.qk_nope_head_dim + c.qk_rope_head_dim : c.head_dim;
  const double scale = 1.0 / std::sqrt(static_cast<double>(width));
  if (!c.latent_attention()) return scale;
  const double correction = magnitude(c.yarn.factor, c.yarn.mscale_all_dim);
  return scale * correction * correction;
}

}  // namespace weft::trainer
