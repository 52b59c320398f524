#include "trainer/data/pack.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace weft::trainer::data {
namespace {

/// What all kinds of batch have in common. The view must outlive the call only.
struct Sequence {
  std::span<const std::int32_t> tokens;
  int prompt_length = 0;
  int length = static_cast<int>(tokens.size());  // also when the tokens are not here yet

  int num_inputs() const { return length - 1; }
  int num_loss_tokens() const { return length - prompt_length; }
};

Expected<void> check_input(std::span<const Sequence> sequences, int num_micro_batches) {
  if (num_micro_batches < 1)
    return fail(Code::InvalidArgument,
                "a step needs at least one micro-batch, not " + std::to_string(num_micro_batches));
  if (sequences.size() < static_cast<std::size_t>(num_micro_batches))
    return fail(Code::InvalidArgument,
                std::to_string(sequences.size()) + " sequences cannot fill " +
                    std::to_string(num_micro_batches) +
                    " micro-batches: raise the batch or lower parallel.micro_batches");
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = sequences[i];
    if (s.length < 2 || s.prompt_length < 1 || s.num_loss_tokens() < 0)
      return fail(Code::InvalidArgument,
                  "sequence " + std::to_string(i) + " of the batch has " +
                      std::to_string(s.length) + " tokens, " + std::to_string(s.prompt_length) +
                      " of them prompt; it needs two tokens and a prompt of at least one");
  }
  return {};
}

/// The sequences of each micro-batch, ascending. Deterministic: ties go to the lower index.
std::vector<std::vector<int>> balance(std::span<const Sequence> sequences, int num_micro_batches) {
  std::vector<int> order(sequences.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return sequences[static_cast<std::size_t>(a)].num_inputs() >
           sequences[static_cast<std::size_t>(b)].num_inputs();
  });
  std::vector<std::vector<int>> parts(static_cast<std::size_t>(num_micro_batches));
  std::vector<long long> load(parts.size(), 0);
  for (const int index : order) {
    const auto lightest =
        static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
    parts[lightest].push_back(index);
    load[lightest] += sequences[static_cast<std::size_t>(index)].num_inputs();
  }
  for (std::vector<int>& part : parts) std::sort(part.begin(), part.end());
  return parts;
}

void append(MicroBatch& batch, const Sequence& sequence, int index, float weight) {
  for (int t = 0; t < sequence.num_inputs(); ++t) {
    const auto at = static_cast<std::size_t>(t);
    const bool has_loss = t + 1 >= sequence.prompt_length;
    batch.tokens.push_back(sequence.tokens[at]);
    batch.positions.push_back(t);
    batch.targets.push_back(has_loss ? sequence.tokens[at + 1] : -1);
    batch.weight.push_back(has_loss ? weight : 0.0f);
  }
  batch.sequence_begin.push_back(batch.num_tokens());
  batch.sequence_id.push_back(index);
}

/// weight_of(index) -> float; also(batch, index) adds what the kind of loss needs besides.
template <class WeightOf, class Also>
Expected<std::vector<MicroBatch>> pack(std::span<const Sequence> sequences, int num_micro_batches,
                                       Mode mode, LossKind loss, WeightOf weight_of, Also also) {
  std::vector<MicroBatch> batches;
  for (const std::vector<int>& part : balance(sequences, num_micro_batches)) {
    MicroBatch& batch = batches.emplace_back();
    batch.mode = mode;
    batch.loss = loss;
    batch.sequence_begin.push_back(0);
    for (const int index : part) {
      append(batch, sequences[static_cast<std::size_t>(index)], index, weight_of(index));
      also(batch, index);
    }
  }
  return batches;
}

long long count_loss_tokens(std::span<const Sequence> sequences) {
  long long count = 0;
  for (const Sequence& s : sequences) count += s.num_loss_tokens();
  return count;
}

/// The factor that makes the loss a mean over all tokens that have one.
Expected<float> mean_weight(std::span<const Sequence> sequences, int num_micro_batches) {
  WEFT_TRY(check_input(sequences, num_micro_batches));
  const long long loss_tokens = count_loss_tokens(sequences);
  if (loss_tokens == 0)
    return fail(Code::InvalidArgument, "no sequence of the batch has a token to learn from");
  return static_cast<float>(1.0 / static_cast<double>(loss_tokens));
}

Expected<std::vector<MicroBatch>> pack_mean(std::span<const Sequence> sequences,
                                            int num_micro_batches, Mode mode) {
  WEFT_TRY_ASSIGN(const float weight, mean_weight(sequences, num_micro_batches));
  return pack(
      sequences, num_micro_batches, mode, LossKind::CrossEntropy, [&](int) { return weight; },
      [](MicroBatch&, int) {});
}

std::vector<Sequence> views(std::span<const Example> examples) {
  std::vector<Sequence> sequences;
  for (const Example& e : examples) sequences.push_back({e.tokens, e.prompt_length});
  return sequences;
}

