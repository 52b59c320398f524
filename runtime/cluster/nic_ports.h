// The InfiniBand and RoCE ports of this machine, as the kernel tells them in sysfs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace weft::runtime {

struct NicPort {
  std::string device;      // "mlx5_0"
  std::string port;        // "1"
  std::string link_layer;  // "InfiniBand"; "Ethernet": RoCE
  double rate = 0;         // bytes/s a direction, before protocol
  bool active = false;
};

inline constexpr const char* kInfinibandRoot = "/sys/class/infiniband";

/// In the order of their names. What cannot be read or understood is left out; so is a virtual
/// function whose physical one is listed, which has no link of its own.
std::vector<NicPort> nic_ports(const std::filesystem::path& root = kInfinibandRoot);

}  // namespace weft::runtime
