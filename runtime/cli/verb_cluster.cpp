#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/files.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/cluster/cluster_file.h"
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
  io.err << "This build has no CUDA: the processor is measured, not a GPU.\n";
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
  if (options.output.empty()) {
    io.out << text;
    return kOk;
  }
  if (const auto written = write_file_atomically(options.output, text); !written)
    return report(written.error(), io);
  io.err << "Plan with it: weft plan deploy/jobs/r1-zero-arithmetic.yaml --cluster "
         << options.output << "\n";
  if (options.output == kept_cluster())
    io.err << "Runs on this machine compare themselves with it: weft status, weft drift\n";
  return kOk;
}

}  // namespace weft::cli
