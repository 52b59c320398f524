// The finding that FP8 stands on, repeated at a size that a laptop trains: its loss follows BF16's.
// Source: DeepSeek-V3 report, section 3.3: relative loss error below 0.25 % against BF16.
#include <cmath>
#include <numeric>

#include "model_fixture.h"
#include "trainer/data/pack.h"
#include "trainer/data/text.h"
#include "trainer/optimizer/adamw.h"

namespace weft::trainer {
namespace {

constexpr int kContext = 64, kWindows = 12, kSteps = 240;

/// Text to learn: four letters may follow a letter, some more often than others. Text with more to
/// it is learned at a pace that depends on every rounding (with a mixture of experts and a high
/// learning rate F32 and BF16 are a per cent apart after 400 steps), so that it would measure luck.
std::string text() {
  constexpr int kLetters = 27, kChoices = 4, kLength = 400'000;
  Rng rng(11, "text");
  std::string result = "a";
  while (result.size() < kLength) {
    const auto last = static_cast<std::uint64_t>(result.back());
    const std::uint32_t choice = std::min(rng.below(kChoices), rng.below(kChoices));
    Rng of_letter(13, "follows", last, choice);
    const std::uint32_t letter = of_letter.below(kLetters);
    result.push_back(letter == 26 ? ' ' : static_cast<char>('a' + letter));
  }
  return result;
}

ModelConfig config() {
  ModelConfig c;
  c.hidden_size = 128;
  c.intermediate_size = 256;
  c.moe_intermediate_size = 64;
  return c;
}

double learning_rate(int step) {
  const double warm = std::min(1.0, (step + 1) / 50.0);
  const double done = static_cast<double>(step) / kSteps;
  return warm * (5e-5 + 0.5 * (1e-3 - 5e-5) * (1 + std::cos(3.14159265 * done)));
}

/// Loss of every step.
std::vector<double> train(const data::TextCorpus& corpus, Precision precision) {
  Alone alone;
  const ModelConfig c = config();
  comm::ExchangeOptions exchange;
  if (precision == Precision::FP8) exchange.dispatch_payload = comm::Payload::fp8;
  StageModel model(c, whole(c), *alone.group, alone.context, kContext * kWindows, Recompute::None,
                   exchange, precision);
  model.initialize(1);
  ParameterSet& set = model.parameters();
  std::vector<Real> m(set.values().size()), v(m.size());
  std::vector<double> losses;
  for (int step = 0; step < kSteps; ++step) {
    std::vector<std::vector<std::int32_t>> windows;
    for (int i = 0; i < kWindows; ++i) {
      windows.push_back(
          corpus.window(1, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(i)));
    }
    const std::vector<MicroBatch> batches = *data::pack_windows(windows, 1, Mode::Train);
    model.set_micro_batches(batches);
    set.zero_gradients();
    forward(model, 0);
    losses.push_back(loss_of(model, 0));
    backward_input(model, 0);
    backward_weights(model, 0);
    model.release(0);
    const double norm = std::sqrt(optimizer::squared_norm(set.gradients()));
    optimizer::AdamWOptions options;
    options.lr = learning_rate(step);
    options.step = step + 1;
    optimizer::adamw<Real>(set.values(), set.gradients(), m, v, options, norm > 1 ? 1 / norm : 1.0);
    set.touch();
    for (int l = c.first_k_dense_replace; l < c.num_hidden_layers; ++l) {
      model.update_selection_bias(l, model.expert_load(l), 0.001);
    }
    model.clear_expert_load();
  }
  return losses;
}

double mean(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

TEST(Fp8Training, LossFollowsBf16WithinAQuarterOfAPercent) {
  const auto corpus = *data::TextCorpus::from_text(text(), 0.05, kContext, "made up");
  const std::vector<double> bf16 = train(corpus, Precision::BF16);
  const std::vector<double> fp8 = train(corpus, Precision::FP8);
  constexpr std::size_t kWindow = 30;
  for (std::size_t end = 2 * kWindow; end <= bf16.size(); end += kWindow) {
    const double of_bf16 = mean(std::span(bf16).subspan(end - kWindow, kWindow));
    const double of_fp8 = mean(std::span(fp8).subspan(end - kWindow, kWindow));
    const double error = of_fp8 / of_bf16 - 1;
    std::printf("steps %zu to %zu: bf16 %.4f, fp8 %.4f, relative error %+.3f %%\n", end - kWindow,
                end, of_bf16, of_fp8, 100 * error);
    EXPECT_LT(std::fabs(error), 0.0025) << "up to step " << end;
  }
  EXPECT_LT(mean(std::span(fp8).last(kWindow)), 0.4 * fp8.front()) << "it must have learned";
}

}  // namespace
}  // namespace weft::trainer
