#include "runtime/cluster/gpu_kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "base/text.h"
#include "scheduler/cluster/figure_text.h"

namespace weft::runtime {
namespace {

using scheduler::Unit;

/// The memory of one GPU of a kind, as the driver tells it and as a data sheet does, differ by up
/// to 7 % (H200: 143,771 MiB, and 141 GB); that of two kinds of one name by more (H100 of 80, 94
/// and 96 GB, A100 of 40, 64 and 80 GB).
constexpr double kMemoryAlike = 0.1;
constexpr const char* kOtherwise =
    "start from the closest of deploy/clusters, put in what its data sheet says, and name it with "
    "--cluster; --cpu measures the processor instead";

/// "NVIDIA H100 80GB HBM3" -> H100, 80GB, HBM3.
std::vector<std::string> words_of(const std::string& name) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : name + " ") {
    if (c != ' ' && c != '-') {
      word += c;
      continue;
    }
    if (!word.empty() && word != "NVIDIA") words.push_back(word);
    word.clear();
  }
  return words;
}

/// What may stand beside the kind in the name of the module that data sheets call SXM. Everything
/// else (PCIe, NVL, a virtual GPU's size) is another form, with other rates.
bool is_of_module(const std::string& word) {
  const bool size = word.ends_with("GB") && word.size() > 2 &&
                    word.find_first_not_of("0123456789") == word.size() - 2;
  return size || word.starts_with("SXM") || word.starts_with("HBM");
}

tl::unexpected<Error> unsupported(const std::string& what) {
  return fail(Code::Unsupported, what + ": " + kOtherwise);
}

Expected<void> check_alike(std::span<const GpuDevice> devices) {
  std::map<std::string, int> counts;
  for (const GpuDevice& device : devices) ++counts[device.name];
  if (counts.size() > 1) {
    std::vector<std::string> kinds;
    for (const auto& [name, count] : counts) kinds.push_back(fmt::format("{} x {}", count, name));
    return unsupported("this machine has several kinds of GPUs (" + join(kinds, ", ") +
                       "), and a description has one");
  }
  for (const GpuDevice& device : devices)
    if (device.sliced)
      return fail(Code::Unsupported,
                  fmt::format("GPU {0} ({1}) is cut into MIG slices, and rates are known of whole "
                              "GPUs: nvidia-smi -i {0} -mig 0 makes it one again; --cpu measures "
                              "the processor instead",
                              device.index, device.name));
  return {};
}

/// The shipped description of the GPU of this name.
Expected<const ShippedCluster*> shipped_of(const GpuDevice& device,
                                           std::span<const ShippedCluster> shipped) {
  const std::vector<std::string> words = words_of(device.name);
  const auto found = std::ranges::find_if(shipped, [&](const ShippedCluster& known) {
    return !words.empty() && known.cluster.gpu.name == words.front();
  });
  if (found == shipped.end()) {
    std::vector<std::string> known;
    for (const ShippedCluster& one : shipped)
      if (nvlinks_of(one.cluster.gpu.name) > 0) known.push_back(one.cluster.gpu.name);
    return unsupported("no shipped description is of " + device.name + " (there are " +
                       join(known, ", ") + ")");
  }
  const scheduler::GpuType& gpu = found->cluster.gpu;
  if (!std::all_of(words.begin() + 1, words.end(), is_of_module))
    return unsupported(
        fmt::format("{} is not the {} that {} describes, which is the module with "
                    "NVLink (SXM) and has other rates",
                    device.name, gpu.name, found->file));
  if (device.memory && std::abs(*device.memory / gpu.memory - 1) > kMemoryAlike)
    return unsupported(
        fmt::format("{} has {} of memory, and the {} that {} describes {}: they are "
                    "different GPUs",
                    device.name, scheduler::rounded_text(Unit::Bytes, *device.memory), gpu.name,
                    found->file, scheduler::rounded_text(Unit::Bytes, gpu.memory)));
  return &*found;
}

}  // namespace

int nvlinks_of(const std::string& kind) {
  static const std::map<std::string, int> links = {{"A100", 12}, {"H800", 8},  {"H100", 18},
                                                   {"H200", 18}, {"B200", 18}, {"GB200", 18}};
  const auto found = links.find(kind);
  return found == links.end() ? 0 : found->second;
}

Expected<const ShippedCluster*> shipped_kind(std::span<const GpuDevice> devices,
                                             std::span<const ShippedCluster> shipped) {
  WEFT_TRY(check_alike(devices));
  return shipped_of(devices.front(), shipped);
}

}  // namespace weft::runtime
