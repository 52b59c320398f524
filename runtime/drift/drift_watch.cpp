#include "runtime/drift/drift_watch.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "runtime/cluster/cluster_file.h"
#include "runtime/plan/work_of_job.h"
#include "runtime/store/ring_file.h"

namespace weft::runtime {
namespace {

// The first steps meet products for the first time and fill caches; then so many that a ring holds
// only steps behind them.
constexpr long long kSteps = 24;

Expected<Drift> compare_run(const Job& job, const std::filesystem::path& cluster,
                            const std::filesystem::path& traces) {
  const LoadedCluster loaded = load_cluster(cluster);
  if (!loaded.ok())
    return fail(Code::InvalidArgument,
                cluster.string() + " cannot be used: " + loaded.diagnostics.front().message);
  WEFT_TRY_ASSIGN(const scheduler::Work work, work_of(job));
  const RingFiles files = read_ring_files(traces);
  return compare(dualpipe::measured_steps(files.recordings), work, loaded.cluster);
}

}  // namespace

std::filesystem::path kept_cluster() {
  if (const char* config = std::getenv("XDG_CONFIG_HOME"); config != nullptr && *config != 0)
    return std::filesystem::path(config) / "weft" / "this-host.yaml";
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == 0) return {};
  return std::filesystem::path(home) / ".config" / "weft" / "this-host.yaml";
}

std::filesystem::path known_cluster() {
  const std::filesystem::path kept = kept_cluster();
  std::error_code ignored;
  return !kept.empty() && std::filesystem::exists(kept, ignored) ? kept : std::filesystem::path();
}

std::unique_ptr<DriftWatch> DriftWatch::of(const Job& job, std::filesystem::path traces) {
  if (job.trace.steps == 0) return nullptr;
  std::filesystem::path cluster = known_cluster();
  if (cluster.empty()) return nullptr;
  return std::unique_ptr<DriftWatch>(new DriftWatch(job, std::move(cluster), std::move(traces)));
}

DriftWatch::DriftWatch(const Job& job, std::filesystem::path cluster, std::filesystem::path traces)
    : job_(job), cluster_(std::move(cluster)), traces_(std::move(traces)) {}

void DriftWatch::look(long long last_step) {
  if (begun_ || last_step <= 0) return;
  if (first_step_ < 0) first_step_ = last_step;
  if (last_step < first_step_ + kSteps) return;
  begun_ = true;
  thread_ = std::jthread([this] { compare_now(); });
}

void DriftWatch::compare_now() {
  constexpr int kLowest = 19;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kLowest);
  found_ = compare_run(job_, cluster_, traces_);
  done_ = true;
}

std::optional<Expected<Drift>> DriftWatch::take() {
  if (!done_ || taken_) return std::nullopt;
  taken_ = true;
  return std::move(found_);
}

}  // namespace weft::runtime
