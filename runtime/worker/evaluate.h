// Held-out evaluation through the engine: sampled answers of a task, or the loss on held-out text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runtime/worker/engine.h"
#include "runtime/worker/workload.h"

namespace weft::runtime {

struct Evaluation {
  long long step = 0;  // part of the random key
  int problems = 128;  // held-out problems, one completion each at temperature 1
  int difficulty = 0;  // 0: all
  int max_new_tokens = 64;
};

/// {eval_accuracy, eval_problems, eval_length, eval_format, eval_length_by_difficulty,
///  eval_accuracy_by_difficulty}. Collective; the same on every rank.
Expected<nlohmann::json> evaluate_problems(const Job& job, const Workload& workload, Engine& engine,
                                           const Evaluation& evaluation);

/// {val_loss: nats per character, val_loss_per_byte, val_characters}. Over the whole held-out part.
Expected<nlohmann::json> evaluate_text(const Workload& workload, Engine& engine);

/// {val_loss: nats per token, val_loss_per_byte (by the held-out part's tokens a byte),
/// val_tokens}. Over at most data.validation_windows of the stage's held-out windows; nothing but
/// val_tokens = 0 when none is held out.
Expected<nlohmann::json> evaluate_files(const StageData& stage, Engine& engine);

/// One line for people.
std::string describe_evaluation(const nlohmann::json& scores);

}  // namespace weft::runtime
