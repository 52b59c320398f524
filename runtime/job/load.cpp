#include "runtime/job/load.h"

#include <algorithm>

#include "base/files.h"
#include "runtime/job/loader.h"

namespace weft::runtime {
namespace {

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// "WEFT__GRPO__BETA" -> "grpo.beta".
std::string path_of_variable(const std::string& name) {
  std::string path = lower(name.substr(std::string_view("WEFT__").size()));
  for (std::size_t at = path.find("__"); at != std::string::npos; at = path.find("__", at + 1))
    path.replace(at, 2, ".");
  return path;
}

void apply_overrides(Loader& loader, const Overrides& overrides) {
  for (const auto& [name, value] : overrides.environment) {
    if (!name.starts_with("WEFT__")) continue;
    const std::string path = path_of_variable(name);
    loader.apply_override(Origin::Kind::Environment, name, path + "=" + value, path, value);
  }
  for (const std::string& text : overrides.set) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      loader.malformed_override("--set", text, "such as --set grpo.beta=0.001");
    else
      loader.apply_override(Origin::Kind::Set, "--set", text, text.substr(0, equals),
                            text.substr(equals + 1));
  }
}

}  // namespace

std::string to_string(const Origin& origin) {
  switch (origin.kind) {
    case Origin::Kind::Default:
      return "default";
    case Origin::Kind::File:
      return origin.file + ":" + std::to_string(origin.at.line);
    case Origin::Kind::Model:
      return origin.file;
    case Origin::Kind::Environment:
      return "env " + origin.file;
    case Origin::Kind::Set:
      return "--set";
  }
  return "?";
}

Loaded load_job_text(std::string_view text, const std::string& file, const LoadOptions& options) {
  Loader loader(file);
  loader.apply_document(text, file);
  apply_overrides(loader, options.overrides);
  loader.check_rules(options);
  for (const Field& field : fields()) loader.result.origins.try_emplace(field.path);
  sort_by_place(loader.result.diagnostics);
  return std::move(loader.result);
}

Loaded load_job(const std::filesystem::path& path, const LoadOptions& options) {
  const auto text = read_file(path, std::size_t{1} << 20);
  if (text) return load_job_text(*text, path.string(), options);
  Loaded result;
  result.diagnostics.push_back({Severity::Error,
                                path.string(),
                                {},
                                "",
                                text.error().message,
                                "the argument is the path of a job file; see deploy/jobs",
                                ""});
  return result;
}

}  // namespace weft::runtime
