// What the driver's library and the kernel say: a stand-in for the one, a directory for the other.
#include "runtime/cluster/gpu_devices.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "runtime/cluster/nic_ports.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

Expected<std::vector<GpuDevice>> told(const char* gpus,
                                      const char* library = WEFT_FAKE_NVML_LIBRARY) {
  ::setenv("WEFT_FAKE_NVML", gpus, 1);
  return gpu_devices(library);
}

std::string refusal(const char* gpus, const char* library = WEFT_FAKE_NVML_LIBRARY) {
  const auto devices = told(gpus, library);
  EXPECT_FALSE(devices.has_value());
  if (devices) return "";
  EXPECT_EQ(devices.error().code, Code::Unsupported);
  return devices.error().message;
}

bool says(const std::string& message, const std::string& word) {
  return message.find(word) != std::string::npos;
}

TEST(GpuDevices, AreWhatTheDriverSaysOfThem) {
  const auto devices = told("8,NVIDIA H200,143771,636,700000,18,0");
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 8u);
  for (unsigned i = 0; i < 8; ++i) {
    const GpuDevice& gpu = (*devices)[i];
    EXPECT_EQ(gpu.index, i);
    EXPECT_EQ(gpu.name, "NVIDIA H200");
    EXPECT_EQ(gpu.memory, (143771.0 - 636) * 0x1p20);
    EXPECT_TRUE(gpu.less_reserved);
    EXPECT_EQ(gpu.power, 700);
    EXPECT_EQ(gpu.nvlinks, 18);
    EXPECT_FALSE(gpu.sliced);
  }
}

TEST(GpuDevices, OfSeveralKindsAreAllTold) {
  const auto devices = told("1,NVIDIA H100 PCIe,81559,551,350000,0,0;2,NVIDIA L4,23034,0,0,0,1");
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 3u);
  EXPECT_EQ((*devices)[0].nvlinks, 0);
  EXPECT_EQ((*devices)[2].name, "NVIDIA L4");
  EXPECT_FALSE((*devices)[2].power) << "refused: not known";
  EXPECT_TRUE((*devices)[2].sliced);
}

TEST(GpuDevices, AMachineWithoutTheLibraryOrWithoutGpusHasNone) {
  const auto without = gpu_devices("libweft-there-is-none.so.1");
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_TRUE(without->empty());
  const auto nowhere = gpu_devices("/nowhere/at/all.so");
  ASSERT_TRUE(nowhere) << nowhere.error().message;
  EXPECT_TRUE(nowhere->empty());
  const auto none = told("");
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_TRUE(none->empty());
}

TEST(GpuDevices, AnOldDriversMissingFunctionsLeaveTheirFactsUnknown) {
  const auto devices = told("2,NVIDIA H200,143771,636,700000,18,0", WEFT_OLD_NVML_LIBRARY);
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 2u);
  const GpuDevice& gpu = devices->front();
  EXPECT_EQ(gpu.memory, 143771.0 * 0x1p20);
  EXPECT_FALSE(gpu.less_reserved);
  EXPECT_FALSE(gpu.power);
  EXPECT_FALSE(gpu.nvlinks);
  EXPECT_FALSE(gpu.sliced);
}

TEST(GpuDevices, ARefusalSaysWhatAndWhatToDo) {
  const std::string unloaded = refusal("fail 9");
  for (const char* word : {"nvmlInit_v2", "Driver Not Loaded", "error 9", "modprobe", "--cpu"})
    EXPECT_TRUE(says(unloaded, word)) << word << "\n" << unloaded;
  EXPECT_TRUE(says(refusal("fail 18"), "updated"));
  const std::string lost = refusal("3,NVIDIA H200,143771,636,700000,18,0;1,!15");
  for (const char* word : {"GPU 3", "error 15", "nvidia-smi", "--cpu"})
    EXPECT_TRUE(says(lost, word)) << word << "\n" << lost;
  EXPECT_TRUE(says(refusal("100,NVIDIA H200,143771,636,700000,18,0"), "100 GPUs"));
}

TEST(GpuDevices, ThoseOfOthersAreNotCounted) {
  const auto devices = told("2,!4;1,NVIDIA H200,143771,636,700000,18,0");
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 1u);
  EXPECT_EQ(devices->front().index, 2u);
  EXPECT_TRUE(says(refusal("2,!4"), "/dev/nvidia"));
}

