#include "runtime/cluster/nic_ports.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <system_error>

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

constexpr double kGigabitsMax = 1e5;  // of one port; more is no rate
constexpr std::size_t kPortsMax = 1024;

/// Names of the entries, in order; none where there is no such directory.
std::vector<std::string> entries(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  std::ranges::sort(names);
  return names;
}

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

/// "400 Gb/sec (4X NDR)" -> 50e9.
std::optional<double> bytes_a_second(const std::string& rate) {
  double gigabits = 0;
  const char* const end = rate.data() + rate.size();
  const auto [rest, error] = std::from_chars(rate.data(), end, gigabits);
  if (error != std::errc() || !(gigabits > 0 && gigabits <= kGigabitsMax)) return {};
  if (!std::string_view(rest, static_cast<std::size_t>(end - rest)).starts_with(" Gb/sec"))
    return {};
  return gigabits * 1e9 / 8;
}

bool is_virtual(const fs::path& root, const std::string& device,
                const std::vector<std::string>& devices) {
  const auto physical = entries(root / device / "device" / "physfn" / "infiniband");
  return std::ranges::any_of(physical, [&](const std::string& name) {
    return name != device && std::ranges::find(devices, name) != devices.end();
  });
}

}  // namespace

std::vector<NicPort> nic_ports(const fs::path& root) {
  std::vector<NicPort> ports;
  const std::vector<std::string> devices = entries(root);
  for (const std::string& device : devices) {
    if (is_virtual(root, device, devices)) continue;
    for (const std::string& port : entries(root / device / "ports")) {
      const fs::path here = root / device / "ports" / port;
      const auto rate = bytes_a_second(first_line(here / "rate"));
      const std::string state = first_line(here / "state");  // "4: ACTIVE"
      if (!rate || ports.size() == kPortsMax) continue;
      ports.push_back({device, port, first_line(here / "link_layer"), *rate,
                       state.starts_with("4:") || state == "ACTIVE"});
    }
  }
  return ports;
}

}  // namespace weft::runtime
