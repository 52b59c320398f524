// What multi-token prediction costs and what it does to the main loss: the same model, text and
// steps with no module and with one, in turns, on one rank. Processor time, so that other work on
// the machine does not count.
//
//   next_token_bench FILE [steps] [validation every]
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <vector>

#include "runtime/worker/engine.h"
#include "trainer/data/pack.h"
#include "trainer/data/text.h"

namespace weft::runtime {
namespace {

namespace data = trainer::data;

constexpr int kContext = 64, kBatch = 12, kParts = 4;

double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Run {
  std::unique_ptr<comm::Transport> transport = comm::make_self_transport();
  std::unique_ptr<Engine> engine;
  double weight = 0;
  double seconds = 0;
  TrainResult last;

  static Expected<Run> open(int depth, double weight) {
    EngineOptions options;
    options.layout = {dualpipe::Kind::OneFOneB, 1, 1, 1, kParts};
    trainer::ModelConfig& model = options.model;
    model.vocab_size = 320;
    model.num_hidden_layers = 4;
    model.num_attention_heads = 4;
    model.initializer_range = 0.06;
    model.num_nextn_predict_layers = depth;
    options.max_tokens = 1024;
    Run run;
    run.weight = weight;
    WEFT_TRY_ASSIGN(run.engine, Engine::create(*run.transport, options));
    return run;
  }

  Expected<void> step(const data::TextCorpus& corpus, long long step, double lr) {
    std::vector<std::vector<std::int32_t>> windows;
    for (int i = 0; i < kBatch; ++i) windows.push_back(corpus.window(1, step, i));
    WEFT_TRY_ASSIGN(auto batch, data::pack_windows(windows, kParts, trainer::Mode::Train));
    for (trainer::MicroBatch& part : batch) part.next_token_weight = static_cast<float>(weight);
    const double begin = processor_seconds();
    WEFT_TRY_ASSIGN(last, engine->train(batch, lr, step + 1, false));
    seconds += processor_seconds() - begin;
    return {};
  }

  Expected<double> validation(const data::TextCorpus& corpus) {
    double loss = 0;
    long long count = 0;
    for (int begin = 0; begin + kParts <= std::min(400, corpus.num_validation_windows());
         begin += kParts) {
      std::vector<std::vector<std::int32_t>> windows;
      for (int i = 0; i < kParts; ++i) windows.push_back(corpus.validation_window(begin + i));
      WEFT_TRY_ASSIGN(const auto batch, data::pack_windows(windows, kParts, trainer::Mode::Score));
      WEFT_TRY_ASSIGN(const Engine::Scores scores, engine->score(batch));
      for (const auto& sequence : scores.logprobs)
        for (const float logprob : sequence) {
          loss -= logprob;
          ++count;
        }
    }
    return loss / static_cast<double>(count);
  }
};

Expected<void> measure(const char* path, int steps, int every) {
  WEFT_TRY_ASSIGN(const data::TextCorpus corpus, data::TextCorpus::load(path, 0.1, kContext));
  WEFT_TRY_ASSIGN(Run plain, Run::open(0, 0));
  WEFT_TRY_ASSIGN(Run with, Run::open(1, 0.3));
  fmt::print("{:>6} {:>22} {:>22} {:>10}\n", "step", "validation, D = 0", "validation, D = 1",
             "MTP loss");
  for (int step = 0; step < steps; ++step) {
    if (step == steps * 2 / 3) with.weight = 0.1;  // as the report: after two thirds
    const double lr = 2e-3 * std::min(1.0, (step + 1) / 50.0) * (step > steps * 2 / 3 ? 0.3 : 1.0);
    WEFT_TRY(plain.step(corpus, step, lr));
    WEFT_TRY(with.step(corpus, step, lr));
    if ((step + 1) % every != 0) continue;
    WEFT_TRY_ASSIGN(const double loss_plain, plain.validation(corpus));
    WEFT_TRY_ASSIGN(const double loss_with, with.validation(corpus));
    fmt::print("{:>6} {:>22.4f} {:>22.4f} {:>10.4f}\n", step + 1, loss_plain, loss_with,
               with.last.next_token_loss[0]);
    std::fflush(stdout);
  }
  fmt::print("milliseconds of processor time a step: D = 0 {:.2f}, D = 1 {:.2f}, ratio {:.3f}\n",
             1e3 * plain.seconds / steps, 1e3 * with.seconds / steps, with.seconds / plain.seconds);
  return {};
}

}  // namespace
}  // namespace weft::runtime

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: next_token_bench FILE [steps] [validation every]\n");
    return 2;
  }
  const int steps = argc > 2 ? std::atoi(argv[2]) : 600,
            every = argc > 3 ? std::atoi(argv[3]) : 100;
  if (const auto done = weft::runtime::measure(argv[1], steps, std::max(1, every)); !done) {
    fmt::print(stderr, "{}\n", done.error().message);
    return 1;
  }
}
