#include "runtime/cluster/gpu_devices.h"

#include <dlfcn.h>

#include <array>
#include <memory>

namespace weft::runtime {
namespace {

// NVML's own declarations, as far as they are needed here. Source: NVML API Reference Guide.
using Return = int;  // nvmlReturn_t
constexpr Return kSuccess = 0;
constexpr Return kInvalidArgument = 2;  // of a link: there is none of this number
constexpr Return kNotSupported = 3;
constexpr Return kNoPermission = 4;
constexpr Return kDriverNotLoaded = 9;
constexpr Return kVersionMismatch = 18;  // of the library and the loaded driver

using Device = struct nvmlDevice_st*;
struct Memory {
  unsigned long long total, free, used;
};
struct MemoryV2 {
  unsigned version;  // of the structure: its size, and 2 in the highest byte
  unsigned long long total, reserved, free, used;
};
static_assert(sizeof(Memory) == 24 && sizeof(MemoryV2) == 40);
constexpr unsigned kMemoryV2 = sizeof(MemoryV2) | 2u << 24;
constexpr unsigned kNameBytes = 96;   // NVML_DEVICE_NAME_V2_BUFFER_SIZE
constexpr unsigned kLinksMax = 18;    // NVML_NVLINK_MAX_LINKS
constexpr unsigned kDevicesMax = 64;  // of one machine; more is no answer
constexpr unsigned kEnabled = 1;      // nvmlEnableState_t, MIG mode

struct CloseLibrary {
  void operator()(void* library) const { ::dlclose(library); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

/// The functions that a library has; null: it lacks this one.
struct Api {
  Return (*init)() = nullptr;
  Return (*shutdown)() = nullptr;
  const char* (*error_string)(Return) = nullptr;
  Return (*count)(unsigned*) = nullptr;
  Return (*handle)(unsigned, Device*) = nullptr;
  Return (*name)(Device, char*, unsigned) = nullptr;
  Return (*memory)(Device, Memory*) = nullptr;
  Return (*memory_v2)(Device, MemoryV2*) = nullptr;    // from driver 510 on
  Return (*power_limit)(Device, unsigned*) = nullptr;  // milliwatts
  Return (*link_state)(Device, unsigned, int*) = nullptr;
  Return (*mig_mode)(Device, unsigned*, unsigned*) = nullptr;  // now, after a reset
};

template <class Function>
void find(void* library, const char* name, Function& to) {
  to = reinterpret_cast<Function>(::dlsym(library, name));
}

Api api_of(void* library) {
  Api api;
  find(library, "nvmlInit_v2", api.init);
  find(library, "nvmlShutdown", api.shutdown);
  find(library, "nvmlErrorString", api.error_string);
  find(library, "nvmlDeviceGetCount_v2", api.count);
  find(library, "nvmlDeviceGetHandleByIndex_v2", api.handle);
  find(library, "nvmlDeviceGetName", api.name);
  find(library, "nvmlDeviceGetMemoryInfo", api.memory);
  find(library, "nvmlDeviceGetMemoryInfo_v2", api.memory_v2);
  find(library, "nvmlDeviceGetEnforcedPowerLimit", api.power_limit);
  find(library, "nvmlDeviceGetNvLinkState", api.link_state);
  find(library, "nvmlDeviceGetMigMode", api.mig_mode);
  return api;
}

const char* what_to_do(Return code) {
  if (code == kDriverNotLoaded) return "load the driver (modprobe nvidia; nvidia-smi must answer)";
  if (code == kVersionMismatch)
    return "the driver was updated and not loaded anew: reload its modules, or restart the machine";
  if (code == kNoPermission) return "ask for access to /dev/nvidia*";
  return "see what nvidia-smi says";
}

tl::unexpected<Error> refused(const Api& api, const std::string& what, Return code) {
  const char* const text = api.error_string != nullptr ? api.error_string(code) : nullptr;
  return fail(Code::Unsupported, "the NVIDIA driver refuses (" + what + ": " +
                                     (text != nullptr ? text : "error") + ", NVML error " +
                                     std::to_string(code) + "): " + what_to_do(code) +
                                     "; --cpu measures the processor instead");
}

/// What a driver says is printed: one line of plain text, whatever it was.
std::string printable(const char* text, std::size_t most) {
  std::string out;
  for (std::size_t i = 0; i < most && text[i] != 0; ++i)
    out += text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
  return out;
}

void ask_memory(const Api& api, Device device, GpuDevice& to) {
  MemoryV2 all{kMemoryV2, 0, 0, 0, 0};
  if (api.memory_v2 != nullptr && api.memory_v2(device, &all) == kSuccess &&
      all.reserved < all.total) {
    to.memory = static_cast<double>(all.total - all.reserved);
    to.less_reserved = true;
    return;
  }
  Memory memory{};
  if (api.memory != nullptr && api.memory(device, &memory) == kSuccess && memory.total > 0)
    to.memory = static_cast<double>(memory.total);
}

void ask_power(const Api& api, Device device, GpuDevice& to) {
  unsigned milliwatts = 0;
  if (api.power_limit != nullptr && api.power_limit(device, &milliwatts) == kSuccess &&
      milliwatts > 0)
    to.power = milliwatts / 1e3;
}

/// A link that there is not is no active one; any other refusal leaves their number unknown.
void ask_links(const Api& api, Device device, GpuDevice& to) {
  if (api.link_state == nullptr) return;
  int active = 0;
  for (unsigned link = 0; link < kLinksMax; ++link) {
    int state = 0;
    const Return code = api.link_state(device, link, &state);
    if (code == kInvalidArgument || code == kNotSupported) continue;
    if (code != kSuccess) return;
    active += state == static_cast<int>(kEnabled);
  }
  to.nvlinks = active;
}

void ask_slices(const Api& api, Device device, GpuDevice& to) {
  unsigned now = 0, later = 0;
  to.sliced =
      api.mig_mode != nullptr && api.mig_mode(device, &now, &later) == kSuccess && now == kEnabled;
}

/// All of an initialised library's devices.
Expected<std::vector<GpuDevice>> devices_of(const Api& api) {
  unsigned count = 0;
  if (const Return code = api.count(&count); code != kSuccess)
    return refused(api, "nvmlDeviceGetCount_v2", code);
  if (count > kDevicesMax)
    return fail(Code::Unsupported, "the NVIDIA driver counts " + std::to_string(count) +
                                       " GPUs, and a machine has " + std::to_string(kDevicesMax) +
                                       " at most: see what nvidia-smi says; --cpu measures the "
                                       "processor instead");
  std::vector<GpuDevice> devices;
  for (unsigned index = 0; index < count; ++index) {
    const std::string gpu = "GPU " + std::to_string(index) + ", ";
    Device device = nullptr;
    const Return code = api.handle(index, &device);
    if (code == kNoPermission) continue;  // counted by the driver, but not this user's
    if (code != kSuccess) return refused(api, gpu + "nvmlDeviceGetHandleByIndex_v2", code);
    std::array<char, kNameBytes> name{};
    if (const Return named = api.name(device, name.data(), kNameBytes); named != kSuccess)
      return refused(api, gpu + "nvmlDeviceGetName", named);
    GpuDevice& to = devices.emplace_back();
    to.index = index;
    to.name = printable(name.data(), name.size());
    ask_memory(api, device, to);
    ask_power(api, device, to);
    ask_links(api, device, to);
    ask_slices(api, device, to);
  }
  if (devices.empty() && count > 0)
    return refused(api, "none of " + std::to_string(count) + " GPUs may be looked at",
                   kNoPermission);
  return devices;
}

/// glibc's words for "no such library"; another reason is worth saying.
bool is_missing(const std::string& library, const std::string& why) {
  return why.starts_with(library + ": cannot open shared object file: No such file");
}

}  // namespace

Expected<std::vector<GpuDevice>> gpu_devices(const std::string& library) {
  const Library opened(::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (opened == nullptr) {
    const char* const text = ::dlerror();
    const std::string why = text != nullptr ? text : library + ": unknown reason";
    if (is_missing(library, why)) return std::vector<GpuDevice>{};
    return fail(Code::Unsupported, "the NVIDIA driver's library cannot be opened (" + why +
                                       "): install the driver again; --cpu measures the processor "
                                       "instead");
  }
  const Api api = api_of(opened.get());
  if (api.init == nullptr || api.shutdown == nullptr || api.count == nullptr ||
      api.handle == nullptr || api.name == nullptr)
    return fail(Code::Unsupported,
                library +
                    " is no NVML, or one of a driver before 2013 (it lacks nvmlInit_v2 or "
                    "what belongs to it): update the driver; --cpu measures the processor "
                    "instead");
  if (const Return code = api.init(); code != kSuccess) return refused(api, "nvmlInit_v2", code);
  auto devices = devices_of(api);
  api.shutdown();  // nothing depends on whether it could
  return devices;
}

}  // namespace weft::runtime
