// The one table of everything a job file may say. Parsing, validation, `explain`, the reference
// page, the JSON schema, completion, config.resolved.yaml and the wire form all walk it.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/expected.h"
#include "runtime/job/job.h"

namespace weft::runtime {

enum class FieldType {
  Bool,   // true | false
  Int,    // 12
  Count,  // 12, 1.5K, 2M
  Real,   // 0.1, 3e-4
  Text,
  Choice,    // one of `choices`
  Choices,   // a list of `choices`
  Duration,  // 30s, 2m; kept in seconds
  Paths,     // a list of texts, or one
  Rewards    // a list of {name, weight}
};

/// Where a field lives in a Job.
using Slot = std::variant<bool*, int*, std::uint64_t*, double*, std::string*,
                          std::vector<std::string>*, std::vector<RewardJob>*>;

/// What others call it. `name` is a path when they have one.
struct OtherName {
  std::string_view system;  // "TRL", "verl", "NeMo-RL", "HF", "paper", ...
  std::string_view name;
};

struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;  // min itself is refused
  bool below_max = false;
};

/// May a resumed run change it? Same: it decides the numbers, so no.
enum class OnResume { Same, MayChange };

struct Field {
  std::string path;
  FieldType type = FieldType::Int;
  Slot (*slot)(Job&) = nullptr;
  Range range = {};
  std::vector<std::string_view> choices = {};
  std::string_view unit = {};
  std::string_view help = {};       // one paragraph
  std::string_view interacts = {};  // with which fields, and how
  std::string_view example = {};    // as it is written after "path: "
  std::vector<OtherName> names = {};
  OnResume on_resume = OnResume::Same;
};

/// All of them, in the order in which a person reads a job.
const std::vector<Field>& fields();
const Field* find_field(std::string_view path);
/// "grpo" and so on, in order, with one sentence each.
struct Group {
  std::string_view name;
  std::string_view help;
};
std::span<const Group> groups();
bool is_group(std::string_view name);
/// The part before and after the last dot.
std::string_view group_of(std::string_view path);
std::string_view leaf_of(std::string_view path);

/// "integer", "one of a | b", ...
std::string type_text(const Field& field);
/// "at least 1", "above 0, at most 1", or "".
std::string range_text(const Field& field);
/// As a person writes it in YAML (flow style for lists); parse_value reads it back unchanged.
std::string value_text(const Field& field, const Job& job);
std::string default_text(const Field& field);

/// Sets a scalar field from text. Errors: InvalidArgument with "<message>\n<hint>".
Expected<void> set_scalar(const Field& field, std::string_view text, Job& job);
/// Range and list-of-choices rules of one field's present value. Errors: as set_scalar.
Expected<void> check_value(const Field& field, const Job& job);

/// Fields that another system calls `path` (as written in a job file), and that system.
struct Foreign {
  const Field* field = nullptr;
  std::string_view system;
};
std::vector<Foreign> foreign(std::string_view path);

// The table's chapters, each in its own file.
void add_run_fields(std::vector<Field>& out);
void add_data_fields(std::vector<Field>& out);
void add_general_fields(std::vector<Field>& out);
void add_model_fields(std::vector<Field>& out);
void add_training_fields(std::vector<Field>& out);
void add_virtual_fields(std::vector<Field>& out);
void add_watch_fields(std::vector<Field>& out);

}  // namespace weft::runtime
