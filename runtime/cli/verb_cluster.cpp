#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "base/files.h"
#include "base/text.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/cluster/cluster_file.h"
#include "runtime/cluster/gpu_cluster.h"
#include "runtime/cluster/probe.h"
#include "runtime/drift/drift_watch.h"
#include "scheduler/cluster/fields.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;
using namespace scheduler;

/// By a probe, to more digits in the file than the measurement is worth.
bool is_measured(const Figure& figure) { return figure.source.starts_with("measured"); }

json figures_of(const Cluster& cluster) {
  json rows = json::array();
  const auto add = [&](const std::string& path, Unit unit, const Figure& figure) {
    if (figure.given())
      rows.push_back({{"figure", path},
                      {"value", figure.value},
                      {"text", is_measured(figure) ? rounded_text(unit, figure.value)
                                                   : figure_text(unit, figure.value)},
                      {"source", figure.source}});
  };
  for (const ClusterField& field : cluster_fields())
    add(std::string(field.path), field.unit, field.of(cluster));
  for (const ExchangeRate& rate : cluster.exchange) {
    const std::string path = fmt::format("exchange of {}", rate.ranks);
    add(path + ", dispatch", Unit::Bandwidth, rate.dispatch);
    add(path + ", combine", Unit::Bandwidth, rate.combine);
  }
  return rows;
}

/// Measuring takes long: what cannot be written afterwards is said before.
Expected<void> prepare_output(const std::string& output) {
  if (output.empty()) return {};
  if (output == kept_cluster()) {
    std::error_code ignored;  // the look below says what is wrong
    std::filesystem::create_directories(kept_cluster().parent_path(), ignored);
  }
  const auto parent = std::filesystem::absolute(output).parent_path();
  if (::access(parent.c_str(), W_OK | X_OK) == 0) return {};
  const int error = errno;
  return fail(error == ENOENT ? Code::NotFound : Code::Io,
              "cannot write " + output + ": " + parent.string() + ": " + std::strerror(error) +
                  "; choose another file with -o");
}

/// The description, to the file or to stdout.
int write_out(const std::string& text, const std::string& output, Io& io) {
  if (output.empty()) {
    io.out << text;
    return kOk;
  }
  const auto written = write_file_atomically(output, text);
  return written ? kOk : report(written.error(), io);
}

Expected<std::vector<GpuDevice>> find_gpus(const ClusterProbeOptions& options) {
  const char* const other = std::getenv("WEFT_NVML_LIBRARY");
  if (!options.nvml.empty()) return gpu_devices(options.nvml);
  return gpu_devices(other != nullptr && *other != 0 ? other : kNvmlLibrary);
}

/// What the description rests on, for whoever plans with it.
void tell_gpus(const GpuCluster& described, const Rails& rails, Io& io) {
  const Cluster& c = described.cluster;
  std::vector<std::string> told = {"their number"};
  for (const auto& [what, figure] :
       {std::pair{"memory", &c.gpu.memory}, std::pair{"power limit", &c.gpu.power},
        std::pair{"active NVLinks", &c.node.nvlink_bandwidth}})
    if (figure->source.find(kFromDriver) != std::string::npos) told.emplace_back(what);
  io.err << fmt::format("{} {} found; this machine's, as its driver says: {}.\n", c.num_gpus(),
                        c.gpu.name, join(told, ", "));
  if (rails.nics > 0)
    io.err << fmt::format("{} NICs of {} beside them, as the kernel says.\n", rails.nics,
                          figure_text(Unit::Bandwidth, rails.rate));
  else
    io.err << "No active InfiniBand or RoCE port: to plan more than one such node, give node.nics "
              "and node.nic_bandwidth.\n";
  io.err << "Nothing is measured, for this build has no CUDA: rates are those of data sheets and "
            "publications, from "
         << described.from << ".\nThis build trains on the processor: weft cluster probe --cpu\n";
}

