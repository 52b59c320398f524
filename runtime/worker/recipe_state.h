// Where a run stands in its recipe: all that a resumed run needs besides the tensors. Data is drawn
// by counters, so the step and sample numbers are the data cursor and the state of every random
// generator.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::runtime {

struct RecipeState {
  int stage = 0;             // index into job.recipe; its size: the recipe is complete
  long long stage_step = 0;  // steps done inside the stage
  long long step = 0;        // steps done in all
  long long adam_step = 0;   // updates since the moments began anew
  long long tokens = 0;      // tokens trained on
  long long samples = 0;     // sequences or windows that the stage has used; -1: not written down
  std::string data;          // fingerprint of the files learned from, or ""
  // Of the stage's last updates, newest last, where watch.spike_factor asks for them.
  std::vector<double> recent_loss, recent_norm;
  friend bool operator==(const RecipeState&, const RecipeState&) = default;
};

std::string to_json_text(const RecipeState& state);
/// Errors: Corrupt when a field is missing, of another type or negative.
Expected<RecipeState> parse_recipe_state(std::string_view text);

}  // namespace weft::runtime
