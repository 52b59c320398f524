#include "runtime/worker/recipe_state.h"

#include <nlohmann/json.hpp>

namespace weft::runtime {

using nlohmann::json;

std::string to_json_text(const RecipeState& state) {
  return json{{"schema", "weft.recipe_state/v1"}, {"stage", state.stage},
              {"stage_step", state.stage_step},   {"step", state.step},
              {"adam_step", state.adam_step},     {"tokens", state.tokens},
              {"samples", state.samples},         {"data", state.data}}
      .dump();
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
  return state;
}

}  // namespace weft::runtime
