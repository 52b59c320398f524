#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/files.h"
#include "base/text.h"
#include "runtime/cli/render.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/cluster/cluster_file.h"
#include "runtime/drift/drift_json.h"
#include "runtime/drift/drift_watch.h"
#include "runtime/job/load.h"
#include "runtime/plan/work_of_job.h"
#include "runtime/store/ring_file.h"
#include "runtime/store/run_store.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;

}  // namespace

int verb_drift(const DriftOptions& options, Io& io) {
  const auto root = find_run(options.run);
  if (!root) return report(root.error(), io);
  if (is_rehearsal(*root))
    return report({Code::InvalidArgument,
                   root->string() + " is a rehearsal: its steps are the time model's own, so there "
                                    "is nothing to compare with it"},
                  io);
  const RunPaths paths{*root};
  const Loaded loaded =
      load_job(paths.resolved(), {.overrides = {}, .check_files = false, .here = false});
  const std::string file = !options.cluster.empty() ? options.cluster : known_cluster().string();
  if (file.empty()) {
    io.err << "weft: on which cluster did it run? --cluster FILE; weft cluster probe --cpu -o "
           << kept_cluster().string() << " describes this machine for all its runs\n";
    return kUsage;
  }
  LoadedCluster cluster = load_cluster(file);
  io.err << print(cluster.diagnostics, {.color = io.color_err, .consequence = "nothing compared"});
  if (!loaded.ok())
    return report({Code::Corrupt, paths.resolved().string() + " cannot be read back"}, io);
  if (!cluster.ok()) return kConfiguration;
  const auto work = work_of(loaded.job);
  if (!work) return report(work.error(), io);
  const RingFiles files = read_ring_files(paths.traces());
  const auto steps = dualpipe::measured_steps(files.recordings);
  const auto drift = compare(steps, *work, cluster.cluster);
  if (!drift) return report(drift.error(), io);
  const bool to_stdout = options.write == "-";
  if (options.format == Format::Table)
    (to_stdout ? io.err : io.out) << describe(*drift);
  else
    print_object(io, options.format, "drift", to_json(*drift), "step", {});
  if (options.write.empty()) return kOk;
  const auto corrected = calibrated(steps, *work, cluster.cluster, root->filename().string());
  if (!corrected) return report(corrected.error(), io);
  const std::string comment = "# " + cluster.cluster.name +
                              ", calibrated by the recorded steps of " + root->filename().string() +
                              "\n";
  if (to_stdout) {
    io.out << cluster_yaml(*corrected, comment);
    return kOk;
  }
  if (const auto written = write_file_atomically(options.write, cluster_yaml(*corrected, comment));
      !written)
    return report(written.error(), io);
  if (const auto again = compare(steps, *work, *corrected))
    io.err << "calibrated: step predicted " << fmt::format("{:.4g}", again->step_predicted)
           << " s, measured " << fmt::format("{:.4g}", again->step_measured) << " s; written to "
           << options.write << "\nleft as they were: " << join(not_calibrated(*corrected), ", ")
           << "\n";
  return kOk;
}

}  // namespace weft::cli
