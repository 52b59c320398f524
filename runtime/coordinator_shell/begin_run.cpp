#include "runtime/coordinator_shell/begin_run.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/agent/claims.h"
#include "runtime/coordinator/state_json.h"
#include "trainer/checkpoint/catalog.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// The line of a run that was made before there were journals: each attempt went on from the
/// newest checkpoint of those before it.
std::vector<LineEntry> line_of(std::vector<Checkpoint> checkpoints) {
  std::ranges::sort(checkpoints, {},
                    [](const Checkpoint& c) { return std::pair(c.generation, c.step); });
  std::vector<LineEntry> line;
  std::int64_t newest = 0;
  for (const Checkpoint& checkpoint : checkpoints) {
    if (line.empty() || line.back().generation != checkpoint.generation)
      line.push_back({checkpoint.generation, newest});
    newest = std::max(newest, checkpoint.step);
  }
  return line;
}

/// What the run knows beyond its end: what ran, and what its lost agents may still have to say. Not
/// which checkpoints were damaged: somebody may have restored them.
CoordinatorState go_on(CoordinatorState before, int world, Instant now) {
  CoordinatorState state = start_state(world, now, {});
  state.line = std::move(before.line);
  state.generation = before.generation;
  state.best_step = before.best_step;
  state.saved_step = before.saved_step;
  state.save.id = before.save.id;
  state.saves_done = before.saves_done;
  state.spools = std::move(before.spools);
  for (const auto& [name, node] : before.nodes)
    if (!node.left) state.spools[{name, node.incarnation}] = now;
  return state;
}

Expected<std::int64_t> attempt_of(const RunPaths& paths) {
  const auto text = read_file(paths.run(), std::size_t{1} << 24);
  if (!text) return 0;
  const json state = json::parse(*text, nullptr, false);
  const bool known =
      state.is_object() && state.contains("attempt") && state["attempt"].is_number_integer();
  return known ? state["attempt"].get<std::int64_t>() : 0;
}

}  // namespace

Expected<LastKnown> last_known(const RunPaths& paths, std::int64_t below, Instant now) {
  for (std::int64_t term = below; term > 0; --term) {
    WEFT_TRY_ASSIGN(auto entry, read_journal(term_journal(paths, term)));
    if (!entry || entry->state.empty()) continue;
    const json object = json::parse(entry->state, nullptr, false);
    auto state = state_from_json(object, now);
    if (!state) return fail_in(term_journal(paths, term).string(), state.error());
    return LastKnown{std::move(*entry), std::move(*state)};
  }
  return fail(Code::NotFound, "no coordinator of " + paths.root.string() +
                                  " has left a journal; start the run with 'weft run'");
}

Expected<std::vector<Checkpoint>> complete_checkpoints(const RunPaths& paths) {
  namespace checkpoint = trainer::checkpoint;
  WEFT_TRY_ASSIGN(const auto entries, checkpoint::list(paths.checkpoints()));
  std::vector<Checkpoint> complete;
  for (const checkpoint::Entry& entry : entries)
    if (entry.state == checkpoint::EntryState::Complete)
      complete.push_back({static_cast<std::int64_t>(entry.step),
                          static_cast<std::int64_t>(entry.attempt), entry.name});
  return complete;
}

Expected<void> can_go_on(const RunPaths& paths, const Clock& clock) {
  WEFT_TRY_ASSIGN(const std::int64_t highest, highest_term(paths));
  const auto known = last_known(paths, highest, clock.now());
  if (!known && known.error().code != Code::NotFound) return tl::unexpected(known.error());
  return {};
}

Expected<void> begin_run(const RunPaths& paths, int world, const Clock& clock) {
  WEFT_TRY_ASSIGN(const std::int64_t highest, highest_term(paths));
  auto known = last_known(paths, highest, clock.now());
  if (!known && known.error().code != Code::NotFound) return tl::unexpected(known.error());
  JournalEntry entry;
  CoordinatorState state;
  if (known) {
    entry = std::move(known->entry);
    state = go_on(std::move(known->state), world, clock.now());
  } else {
    state = start_state(world, clock.now(), {});
    WEFT_TRY_ASSIGN(const auto checkpoints, complete_checkpoints(paths));
    state.line = line_of(checkpoints);
    for (const Checkpoint& one : checkpoints)
      state.saved_step = state.best_step = std::max(state.saved_step, one.step);
    // Numbers of before are taken: what they left behind must not be mixed with ours. The present
    // attempt has been counted already.
    WEFT_TRY_ASSIGN(const std::int64_t attempt, attempt_of(paths));
    state.generation = std::max<std::int64_t>(attempt - 1, 0);
    for (const LineEntry& one : state.line)
      state.generation = std::max(state.generation, one.generation);
    std::error_code error;
    entry.files.metrics = fs::file_size(paths.metrics(), error);
    if (error) entry.files.metrics = 0;
    entry.files.events = fs::file_size(paths.events(), error);
    if (error) entry.files.events = 0;
  }
  Claim claim;
  claim.term = highest + 1;
  claim.node = "submission";
  claim.abdicated = true;
  WEFT_TRY_ASSIGN(const bool ours, take_term(paths, claim));
  if (!ours)
    return fail(Code::Busy, paths.root.string() + " is being taken over by another process");
  entry.state = to_json(state, clock.now()).dump();
  WEFT_TRY(Journal::create(term_journal(paths, claim.term), entry));
  remove_old_terms(paths, claim.term);
  return {};
}

}  // namespace weft::runtime
