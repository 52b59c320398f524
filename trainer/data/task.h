// Problems with an exact answer, and what a reasoner might write about them: the source of the
// supervised demonstrations, of GRPO's prompts and of the held-out evaluation.
//
// What each task looks like (token counts with numbers as single tokens, eos included):
//   arithmetic  difficulty = terms, different ones of 1..9.  Prompt "3+8+5=", 2n tokens. Complete:
//               <think>3:3 8:11 5:16</think><answer>16</answer>, 4n + 5 tokens.
//   cups        difficulty = swaps of two of six cups a..f, no pair twice. The ball starts under
//   the
//               first letter. Prompt "c:ab,cd,ad=", 3n + 2 tokens; complete:
//               <think>ab:c cd:d ad:a</think><answer>a</answer>, 5n + 5 tokens.
// A step of a trace needs only the step before and what follows its item in the prompt: two layers
// can learn it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "base/rng.h"
#include "trainer/data/tokenizer.h"

namespace weft::trainer::data {

struct Problem {
  std::string prompt;
  std::string answer;
  int difficulty = 0;
  std::vector<std::string> steps;  // the complete trace; the last one ends in the answer

  friend bool operator==(const Problem&, const Problem&) = default;
};

enum class Split { Train, HeldOut };

/// How much of the reasoning a demonstration shows. Steps shown are always right: wrong ones
/// cannot be repaired by minutes of reinforcement learning.
enum class Style {
  Complete,   // every step, then the answer
  EarlyStop,  // at least one step, not all of them, then a guess
  Blind,      // an empty think block, or none at all, then a guess
};

/// The side that a problem belongs to, a function of its text alone, whatever the seed: about one
/// problem in eight is held out.
Split split_of(std::string_view prompt);

/// Threads: any; never changes.
class Task {
 public:
  Task(int min_difficulty, int max_difficulty)
      : min_difficulty_(min_difficulty), max_difficulty_(max_difficulty) {}
  virtual ~Task() = default;

  virtual std::string_view name() const = 0;
  /// Between steps in the text of a trace.
  virtual std::string_view separator() const = 0;
  /// An answer as a guess without thought would have it: right about as rarely as chance allows.
  virtual std::string guess(const Problem& problem, Rng& rng) const = 0;
  /// A problem of the largest difficulty whose trace takes the most tokens.
  virtual Problem longest() const = 0;

  int min_difficulty() const { return min_difficulty_; }
  int max_difficulty() const { return max_difficulty_; }

  /// The index-th problem: a function of its arguments. Difficulty is uniform over min..max, or
  /// `difficulty` when that is not 0 (it must then be inside min..max).
  Problem problem(std::uint64_t seed, Split split, std::uint64_t index, int difficulty = 0) const;
  /// The same from a generator of the caller's.
  Problem problem(Rng& rng, Split split, int difficulty = 0) const;

  /// What follows the prompt, without eos.
  std::string demonstration(const Problem& problem, Style style, Rng& rng) const;
  /// Tokens of the longest prompt with bos, and of the longest complete trace with eos.
  int max_prompt_tokens(const Tokenizer& tokenizer) const;
  int max_trace_tokens(const Tokenizer& tokenizer) const;

 protected:
  /// One problem of this difficulty from either side of the split.
  virtual Problem draw(int difficulty, Rng& rng) const = 0;

 private:
  int min_difficulty_, max_difficulty_;
};

/// The same text with its format broken in one of seven ways, drawn at random: a tag left out
/// (each of the four), both answer tags left out, the answer given twice, or no tag at all. None
/// passes format.think_answer.
std::string break_format(std::string_view demonstration, Rng& rng);

/// Errors: InvalidArgument for an unknown name (with the known ones) and for difficulties that the
/// task does not have.
Expected<std::unique_ptr<Task>> make_task(std::string_view name, int min_difficulty,
                                          int max_difficulty);
std::span<const std::string> task_names();

// The two tasks; make_task checks the bounds.
std::unique_ptr<Task> make_arithmetic(int min_terms, int max_terms);
std::unique_ptr<Task> make_cups(int min_swaps, int max_swaps);

}  // namespace weft::trainer::data
