#include "runtime/cluster/probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/local/local_transport.h"
#include "runtime/cluster/machine_load.h"
#include "scheduler/cluster/fields.h"

namespace weft::runtime {
namespace {

using Steady = std::chrono::steady_clock;
using scheduler::Cluster;
using scheduler::Figure;
using scheduler::Unit;

double since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

Figure measured(double value, const std::string& what) { return {value, "measured: " + what}; }

/// Bytes/s of copying between two buffers that no cache holds, read and written.
double copy_rate(double seconds) {
  // A quick look stays in the caches.
  const std::size_t bytes = std::size_t{seconds < kQuickLook ? 16u : 256u} << 20;
  std::vector<char> from(bytes, 1), to(bytes, 2);
  double best = 0;
  for (const auto begin = Steady::now(); since(begin) < seconds || best == 0;) {
    const auto start = Steady::now();
    std::memcpy(to.data(), from.data(), bytes);
    best = std::max(best, 2.0 * static_cast<double>(bytes) / since(start));
    from[0] = to[bytes - 1];
  }
  return best;
}

struct LinkRates {
  double latency = 0, bandwidth = 0;
};

/// Ping-pong between two ranks of the shared-memory transport; the best of some rounds, as the
/// machine may be busy with other things.
Expected<void> ping_pong(comm::Communicator& group, std::size_t bytes, int repeats, double& each) {
  std::vector<std::byte> buffer(bytes);
  const int peer = 1 - group.rank();
  each = 1e300;
  for (int round = 0; round < 5; ++round) {
    WEFT_TRY(comm::barrier(group));
    const auto begin = Steady::now();
    for (int i = 0; i < repeats; ++i) {
      if (group.rank() == 0) WEFT_TRY(comm::send(group, peer, 1, buffer));
      WEFT_TRY(comm::receive(group, peer, 1, buffer));
      if (group.rank() == 1) WEFT_TRY(comm::send(group, peer, 1, buffer));
    }
    each = std::min(each, since(begin) / repeats / 2);
  }
  return {};
}

Expected<LinkRates> link_rates() {
  constexpr std::size_t kLarge = std::size_t{1} << 20;
  WEFT_TRY_ASSIGN(const comm::LocalWorld world, comm::LocalWorld::create(2));
  LinkRates rates;
  std::string problem;
  const auto body = [&](int rank) -> Expected<void> {
    WEFT_TRY_ASSIGN(const auto transport, world.join(rank));
    const std::vector<comm::GroupSpec> specs = {{"probe", {0, 1}}};
    WEFT_TRY_ASSIGN(const auto groups, transport->make_groups(specs));
    double small = 0, large = 0;
    WEFT_TRY(ping_pong(*groups[0], 64, 100, small));
    WEFT_TRY(ping_pong(*groups[0], kLarge, 10, large));
    if (rank == 0) rates = {small, static_cast<double>(kLarge) / std::max(large - small, 1e-9)};
    return {};
  };
  std::jthread other([&] {
    if (const auto done = body(1); !done) problem = done.error().message;
  });
  const auto done = body(0);
  other.join();
  if (!done) return tl::unexpected(done.error());
  if (!problem.empty()) return fail(Code::Unavailable, problem);
  return rates;
}

/// Bytes/s of writing a file and waiting until it is on the disk.
Expected<double> disk_rate() {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  const auto path = std::filesystem::temp_directory_path() /
                    ("weft-probe-" + std::to_string(::getpid()) + ".bin");
  const std::vector<char> bytes(kBytes, 3);
  const int file = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0) return fail(Code::Io, "cannot write " + path.string() + ": " + strerror(errno));
  const auto begin = Steady::now();
  const bool written =
      ::write(file, bytes.data(), kBytes) == static_cast<ssize_t>(kBytes) && ::fsync(file) == 0;
  const double seconds = since(begin);
  ::close(file);
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  if (!written) return fail(Code::Io, "cannot write 64 MiB to " + path.string());
  return kBytes / seconds;
}

double memory_bytes() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(::sysconf(_SC_PAGE_SIZE));
}

}  // namespace

Expected<Cluster> probe_machine(const ProbeOptions& options,
                                const std::function<void(const std::string&)>& talk) {
  const LoadWatch load;
  Cluster c;
  c.name = "this-host";
  c.gpu.name = "CPU-worker";
  const int cores = std::max(1u, std::thread::hardware_concurrency());
  c.node.gpus = {static_cast<double>(options.workers), "asked for: workers at once"};
  c.node.cores = measured(cores, "hardware threads");
  c.nodes = {1, "this machine"};
  c.gpu.memory = measured(memory_bytes() / options.workers, "memory over the workers");
  const double copy = copy_rate(options.seconds);
  c.gpu.memory_bandwidth = measured(copy, "copying between two buffers, one thread");
  talk("memory " + scheduler::rounded_text(Unit::Bandwidth, copy));
  WEFT_TRY_ASSIGN(const LinkRates link, link_rates());
  c.node.nvlink_bandwidth = measured(link.bandwidth, "shared memory, 1 MiB messages");
  c.node.nvlink_latency = measured(link.latency, "shared memory, 64 B messages");
  talk("messages " + scheduler::rounded_text(Unit::Time, link.latency) + ", " +
       scheduler::rounded_text(Unit::Bandwidth, link.bandwidth));
  WEFT_TRY_ASSIGN(const double disk, disk_rate());
  c.storage_write = measured(disk, "64 MiB with fsync");
  c.storage_read = measured(disk, "taken as for writing");
  talk("disk " + scheduler::rounded_text(Unit::Bandwidth, disk));
  WEFT_TRY(probe_kernels(options, c, talk));
  WEFT_TRY(probe_runs(options, c, talk));
  if (const std::string said = load_warning(load.others(), cores); !said.empty())
    talk("warning: " + said);
  return c;
}

}  // namespace weft::runtime
