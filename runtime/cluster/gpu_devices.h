// The NVIDIA GPUs of this machine, as its driver tells them: through NVML, which comes with the
// driver and is opened at run time, so that weft is built and runs without it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/expected.h"

namespace weft::runtime {

/// What the driver does not tell is left out.
struct GpuDevice {
  unsigned index = 0;            // as the driver counts (nvidia-smi -i)
  std::string name;              // as the driver says it: "NVIDIA H200"
  std::optional<double> memory;  // bytes, less what the driver reserves where it says so
  bool less_reserved = false;    // whether it said so
  std::optional<double> power;   // W, the limit that is enforced
  std::optional<int> nvlinks;    // active ones
  bool sliced = false;           // in MIG mode: programs see parts of it
};

inline constexpr const char* kNvmlLibrary = "libnvidia-ml.so.1";

/// The GPUs that this user may talk to, in the driver's order. None where there is no such library,
/// which is how a machine without an NVIDIA driver looks. `library`: a path, or a name that the
/// dynamic linker looks for.
/// Errors: Unsupported, when the library or the driver refuses; with what to do.
Expected<std::vector<GpuDevice>> gpu_devices(const std::string& library = kNvmlLibrary);

}  // namespace weft::runtime
