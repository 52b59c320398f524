// run.sqlite: an index over the JSON lines, for queries. Never the truth: it can be deleted at any
// time and is rebuilt when a run is opened.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/expected.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {

/// Threads: one. Errors of every function: Io naming the file.
class Index {
 public:
  /// Creates the file with empty tables; an older one is deleted.
  static Expected<std::unique_ptr<Index>> create(const std::filesystem::path& path);
  ~Index();

  Expected<void> add_step(const nlohmann::json& record);
  Expected<void> add_event(const nlohmann::json& record);
  Expected<void> replace_samples(long long step, const std::vector<nlohmann::json>& samples);
  /// Groups many additions into one transaction.
  Expected<void> begin();
  Expected<void> commit();

 private:
  struct Impl;
  explicit Index(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// samples/<step>.jsonl.
std::filesystem::path sample_file(const RunPaths& paths, long long step);

/// Of a run: written anew from its JSON lines. Errors: Io, Corrupt.
Expected<std::unique_ptr<Index>> build_index(const RunPaths& paths);

}  // namespace weft::runtime
