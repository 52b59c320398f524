// Whatever the bytes, loading a job ends with a Job or with diagnostics that can be printed; what
// loads survives the way to YAML and JSON and back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "runtime/job/load.h"
#include "runtime/job/serial.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weft::runtime;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Loaded loaded = load_job_text(text, "fuzz.yaml", {.overrides = {}, .check_files = false});
  if (loaded.ok() != !has_errors(loaded.diagnostics)) std::abort();
  if (!loaded.diagnostics.empty() && print(loaded.diagnostics).empty()) std::abort();
  if (!loaded.ok()) return 0;
  const auto job = from_json(to_json(loaded.job));
  if (!job || to_json(*job) != to_json(loaded.job)) std::abort();
  const Loaded again = load_job_text(to_yaml(loaded.job, loaded.origins), "again.yaml",
                                     {.overrides = {}, .check_files = false});
  if (!again.ok() || to_json(again.job) != to_json(loaded.job)) std::abort();
  return 0;
}
