// A step whose numbers cannot be, done again: results are bit-reproducible, so whoever gives out
// other bits from the same inputs has computed wrong in one of the tries.
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "runtime/watch/outputs.h"
#include "runtime/worker/engine.h"

namespace weft::runtime {

using trainer::MicroBatch;

namespace {

/// What all ranks sent, one after the other; what does not come in whole pieces is left out.
std::vector<OutputPair> unpack(std::span<const std::string> texts) {
  std::vector<OutputPair> all;
  for (const std::string& text : texts) {
    const std::size_t begin = all.size(), count = text.size() / sizeof(OutputPair);
    all.resize(begin + count);
    if (count > 0) std::memcpy(all.data() + begin, text.data(), count * sizeof(OutputPair));
  }
  return all;
}

/// The same output of both tries side by side, whoever computed it. A gradient stands alone: it
/// says whether it differs.
std::vector<OutputPair> pair_up(std::span<const OutputPair> tries) {
  std::map<std::tuple<OutputPair::What, int, int>, OutputPair> before;
  std::vector<OutputPair> pairs;
  const auto name = [](const OutputPair& one) {
    return std::tuple(one.what, one.stage, one.micro_batch);
  };
  for (const OutputPair& one : tries) {
    if (one.what == OutputPair::What::Gradient) {
      pairs.push_back(one);
      pairs.back().rank_before = one.rank;
    } else if (one.spare == 0) {
      before[name(one)] = one;
    }
  }
  for (const OutputPair& one : tries) {
    const auto found = before.find(name(one));
    if (one.spare == 0 || found == before.end()) continue;
    OutputPair& both = pairs.emplace_back(found->second);
    both.rank_before = found->second.rank;
    both.rank = one.rank;
    both.second = one.first;
  }
  return pairs;
}

}  // namespace

std::span<const double> Engine::self_seconds() const {
  return std::span<const double>(step_sum_).subspan(sum_places_.self);
}

// With DualPipe position p holds the same stages as position P-1-p.
std::vector<int> Engine::peers() const {
  const scheduler::Layout& layout = options_.layout;
  const bool mirrored = dualpipe::num_directions(layout.kind) == 2;
  std::vector<int> groups;
  for (const scheduler::RankPlace& place : placement_.ranks)
    groups.push_back(mirrored ? std::min(place.position, layout.pipeline - 1 - place.position)
                              : place.position);
  return groups;
}

void Engine::watch_outputs(OutputWatch watch) {
  for (HeldStage& held : stages_)
    held.adapter->watch_outputs([watch, stage = held.stage](dualpipe::Pass pass,
                                                            const dualpipe::Chunk& chunk,
                                                            std::span<trainer::Real> output) {
      watch(stage, pass, chunk, output);
    });
}

Expected<TrainResult> Engine::replay(std::span<const MicroBatch> batch) {
  const std::uint64_t first = hash_numbers();
  std::vector<OutputPair> outputs = outputs_of_try(false);
  std::vector<double> numbers = step_sum_;
  step_.hold = true;
  WEFT_TRY(run_step(batch));
  const std::uint64_t second = hash_numbers();
  step_.result.tries = 2;
  if (second == first) return replay_elsewhere(batch);  // so it is; no update

  // All ranks see the same sums, so all of them come here.
  WEFT_TRY_ASSIGN(TrainResult::Corruption corruption,
                  compare_tries(std::move(outputs), outputs_of_try(false), numbers));
  WEFT_TRY(run_step(batch));
  const std::uint64_t third = hash_numbers();
  if (third != first && third != second)
    return fail(Code::Corrupt, "silent corruption: three tries of one step gave three results; " +
                                   corruption.text);
  step_.result.tries = 3;
  step_.result.corruption = std::move(corruption);
  if (!step_.result.applied) return step_.result;
  WEFT_TRY(apply_step());
  if (snapshot_.wanted) take_snapshot();
  return step_.result;
}

// What a rank computes wrong each time agrees with itself. With DualPipe every stage lives at two
// positions: with the directions' halves changed over, the other one computes the same outputs.
Expected<TrainResult> Engine::replay_elsewhere(std::span<const MicroBatch> batch) {
  const scheduler::Layout& layout = options_.layout;
  TrainResult result = step_.result;
  if (dualpipe::num_directions(layout.kind) != 2 || !options_.output_hashes) return result;
  std::vector<MicroBatch> changed(batch.begin(), batch.end());
  const auto half = static_cast<std::ptrdiff_t>(layout.micro_batches / 2);
  for (int lane = 0; lane < layout.data; ++lane) {
    const auto begin = changed.begin() + scheduler::micro_batch_index(layout, lane, 0, 0);
    std::swap_ranges(begin, begin + half, begin + half);
  }
  std::vector<OutputPair> outputs = outputs_of_try(false);
  WEFT_TRY(run_step(changed));
  result.tries = 3;
  const std::vector<double> same = step_sum_;  // sums are bracketed otherwise: not compared
  WEFT_TRY_ASSIGN(TrainResult::Corruption corruption,
                  compare_tries(std::move(outputs), outputs_of_try(true), same));
  // `changed` ends here, and the stages shall not look at it again.
  start_pass(batch, trainer::Mode::Train);
  if (!corruption.ranks.empty()) result.corruption = std::move(corruption);
  return result;
}

/// All of the world's sum but the ranks' times.
std::uint64_t Engine::hash_numbers() const {
  return XXH3_64bits(step_sum_.data(), sum_places_.self * sizeof(double));
}

/// What this rank's stages gave out in the last pass. `changed`: with the directions' halves
/// changed over.
std::vector<OutputPair> Engine::outputs_of_try(bool changed) const {
  std::vector<OutputPair> mine;
  for (const HeldStage& held : stages_) {
    const auto hashes = held.adapter->output_hashes();
    const int direction = changed ? 1 - held.direction : held.direction;
    for (std::size_t i = 0; i < hashes.size(); ++i) {
      OutputPair one;
      one.what = i % 2 == 0 ? OutputPair::What::Forward : OutputPair::What::Backward;
      one.stage = held.stage;
      one.micro_batch = scheduler::micro_batch_index(options_.layout, place_.lane, direction,
                                                     static_cast<int>(i / 2));
      one.rank = rank();
      one.first = hashes[i];
      mine.push_back(one);
    }
  }
  return mine;
}

/// Where no activation differs, a weight gradient may, of a tensor that this rank holds.
void Engine::add_gradients(std::vector<OutputPair>& outputs,
                           std::span<const double> numbers) const {
  for (const HeldStage& held : stages_) {
    OutputPair one;
    one.what = OutputPair::What::Gradient;
    one.stage = held.stage;
    one.rank = rank();
    for (const trainer::Parameter& item : held.model->parameters().items()) {
      const auto index = static_cast<std::size_t>(optimizer_->tensors().at(item.name).index);
      if (std::memcmp(&numbers[index], &step_sum_[index], sizeof(double)) != 0) one.first = 1;
    }
    outputs.push_back(one);
  }
}

Expected<TrainResult::Corruption> Engine::compare_tries(std::vector<OutputPair> before,
                                                        std::vector<OutputPair> after,
                                                        std::span<const double> numbers) {
  add_gradients(before, numbers);
  for (OutputPair& one : after) one.spare = 1;  // of the second try
  before.insert(before.end(), after.begin(), after.end());
  const std::string text(reinterpret_cast<const char*>(before.data()),
                         before.size() * sizeof(OutputPair));
  WEFT_TRY_ASSIGN(const auto texts, at_place(recorder_, dualpipe::Place::WorldSum,
                                             [&] { return comm::all_gather_text(*world_, text); }));
  const std::vector<Disagreement> found =
      find_disagreements(pair_up(unpack(texts)), placement_.num_stages(), options_.layout.data,
                         options_.layout.expert);
  TrainResult::Corruption corruption;
  corruption.ranks = suspects(found);
  corruption.text = found.empty() ? "no stage gave out other bits: the sum over all ranks differs"
                                  : describe(found.front());
  return corruption;
}

}  // namespace weft::runtime
