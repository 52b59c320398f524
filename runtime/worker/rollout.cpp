// Engine::generate: token by token through the same stages, executor and forward-only schedule as
// everything else, against a KV cache of compressed latents.
#include <algorithm>

#include "base/check.h"
#include "base/rng.h"
#include "runtime/worker/engine.h"
#include "runtime/worker/fault.h"
#include "trainer/rl/sampler.h"

namespace weft::runtime {
namespace {

using trainer::MicroBatch;
using trainer::Mode;

struct Drawn {
  std::int32_t token;
  float logprob;
};

/// Which sequences run where: sequence s belongs to group s mod (lanes x micro-batches).
struct Spread {
  int lanes = 1, directions = 1, per_direction = 1, num_sequences = 0;
  int num_groups() const { return lanes * directions * per_direction; }
  int group(int lane, int direction, int index) const {
    return (lane * directions + direction) * per_direction + index;
  }
  int rows(int group) const { return (num_sequences - group + num_groups() - 1) / num_groups(); }
  int sequence(int group, int row) const { return row * num_groups() + group; }
};

/// The next tokens of one group's unfinished sequences: whole prompts first, then the last token.
/// A group whose sequences have all ended feeds one of them once more, because the other lanes'
/// expert exchange still counts on this rank.
MicroBatch decode_batch(const Spread& spread, int group,
                        std::span<const std::vector<std::int32_t>> prompts,
                        std::span<const Completion> completions, std::span<const char> done) {
  MicroBatch batch;
  batch.mode = Mode::Decode;
  batch.sequence_begin = {0};
  const auto add = [&](int row) {
    const int s = spread.sequence(group, row);
    const std::vector<std::int32_t>& so_far = completions[s].tokens;
    const auto push = [&](std::int32_t token, std::size_t position) {
      batch.tokens.push_back(token);
      batch.positions.push_back(static_cast<std::int32_t>(position));
    };
    if (so_far.empty())
      for (std::size_t t = 0; t < prompts[s].size(); ++t) push(prompts[s][t], t);
    else
      push(so_far.back(), prompts[s].size() + so_far.size() - 1);
    batch.sequence_begin.push_back(batch.num_tokens());
    batch.sequence_id.push_back(s);
    batch.cache_row.push_back(row);
  };
  for (int row = 0; row < spread.rows(group); ++row)
    if (!done[spread.sequence(group, row)]) add(row);
  if (batch.tokens.empty()) add(0);
  return batch;
}

Expected<void> check_prompts(std::span<const std::vector<std::int32_t>> prompts, int groups,
                             int max_new_tokens, const trainer::ModelConfig& model) {
  if (static_cast<int>(prompts.size()) < groups)
    return fail(Code::InvalidArgument,
                "generation needs at least one prompt for each of the " + std::to_string(groups) +
                    " micro-batches in flight, got " + std::to_string(prompts.size()));
  for (const auto& prompt : prompts) {
    if (prompt.empty()) return fail(Code::InvalidArgument, "an empty prompt cannot be continued");
    if (static_cast<int>(prompt.size()) + max_new_tokens > model.max_position_embeddings)
      return fail(Code::InvalidArgument, "a prompt of " + std::to_string(prompt.size()) +
                                             " tokens and " + std::to_string(max_new_tokens) +
                                             " new ones exceed model.max_position_embeddings = " +
                                             std::to_string(model.max_position_embeddings));
    for (const std::int32_t token : prompt)
      if (token < 0 || token >= model.vocab_size)
        return fail(Code::InvalidArgument,
                    "token " + std::to_string(token) + " is outside the vocabulary");
  }
  return {};
}

}  // namespace

Expected<std::vector<Completion>> Engine::generate(
    std::span<const std::vector<std::int32_t>> prompts, const GenerateOptions& options) {
  const scheduler::Layout& layout = options_.layout;
  Spread spread;
  spread.lanes = layout.data;
  spread.directions = dualpipe::num_directions(layout.kind);
  // As many micro-batches as there are positions keep every position busy.
  spread.per_direction = (layout.pipeline + spread.directions - 1) / spread.directions;
  spread.num_sequences = static_cast<int>(prompts.size());
  WEFT_TRY(check_prompts(prompts, spread.num_groups(), options.max_new_tokens, options_.model));
  std::size_t longest_prompt = 0;
  for (const auto& prompt : prompts) longest_prompt = std::max(longest_prompt, prompt.size());

  WEFT_TRY(place_replicas());
  std::vector<Completion> completions(prompts.size());
  std::vector<char> done(prompts.size(), 0);
  for (HeldStage& held : stages_)
    for (int i = 0; i < spread.per_direction; ++i)
      held.model->open_cache(i, spread.rows(spread.group(place_.lane, held.direction, i)),
                             static_cast<int>(longest_prompt) + options.max_new_tokens);
  cache_bytes_ = 0;
  for (const HeldStage& held : stages_) cache_bytes_ += held.model->held_bytes().cache;

  // Each rank that holds a head draws for the groups of its lane and direction; every rank learns
  // all draws. Ranks place their draws at fixed places: (direction, index, row).
  const int rows_max = spread.rows(0);
  const int draws_per_rank = spread.directions * spread.per_direction * rows_max;
  std::vector<Drawn> mine(draws_per_rank), all(std::size_t(draws_per_rank) * layout.world());

  const auto draw = [&](const HeldStage& held) {
    for (int i = 0; i < spread.per_direction; ++i) {
      const MicroBatch& batch = held.batches[i];
      const std::span<const float> logits = held.model->logits(i);
      for (int k = 0; k < batch.num_sequences(); ++k) {
        const int s = batch.sequence_id[k];
        Rng rng(options.seed, options.purpose, options.step, s, completions[s].tokens.size());
        const trainer::rl::Sampled drawn = trainer::rl::sample(
            logits.subspan(std::size_t(k) * options_.model.vocab_size, options_.model.vocab_size),
            options.temperature, rng);
        mine[(held.direction * spread.per_direction + i) * rows_max + batch.cache_row[k]] = {
            drawn.token, drawn.logprob};
      }
    }
  };
  const auto head_rank = [&](int lane, int direction) {
    const int position =
        dualpipe::position_of(layout.kind, layout.pipeline, direction, placement_.num_stages() - 1);
    return position * layout.data + lane;
  };
  const auto take = [&] {
    bool any_left = false;
    for (int lane = 0; lane < spread.lanes; ++lane)
      for (int direction = 0; direction < spread.directions; ++direction)
        for (int i = 0; i < spread.per_direction; ++i) {
          const int group = spread.group(lane, direction, i);
          const Drawn* draws = all.data() +
                               std::size_t(head_rank(lane, direction)) * draws_per_rank +
                               (direction * spread.per_direction + i) * rows_max;
          for (int row = 0; row < spread.rows(group); ++row) {
            const int s = spread.sequence(group, row);
            if (done[s]) continue;
            Completion& completion = completions[s];
            completion.tokens.push_back(draws[row].token);
            completion.logprobs.push_back(draws[row].logprob);
            completion.finished = draws[row].token == options.end_token;
            done[s] = completion.finished ||
                      static_cast<int>(completion.tokens.size()) >= options.max_new_tokens;
            any_left |= !done[s];
          }
        }
    return any_left;
  };

  for (bool any_left = options.max_new_tokens > 0; any_left;) {
    WEFT_TRY(fault_point(FaultAt::Rollout));
    for (HeldStage& held : stages_) {
      held.decoding.clear();
      for (int i = 0; i < spread.per_direction; ++i)
        held.decoding.push_back(decode_batch(spread, spread.group(place_.lane, held.direction, i),
                                             prompts, completions, done));
      held.batches = held.decoding;
      held.adapter->start_pass(held.batches);
    }
    WEFT_TRY(run_forward(spread.directions * spread.per_direction, dualpipe::Program::Rollout));
    for (const HeldStage& held : stages_) {
      if (held.model->spec().head) {
        const dualpipe::Recorded drawing(recorder_, dualpipe::Record::What::Draw);
        draw(held);
      }
      held.adapter->end_pass();
    }
    const dualpipe::Recorded gathering(recorder_, dualpipe::Record::What::Gather);
    WEFT_TRY(dualpipe::at_place(recorder_, dualpipe::Place::Gather, [&] {
      return comm::all_gather(*world_, std::as_bytes(std::span(mine)),
                              std::as_writable_bytes(std::span(all)));
    }));
    any_left = take();
  }
  for (HeldStage& held : stages_) held.model->close_caches();
  WEFT_TRY(measure_rollout());
  return completions;
}

}  // namespace weft::runtime