TEST(GpuDevices, ALibraryThatIsNoNvmlOrCannotBeOpenedIsSaid) {
  EXPECT_TRUE(says(refusal("", "libm.so.6"), "is no NVML"));
  const test::Scratch scratch;
  std::ofstream(scratch / "broken.so") << "not an ELF file";
  EXPECT_TRUE(says(refusal("", (scratch / "broken.so").c_str()), "cannot be opened"));
}

TEST(GpuDevices, ANameIsPrintedAsOneLineWhateverItsBytes) {
  const auto devices = told("1,NVIDIA\x1b[31m\nH200,143771,636,700000,18,0");
  ASSERT_TRUE(devices) << devices.error().message;
  EXPECT_EQ(devices->front().name, "NVIDIA?[31m?H200");
}

TEST(GpuDevices, TheLibraryIsShutDownWhateverWasFound) {
  void* const library = ::dlopen(WEFT_FAKE_NVML_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << ::dlerror();
  const auto in_use = reinterpret_cast<int (*)()>(::dlsym(library, "weft_fake_in_use"));
  ASSERT_NE(in_use, nullptr);
  for (const char* gpus : {"", "fail 9", "1,!15", "1,NVIDIA H200,143771,636,700000,18,0"}) {
    (void)told(gpus);
    EXPECT_EQ(in_use(), 0) << gpus;
  }
  ::dlclose(library);
}

/// Files of a port as the kernel writes them.
void put_port(const fs::path& device, const std::string& rate, const std::string& state,
              const std::string& layer) {
  const fs::path port = device / "ports" / "1";
  fs::create_directories(port);
  std::ofstream(port / "rate") << rate << "\n";
  std::ofstream(port / "state") << state << "\n";
  std::ofstream(port / "link_layer") << layer << "\n";
}

TEST(NicPorts, AreReadAsTheKernelWritesThem) {
  const test::Scratch root;
  put_port(root / "mlx5_0", "400 Gb/sec (4X NDR)", "4: ACTIVE", "InfiniBand");
  put_port(root / "mlx5_1", "2.5 Gb/sec (1X SDR)", "1: DOWN", "InfiniBand");
  put_port(root / "mlx5_2", "200 Gb/sec (4X HDR)", "4: ACTIVE", "Ethernet");
  const std::vector<NicPort> ports = nic_ports(root.path());
  ASSERT_EQ(ports.size(), 3u);
  EXPECT_EQ(ports[0].device, "mlx5_0");
  EXPECT_EQ(ports[0].link_layer, "InfiniBand");
  EXPECT_DOUBLE_EQ(ports[0].rate, 50e9);
  EXPECT_TRUE(ports[0].active);
  EXPECT_FALSE(ports[1].active);
  EXPECT_DOUBLE_EQ(ports[1].rate, 2.5e9 / 8);
  EXPECT_EQ(ports[2].link_layer, "Ethernet");
}

TEST(NicPorts, WhatIsNoRateAndAVirtualFunctionAreLeftOut) {
  const test::Scratch root;
  put_port(root / "mlx5_0", "400 Gb/sec (4X NDR)", "4: ACTIVE", "InfiniBand");
  put_port(root / "mlx5_1", "400 Gb/sec (4X NDR)", "4: ACTIVE", "InfiniBand");
  fs::create_directories(root / "mlx5_1" / "device" / "physfn" / "infiniband" / "mlx5_0");
  int odd = 0;
  for (const char* rate :
       {"", "fast", "-400 Gb/sec", "0 Gb/sec", "nan Gb/sec", "1e300 Gb/sec", "400", "400 Tb/sec"})
    put_port(root / ("odd" + std::to_string(++odd)), rate, "4: ACTIVE", "InfiniBand");
  fs::create_directories(root / "empty");
  std::ofstream(root / "file") << "no device";
  const std::vector<NicPort> ports = nic_ports(root.path());
  ASSERT_EQ(ports.size(), 1u);
  EXPECT_EQ(ports[0].device, "mlx5_0");
  EXPECT_TRUE(nic_ports(root / "nowhere").empty());
}

}  // namespace
}  // namespace weft::runtime
