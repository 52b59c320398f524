// How long placing and replacing take: topology_bench
#include <chrono>
#include <cstdio>

#include "scheduler/topology/assignment.h"

using namespace weft;
using namespace weft::scheduler;

namespace {

void run(int pipeline, int data, int expert, int leaves, int hosts) {
  const auto placement =
      place({dualpipe::Kind::DualPipe, pipeline, data, expert, 2 * pipeline}, 2 * pipeline);
  Topology topology;
  for (int h = 0; h < leaves * hosts; ++h)
    topology.hosts.push_back({"n" + std::to_string(h), h / hosts, 8});
  const auto begin = std::chrono::steady_clock::now();
  const auto found = assign(*placement, topology);
  const auto middle = std::chrono::steady_clock::now();
  topology.hosts[found->seats[100].host].healthy = false;
  const auto moved = replace(found->seats, *placement, topology);
  const auto end = std::chrono::steady_clock::now();
  const auto ms = [](auto d) { return std::chrono::duration<double, std::milli>(d).count(); };
  std::printf(
      "%6d ranks on %4zu hosts: assign %6.1f ms, replace one host %6.1f ms; %d of %d expert "
      "groups over leaves, %d of %d hops over the spine, %d off rail, spares under %d leaves\n",
      placement->layout.world(), topology.hosts.size(), ms(middle - begin), ms(end - middle),
      found->score.expert_groups_over_leaves, found->score.expert_groups,
      found->score.hops_over_spine, found->score.pipeline_hops, found->score.hops_off_rail,
      found->spare_leaves);
  if (!moved) std::printf("  %s\n", moved.error().message.c_str());
}

}  // namespace

int main() {
  run(16, 128, 64, 8, 33);
  run(16, 1024, 64, 64, 33);
  run(16, 1024, 8, 64, 33);
}