Expected<void> check_logprobs(std::span<const GrpoSequence> sequences, double beta) {
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const GrpoSequence& s = sequences[i];
    const auto length = static_cast<std::size_t>(s.example.completion_length());
    const bool old_fits = s.old_logprob.empty() || s.old_logprob.size() == length;
    const bool ref_fits = s.ref_logprob.size() == length || (s.ref_logprob.empty() && !(beta > 0));
    if (!old_fits || !ref_fits)
      return fail(Code::InvalidArgument,
                  "completion " + std::to_string(i) + " has " + std::to_string(length) +
                      " tokens but " + std::to_string(s.old_logprob.size()) + " old and " +
                      std::to_string(s.ref_logprob.size()) + " reference log-probabilities");
  }
  return {};
}

/// Appends one value per input token of the last sequence: `fill` under the prompt, then the
/// completion's values, or `fill` throughout when there are none.
void append_values(std::vector<float>& to, const GrpoSequence& s, std::span<const float> values,
                   float fill) {
  const auto inputs = s.example.tokens.size() - 1;
  const auto with_values = values.empty() ? 0 : values.size();
  to.insert(to.end(), inputs - with_values, fill);
  to.insert(to.end(), values.begin(), values.end());
}

}  // namespace

Expected<std::vector<MicroBatch>> pack_supervised(std::span<const Example> examples,
                                                  int num_micro_batches) {
  return pack_mean(views(examples), num_micro_batches, Mode::Train);
}

Expected<std::vector<MicroBatch>> pack_score(std::span<const Example> examples,
                                             int num_micro_batches) {
  return pack_mean(views(examples), num_micro_batches, Mode::Score);
}

Expected<std::vector<MicroBatch>> pack_windows(std::span<const std::vector<std::int32_t>> windows,
                                               int num_micro_batches, Mode mode) {
  std::vector<Sequence> sequences;
  for (const std::vector<std::int32_t>& window : windows) sequences.push_back({window, 1});
  return pack_mean(sequences, num_micro_batches, mode);
}

Expected<std::vector<MicroBatch>> pack_lazily(std::span<const SequenceShape> shapes,
                                              int num_micro_batches, Mode mode,
                                              const std::function<bool(int)>& wanted,
                                              const std::function<Expected<Example>(int)>& read) {
  std::vector<Sequence> sequences;
  for (const SequenceShape& shape : shapes)
    sequences.push_back({{}, shape.prompt_length, shape.tokens});
  WEFT_TRY_ASSIGN(const float weight, mean_weight(sequences, num_micro_batches));
  std::vector<MicroBatch> batches;
  for (const std::vector<int>& part : balance(sequences, num_micro_batches)) {
    const bool filled = wanted(static_cast<int>(batches.size()));
    MicroBatch& batch = batches.emplace_back();
    batch.mode = mode;
    batch.sequence_begin.push_back(0);
    for (const int index : part) {
      const Sequence& outline = sequences[static_cast<std::size_t>(index)];
      if (!filled) {
        batch.sequence_begin.push_back(batch.sequence_begin.back() + outline.num_inputs());
        batch.sequence_id.push_back(index);
        continue;
      }
      WEFT_TRY_ASSIGN(const Example example, read(index));
      if (static_cast<int>(example.tokens.size()) != outline.length ||
          example.prompt_length != outline.prompt_length)
        return fail(Code::Internal, "sequence " + std::to_string(index) + " is not of its shape");
      append(batch, {example.tokens, example.prompt_length}, index, weight);
    }
  }
  return batches;
}

Expected<std::vector<MicroBatch>> pack_grpo(std::span<const GrpoSequence> sequences,
                                            int num_micro_batches, const rl::GrpoOptions& options) {
  std::vector<Sequence> parts;
  for (const GrpoSequence& s : sequences)
    parts.push_back({s.example.tokens, s.example.prompt_length});
  WEFT_TRY(check_input(parts, num_micro_batches));
  WEFT_TRY(check_logprobs(sequences, options.beta));
  if (count_loss_tokens(parts) == 0)
    return fail(Code::InvalidArgument, "no completion of the batch has a token to learn from");
  const auto at = [&](int index) -> const GrpoSequence& {
    return sequences[static_cast<std::size_t>(index)];
  };
  const auto add_grpo = [&](MicroBatch& batch, int index) {
    const GrpoSequence& s = at(index);
    batch.advantage.insert(batch.advantage.end(), s.example.tokens.size() - 1, s.advantage);
    append_values(batch.old_logprob, s, s.old_logprob, std::numeric_limits<float>::quiet_NaN());
    append_values(batch.ref_logprob, s, s.ref_logprob, 0.0f);
    batch.grpo = options;
  };
  return pack(
      parts, num_micro_batches, Mode::Train, LossKind::Grpo,
      [&](int index) { return at(index).weight; }, add_grpo);
}

int max_tokens(std::span<const MicroBatch> batches) {
  int most = 0;
  for (const MicroBatch& batch : batches) most = std::max(most, batch.num_tokens());
  return most;
}

}  // namespace weft::trainer::data
