#include "runtime/worker/recipe_state.h"

#include <nlohmann/json.hpp>

namespace weft::runtime {

using nlohmann::json;

std::string to_json_text(const RecipeState& state) {
  json out = {{"schema", "weft.recipe_state/v1"}, {"stage", state.stage},
              {"stage_step", state.stage_step},   {"step", state.step},
              {"adam_step", state.adam_step},     {"tokens", state.tokens},
              {"samples", state.samples},         {"data", state.data}};
  if (!state.recent_loss.empty()) out["recent_loss"] = state.recent_loss;
  if (!state.recent_norm.empty()) out["recent_norm"] = state.recent_norm;
  return out.dump();
}

Expected<RecipeState> parse_recipe_state(std::string_view text) {
  const json given = json::parse(text, nullptr, false);
  if (!given.is_object() || given.value("schema", json()) != "weft.recipe_state/v1")
    return fail(Code::Corrupt, "the checkpoint's training state is not a weft.recipe_state/v1");
  RecipeState state;
  const auto number = [&](const char* key) -> Expected<long long> {
    if (!given.contains(key) || !given[key].is_number_integer() || given[key].get<long long>() < 0)
      return fail(Code::Corrupt,
                  std::string("the checkpoint's training state has no usable '") + key + "'");
    return given[key].get<long long>();
  };
  WEFT_TRY_ASSIGN(const long long stage, number("stage"));
  state.stage = static_cast<int>(stage);
  WEFT_TRY_ASSIGN(state.stage_step, number("stage_step"));
  WEFT_TRY_ASSIGN(state.step, number("step"));
  WEFT_TRY_ASSIGN(state.adam_step, number("adam_step"));
  WEFT_TRY_ASSIGN(state.tokens, number("tokens"));
  // Checkpoints of earlier versions have neither.
  state.samples = -1;
  if (given.contains("samples")) {
    WEFT_TRY_ASSIGN(state.samples, number("samples"));
  }
  if (given.contains("data") && given["data"].is_string())
    state.data = given["data"].get<std::string>();
  const auto numbers = [&](const char* key, std::vector<double>& into) {
    if (!given.contains(key) || !given[key].is_array()) return;
    for (const json& one : given[key])
      if (one.is_number()) into.push_back(one.get<double>());
  };
  numbers("recent_loss", state.recent_loss);
  numbers("recent_norm", state.recent_norm);
  return state;
}

}  // namespace weft::runtime
