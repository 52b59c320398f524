// A step whose numbers cannot be, done again: results are bit-reproducible, so whoever gives out
// other bits from the same inputs has computed wrong in one of the tries.
#include <xxhash.h>

#include <cstring>

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

}  // namespace

std::span<const double> Engine::self_seconds() const {
  return std::span<const double>(exchange_).subspan(self_at_);
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
  const std::vector<std::uint64_t> hashes = output_hashes();
  const std::vector<double> numbers = exchange_;
  step_.hold = true;
  WEFT_TRY(run_step(batch));
  const std::uint64_t second = hash_numbers();
  step_.result.tries = 2;
  if (second == first) return step_.result;  // so it is; no update

  // All ranks see the same sums, so all of them come here.
  WEFT_TRY_ASSIGN(TrainResult::Corruption corruption, compare_tries(hashes, numbers));
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

/// All of the world's sum but the ranks' times.
std::uint64_t Engine::hash_numbers() const {
  return XXH3_64bits(exchange_.data(), self_at_ * sizeof(double));
}

std::vector<std::uint64_t> Engine::output_hashes() const {
  std::vector<std::uint64_t> all;
  for (const HeldStage& held : stages_)
    all.insert(all.end(), held.adapter->output_hashes().begin(),
               held.adapter->output_hashes().end());
  return all;
}

Expected<TrainResult::Corruption> Engine::compare_tries(std::span<const std::uint64_t> hashes,
                                                        std::span<const double> numbers) {
  const scheduler::Layout& layout = options_.layout;
  std::vector<OutputPair> mine;
  std::size_t at = 0;
  for (const HeldStage& held : stages_) {
    const auto now = held.adapter->output_hashes();
    OutputPair pair;
    pair.stage = held.stage;
    pair.rank = pair.rank_before = rank();
    for (std::size_t i = 0; i < now.size() && at < hashes.size(); ++i, ++at) {
      pair.what = i % 2 == 0 ? OutputPair::What::Forward : OutputPair::What::Backward;
      pair.micro_batch = scheduler::micro_batch_index(layout, place_.lane, held.direction,
                                                      static_cast<int>(i / 2));
      pair.first = hashes[at];
      pair.second = now[i];
      mine.push_back(pair);
    }
    // Where no activation differs, a weight gradient may, of a tensor that this rank holds.
    pair.what = OutputPair::What::Gradient;
    pair.micro_batch = 0;
    pair.first = pair.second = 0;
    for (const trainer::Parameter& item : held.model->parameters().items()) {
      const auto index = static_cast<std::size_t>(optimizer_->tensors().at(item.name).index);
      if (std::memcmp(&numbers[index], &exchange_[index], sizeof(double)) != 0) pair.second = 1;
    }
    mine.push_back(pair);
  }
  const std::string text(reinterpret_cast<const char*>(mine.data()),
                         mine.size() * sizeof(OutputPair));
  WEFT_TRY_ASSIGN(const auto texts, at_place(recorder_, dualpipe::Place::WorldSum,
                                             [&] { return comm::all_gather_text(*world_, text); }));
  const std::vector<Disagreement> found =
      find_disagreements(unpack(texts), placement_.num_stages(), layout.data, layout.expert);
  TrainResult::Corruption corruption;
  corruption.ranks = suspects(found);
  corruption.text = found.empty() ? "no stage gave out other bits: the sum over all ranks differs"
                                  : describe(found.front());
  return corruption;
}

}  // namespace weft::runtime
