#include "runtime/watch/diagnose.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "dualpipe/ring.h"
#include "dualpipe/stage.h"
#include "runtime/store/ring_file.h"
#include "runtime/watch/process_state.h"

namespace weft::runtime {

using dualpipe::Culprit;
using dualpipe::Here;
using dualpipe::RankHere;
using dualpipe::Standing;
using dualpipe::Wait;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

struct Look {
  std::map<int, RankHere> ranks;
  std::vector<std::string> unreadable;
};

Look look(const fs::path& traces) {
  Look found;
  std::error_code error;
  for (fs::directory_iterator entry(traces, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() != ".ring") continue;
    if (auto one = read_here_file(entry->path()))
      found.ranks[one->info.rank] = *one;
    else
      found.unreadable.push_back(one.error().message);
  }
  std::ranges::sort(found.unreadable);
  int newest = 0;
  for (const auto& [rank, one] : found.ranks) newest = std::max(newest, one.info.attempt);
  std::erase_if(found.ranks, [&](const auto& one) { return one.second.info.attempt < newest; });
  return found;
}

/// On our monotonic clock, or as the wall clocks of the two hosts have it.
std::int64_t age_ns(const RankHere& one, const Clock& clock) {
  const std::int64_t now = clock.now().time_since_epoch().count();
  if (one.info.clock == clock_name()) return std::max<std::int64_t>(now - one.here.since_ns, 0);
  const std::int64_t wall = clock.wall_now().time_since_epoch().count();
  const std::int64_t since = one.info.wall_ns + (one.here.since_ns - one.info.monotonic_ns);
  return std::max<std::int64_t>(wall - since, 0);
}

/// Nobody is left who could be blamed for being gone: what counts is who waited for whom before.
void settle_over(RunDiagnosis& run) {
  run.over = std::ranges::all_of(run.standings, [](const Standing& one) {
    return !one.known || one.process == Standing::Process::Gone;
  });
  if (!run.over) return;
  std::int64_t last = INT64_MAX;
  for (const Standing& one : run.standings)
    if (one.known) last = std::min(last, one.age_ns);
  for (Standing& one : run.standings) {
    one.process = Standing::Process::Unknown;
    if (one.known) one.age_ns -= last;
  }
}

json culprit_json(const Culprit& culprit, const Standing& standing) {
  const Here& here = standing.here;
  json out = {{"rank", culprit.rank},
              {"why", std::string(to_string(culprit.why))},
              {"waiters", culprit.waiters},
              {"text", describe(culprit, standing)}};
  if (!standing.known) return out;
  out["action"] = here.action;
  out["standing"] = describe(here);
  out["step"] = here.step;
  out["pass"] = std::string(to_string(here.program));
  out["seconds"] = static_cast<double>(standing.age_ns) * 1e-9;
  if (here.action < 0 || here.place != dualpipe::Place::None) return out;
  out["op"] = std::string(to_string(static_cast<dualpipe::Op>(here.op)));
  out["stage"] = here.stage;
  out["micro_batch"] = here.micro_batch;
  out["direction"] = here.direction;
  if (here.turn > 0) {
    out["phase"] = std::string(to_string(static_cast<dualpipe::PhaseKind>(here.phase)));
    out["layer"] = here.layer;
    out["backward"] = here.backward != 0;
  }
  return out;
}

}  // namespace

Expected<RunDiagnosis> diagnose_run(const fs::path& traces, const Clock& clock,
                                    const DiagnoseOptions& options) {
  Look first = look(traces);
  if (first.ranks.empty())
    return fail(Code::NotFound,
                "no rank tells where it stands: " +
                    (first.unreadable.empty() ? traces.string() + " has no rings (trace.steps = 0?)"
                                              : first.unreadable.front()));
  std::this_thread::sleep_for(options.look_again);
  const Look second = options.look_again > Duration(0) ? look(traces) : first;
  RunDiagnosis run;
  run.unreadable = second.unreadable;
  const dualpipe::RingInfo& info = first.ranks.begin()->second.info;
  run.world = {first.ranks.begin()->second.kind, info.ranks, info.world / std::max(1, info.ranks),
               info.expert, info.micro_batches};
  run.standings.resize(static_cast<std::size_t>(run.world.world()));
  for (const auto& [rank, one] : second.ranks) {
    const bool same = one.info.world == info.world && one.info.ranks == info.ranks &&
                      one.info.kind == info.kind && one.info.micro_batches == info.micro_batches;
    if (!same || rank >= run.world.world()) {
      run.unreadable.push_back("rank " + std::to_string(rank) + " runs by another schedule");
      continue;
    }
    Standing& standing = run.standings[static_cast<std::size_t>(rank)];
    standing.known = true;
    standing.here = one.here;
    standing.age_ns = age_ns(one, clock);
    const auto before = first.ranks.find(rank);
    standing.moving = before != first.ranks.end() && before->second.here != one.here;
    if (one.info.clock == clock_name())
      standing.process = process_state(one.info.pid, one.info.monotonic_ns);
  }
  settle_over(run);
  WEFT_TRY_ASSIGN(run.found, find_waits(run.world, run.standings));
  run.text = to_text(run.found, run.standings);
  return run;
}

json to_json(const RunDiagnosis& diagnosis) {
  json culprits = json::array(), waits = json::array();
  for (const Culprit& culprit : diagnosis.found.culprits)
    culprits.push_back(
        culprit_json(culprit, diagnosis.standings[static_cast<std::size_t>(culprit.rank)]));
  for (const Wait& wait : diagnosis.found.chain)
    waits.push_back(
        {{"from", wait.from},
         {"to", wait.to},
         {"text", describe(wait, diagnosis.standings[static_cast<std::size_t>(wait.from)])}});
  json out = {{"text", diagnosis.text},
              {"over", diagnosis.over},
              {"culprits", std::move(culprits)},
              {"waits", std::move(waits)}};
  if (diagnosis.culprit() >= 0) out["culprit"] = diagnosis.culprit();
  if (!diagnosis.unreadable.empty()) out["unreadable"] = diagnosis.unreadable;
  return out;
}

}  // namespace weft::runtime
