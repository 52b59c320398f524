// Writes the values of one source after the other (the file, variables, --set) into a Job and keeps
// what is wrong with them. Not for others to include.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/job/fields.h"
#include "runtime/job/load.h"
#include "runtime/job/validate.h"
#include "runtime/job/yaml.h"

namespace weft::runtime {

class Loader {
 public:
  explicit Loader(std::string main_file) : main_file_(std::move(main_file)) {}

  Loaded result;

  void apply_document(std::string_view text, const std::string& file);
  /// `shown`: the path, '=' and the value, as errors point into it.
  void apply_override(Origin::Kind kind, const std::string& file, const std::string& shown,
                      const std::string& path, const std::string& value);
  void malformed_override(const std::string& file, const std::string& text, std::string hint);
  /// Behind all sources: what must hold between the fields.
  void check_rules(const LoadOptions& options);

 private:
  /// The source whose values are being applied.
  struct Source {
    Origin::Kind kind;
    std::string file;
    std::string_view text;
  };

  // loader.cpp: which field is meant?
  void apply_map(const YamlNode& map, const std::string& group);
  void apply_group(const YamlEntry& entry, const std::string& path);
  void apply_unknown(const YamlEntry& entry, const std::string& group, const std::string& path);
  const Field* known_elsewhere(const std::string& path, const Position& key);
  void unknown_key(const std::string& group, const std::string& key, const Position& at);
  std::string source_line(const Position& at) const;
  void report(const Position& at, std::string message, std::string hint, std::string field,
              Severity severity = Severity::Error);
  void add_problems(const std::vector<Problem>& found);
  void warn_of_idle_model_fields();
  void warn_of_another_precision();

  // loader_values.cpp: what does the field get?
  void apply_field(const Field& field, const YamlNode& node, const Position& at);
  void check(const Field& field, const Position& at, const Expected<void>& outcome);
  void apply_model_config(const Field& field, const YamlNode& node);
  void apply_choices(const Field& field, const YamlNode& node);
  void apply_paths(const Field& field, const YamlNode& node);
  void apply_rewards(const Field& field, const YamlNode& node);
  RewardJob reward(const Field& field, const YamlNode& item);

  std::string main_file_;
  Source from_{Origin::Kind::File, "", ""};
  std::string fp8_model_file_;     // model.config, where its weights are stored in FP8
  std::set<std::string> written_;  // in the present source
  std::set<std::string> failed_;   // fields whose value was refused
};

}  // namespace weft::runtime