int describe(const std::vector<GpuDevice>& devices, const ClusterProbeOptions& options, Io& io) {
  if (!options.output.empty() && options.output == kept_cluster())
    return report({Code::InvalidArgument,
                   options.output + " is what runs on this machine compare themselves with, and "
                                    "this build trains on the processor: add --cpu, or choose "
                                    "another file with -o"},
                  io);
  const std::vector<NicPort> ports =
      nic_ports(options.infiniband.empty() ? kInfinibandRoot : options.infiniband);
  const auto described = describe_gpus(devices, ports, shipped_clusters());
  if (!described) return report(described.error(), io);
  const ClusterProbeOptions usual;
  if (options.workers != usual.workers || options.seconds != usual.seconds)
    io.err << "--workers and --seconds are for measuring the processor (--cpu): not used.\n";
  tell_gpus(*described, rails_of(ports, described->cluster.gpus_per_node()), io);
  const std::string text = cluster_yaml(
      described->cluster,
      "# This machine's GPUs, by weft cluster probe. Nothing was measured: what the driver (NVML)\n"
      "# and the kernel (sysfs) say is this machine's; the rest is of " +
          described->from + ".\n# Not in here: storage, and exchanges over several nodes.\n");
  const int exit = write_out(text, options.output, io);
  if (exit == kOk && !options.output.empty())
    io.err << "Plan with it: weft plan JOB --cluster " << options.output << "\n";
  return exit;
}

}  // namespace

int verb_cluster_show(const ClusterShowOptions& options, Io& io) {
  const LoadedCluster loaded = load_cluster(options.file);
  io.err << print(loaded.diagnostics, {.color = io.color_err, .consequence = ""});
  if (!loaded.ok()) return kConfiguration;
  const Cluster& c = loaded.cluster;
  const json rows = figures_of(c);
  if (options.format == Format::Table)
    io.out << fmt::format("{}: {} nodes x {} {} = {} GPUs, {} leaf switch{}\n\n", c.name,
                          c.num_nodes(), c.gpus_per_node(), c.gpu.name, c.num_gpus(),
                          c.num_leaves(), c.num_leaves() == 1 ? "" : "es");
  print_list(io, options.format, "cluster", rows,
             {{"FIGURE", [](const json& r) { return cell(r, "figure"); }},
              {"VALUE", [](const json& r) { return cell(r, "text"); }, true},
              {"SOURCE", [](const json& r) { return cell(r, "source"); }}},
             "figure");
  return kOk;
}

int verb_cluster_probe(const ClusterProbeOptions& options, Io& io) {
  if (const auto writable = prepare_output(options.output); !writable)
    return report(writable.error(), io);
  if (!options.cpu) {
    const auto devices = find_gpus(options);
    if (!devices) return report(devices.error(), io);
    if (!devices->empty()) return describe(*devices, options, io);
    io.err << "No NVIDIA GPU was found: the processor is measured.\n";
  }
  const std::string program = options.seconds < kQuickLook ? "" : "/proc/self/exe";
  const auto cluster =
      probe_machine({options.seconds, options.workers, program},
                    [&](const std::string& what) { io.err << "  " << what << "\n"; });
  if (!cluster) return report(cluster.error(), io);
  const std::string text = cluster_yaml(
      *cluster,
      "# Measured on this machine by weft cluster probe. A worker is a device: what it\n"
      "# gets while " +
          std::to_string(static_cast<int>(cluster->node.gpus.value)) +
          " of them compute at once.\n");
  const int exit = write_out(text, options.output, io);
  if (exit != kOk || options.output.empty()) return exit;
  io.err << "Plan with it: weft plan deploy/jobs/r1-zero-arithmetic.yaml --cluster "
         << options.output << "\n";
  if (options.output == kept_cluster())
    io.err << "Runs on this machine compare themselves with it: weft status, weft drift\n";
  return kOk;
}

}  // namespace weft::cli
