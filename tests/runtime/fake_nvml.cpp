// Stands in for the NVIDIA driver's libnvidia-ml.so.1: opened by tests, never linked. What it tells
// is in WEFT_FAKE_NVML when it is initialised: "fail CODE", or GPUs apart by ';', each
//   COUNT,NAME,MiB of memory,MiB reserved,milliwatts,active NVLinks,1 in MIG mode
//   COUNT,!CODE   GPUs whose handle is refused
// Built again with WEFT_OLD_DRIVER it lacks what drivers of long ago lack.
#include <cstdio>
#include <cstdlib>
#include <cstring>

struct nvmlDevice_st {
  char name[96];
  unsigned long long memory, reserved;  // MiB
  unsigned power, links, mig;
  int refused;
};
using Gpu = nvmlDevice_st;

namespace {

constexpr unsigned kGpusMax = 128;
constexpr unsigned kLinks = 18;
Gpu gpus[kGpusMax];
unsigned count = 0;
int in_use = 0;  // nvmlInit_v2 less nvmlShutdown

void add(const char* text) {
  unsigned many = 0;
  Gpu gpu{};
  if (std::sscanf(text, "%u,!%d", &many, &gpu.refused) != 2)
    std::sscanf(text, "%u,%95[^,;],%llu,%llu,%u,%u,%u", &many, gpu.name, &gpu.memory, &gpu.reserved,
                &gpu.power, &gpu.links, &gpu.mig);
  for (; many > 0 && count < kGpusMax; --many) gpus[count++] = gpu;
}

}  // namespace

extern "C" {

struct Memory {
  unsigned long long total, free, used;
};
struct MemoryV2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};

/// Not NVML's: how often it is initialised and not shut down.
int weft_fake_in_use() { return in_use; }

int nvmlInit_v2() {
  const char* text = std::getenv("WEFT_FAKE_NVML");
  count = 0;
  int code = 0;
  if (text != nullptr && std::sscanf(text, "fail %d", &code) == 1) return code;
  for (; text != nullptr; text = std::strchr(text, ';') ? std::strchr(text, ';') + 1 : nullptr)
    add(text);
  ++in_use;
  return 0;
}

int nvmlShutdown() {
  --in_use;
  return 0;
}

const char* nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Some Error"; }

int nvmlDeviceGetCount_v2(unsigned* to) {
  if (in_use == 0) return 1;
  *to = count;
  return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu** to) {
  if (in_use == 0) return 1;
  if (index >= count) return 2;
  *to = &gpus[index];
  return gpus[index].refused;
}

int nvmlDeviceGetName(Gpu* gpu, char* to, unsigned bytes) {
  if (std::strlen(gpu->name) >= bytes) return 7;
  std::strcpy(to, gpu->name);
  return 0;
}

int nvmlDeviceGetMemoryInfo(Gpu* gpu, Memory* to) {
  to->total = gpu->memory << 20;
  to->used = gpu->reserved << 20;
  to->free = to->total - to->used;
  return 0;
}

#ifndef WEFT_OLD_DRIVER
int nvmlDeviceGetMemoryInfo_v2(Gpu* gpu, MemoryV2* to) {
  if (to->version != 0x02000028) return 25;
  to->total = gpu->memory << 20;
  to->reserved = gpu->reserved << 20;
  to->used = 0;
  to->free = to->total - to->reserved;
  return 0;
}

int nvmlDeviceGetEnforcedPowerLimit(Gpu* gpu, unsigned* milliwatts) {
  *milliwatts = gpu->power;
  return gpu->power == 0 ? 3 : 0;
}

int nvmlDeviceGetNvLinkState(Gpu* gpu, unsigned link, int* active) {
  if (link >= kLinks) return 2;
  *active = link < gpu->links;
  return 0;
}

int nvmlDeviceGetMigMode(Gpu* gpu, unsigned* now, unsigned* later) {
  *now = *later = gpu->mig;
  return 0;
}
#endif

}  // extern "C"
