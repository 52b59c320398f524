#include "runtime/job/fields.h"

#include <algorithm>

namespace weft::runtime {
namespace {

constexpr Group kGroups[] = {
    {"", "The run as a whole."},
    {"fp8", "What DeepSeek-V3's recipe leaves open where precision is fp8."},
    {"model", "The shape of the DeepSeek-V3-shaped model, by Hugging Face's config.json names."},
    {"router", "How the experts' load is balanced."},
    {"tokenizer", "How text becomes tokens."},
    {"chat", "How a question is put to the model, and how its turn ends."},
    {"data", "What the model is shown: a built-in task or a text file."},
    {"parallel", "How the run is cut over worker processes, and in which order they work."},
    {"optimizer", "AdamW, shared by all stages of the recipe."},
    {"pretrain", "Recipe stage: next-token training from scratch."},
    {"cold_start", "Recipe stage: a short supervised start on traces of mixed quality."},
    {"grpo",
     "Recipe stage: reinforcement learning with group-relative advantages, no value model."},
    {"checkpoint", "When state is written, and how much of it is kept."},
    {"trace", "What each worker keeps of its last steps, for weft trace."},
    {"watch", "Slow ranks, and numbers that cannot be."},
    {"virtual",
     "device: virtual. The real workers, messages and schedule, over a device that computes "
     "nothing and takes the times given here."},
    {"control", "The coordinator and its workers: addresses and bounds on waiting."},
};

std::vector<Field> make_fields() {
  std::vector<Field> all;
  add_run_fields(all);
  add_data_fields(all);
  add_general_fields(all);
  add_model_fields(all);
  add_training_fields(all);
  add_virtual_fields(all);
  add_watch_fields(all);
  // The order of kGroups is the reading order.
  const auto rank = [](const Field& field) {
    const std::string_view group = group_of(field.path);
    return std::ranges::find(kGroups, group, &Group::name) - std::begin(kGroups);
  };
  std::ranges::stable_sort(all, {}, rank);
  return all;
}

bool ends_with_path(std::string_view longer, std::string_view tail) {
  return longer.size() > tail.size() && longer.ends_with(tail) &&
         longer[longer.size() - tail.size() - 1] == '.';
}

}  // namespace

const std::vector<Field>& fields() {
  static const std::vector<Field> table = make_fields();
  return table;
}

const Field* find_field(std::string_view path) {
  const auto found = std::ranges::find(fields(), path, &Field::path);
  return found == fields().end() ? nullptr : &*found;
}

std::span<const Group> groups() { return kGroups; }

bool is_group(std::string_view name) {
  return !name.empty() && std::ranges::find(kGroups, name, &Group::name) != std::end(kGroups);
}

std::string_view group_of(std::string_view path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : path.substr(0, dot);
}

std::string_view leaf_of(std::string_view path) { return path.substr(path.rfind('.') + 1); }

std::vector<Foreign> foreign(std::string_view path) {
  std::vector<Foreign> exact, same_group, same_leaf;
  for (const Field& field : fields()) {
    for (const OtherName& other : field.names) {
      if (other.system == "paper") continue;
      const bool specific = path.find('.') != std::string_view::npos;
      if (other.name == path || (specific && ends_with_path(other.name, path)))
        exact.push_back({&field, other.system});
      else if (leaf_of(other.name) == leaf_of(path) && group_of(path) == group_of(field.path))
        same_group.push_back({&field, other.system});
      else if (ends_with_path(path, other.name) && other.name.find('.') != std::string_view::npos)
        same_leaf.push_back({&field, other.system});
    }
  }
  // One field may be known to several systems by the same name: one entry a field.
  for (std::vector<Foreign>* found : {&same_group, &exact, &same_leaf}) {
    if (found->empty()) continue;
    found->erase(std::unique(found->begin(), found->end(),
                             [](const Foreign& a, const Foreign& b) { return a.field == b.field; }),
                 found->end());
    return *found;
  }
  return {};
}

}  // namespace weft::runtime
