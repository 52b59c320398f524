#include "runtime/worker/recipe_copies.h"

#include <sys/statvfs.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/units.h"
#include "comm/communicator.h"
#include "runtime/coordinator/messages.h"
#include "runtime/log/log.h"
#include "runtime/worker/node_copies.h"
#include "runtime/worker/recipe_saves.h"
#include "trainer/checkpoint/catalog.h"

namespace weft::runtime {

namespace checkpoint = trainer::checkpoint;

namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;
constexpr int kKept = 2;  // the one before stays until the agent has heard of the newest

std::string amount(double bytes) { return format_bytes(static_cast<std::uint64_t>(bytes)); }

double available_memory() {
  std::ifstream file("/proc/meminfo");
  double kibibytes = 0;
  for (std::string key; file >> key; file.ignore(256, '\n'))
    if (key == "MemAvailable:" && file >> kibibytes) break;
  return 1024 * kibibytes;
}

/// Removes what the run does not go on from: of generations before, which nobody will choose.
double clear_older(const std::filesystem::path& memory, const std::string& resumed_from) {
  double held = 0;
  const auto entries = checkpoint::list(memory);
  for (const checkpoint::Entry& entry : entries ? *entries : std::vector<checkpoint::Entry>()) {
    if (in_memory(entry.name) == resumed_from)
      held += static_cast<double>(entry.bytes);
    else
      (void)checkpoint::Disk::real().remove_tree(entry.directory);
  }
  return held;
}

}  // namespace

std::string why_no_room(double bytes_of_copy, const MemoryRoom& room) {
  const double files = (kKept + 1) * bytes_of_copy, all = files + bytes_of_copy;
  const std::string wanted = "three copies of " + amount(bytes_of_copy) + " are wanted";
  if (room.limit > 0 && files > room.limit)
    return wanted + ", and checkpoint.memory_limit is " + amount(room.limit);
  if (files > room.free_in_root + room.held)
    return wanted + ", and the memory file system has " + amount(room.free_in_root) + " free";
  if (all > (room.available + room.held) / 2)
    return wanted + " and a buffer of that size, and the node has " + amount(room.available) +
           " of memory available, half of which is not to be taken";
  return "";
}

/// `bytes`: of what is to be kept here.
std::string RecipeCopies::why_not_here(double bytes) {
  if (run_.options.memory.empty()) return run_.options.no_memory;
  MemoryRoom room;
  room.held = clear_older(run_.options.memory, run_.resumed_from);
  room.available = available_memory();
  room.limit = run_.job.checkpoint.memory_limit_gib * kGib;
  struct statvfs status {};
  if (::statvfs(run_.options.memory.c_str(), &status) == 0)
    room.free_in_root = static_cast<double>(status.f_bavail) * static_cast<double>(status.f_frsize);
  return why_no_room(bytes, room);
}

/// Collective: the same on every rank. A node keeps what its ranks write, and what those of the
/// node write whose replica it has.
Expected<std::string> RecipeCopies::why_not() {
  const CopyNodes& nodes = run_.nodes;
  comm::Communicator& world = run_.engine->world();
  std::vector<double> by_rank(static_cast<std::size_t>(world.size()));
  const auto mine = static_cast<double>(run_.engine->state_bytes());
  WEFT_TRY(comm::all_gather(world, std::as_bytes(std::span(&mine, 1)),
                            std::as_writable_bytes(std::span(by_rank))));
  std::vector<double> by_node(static_cast<std::size_t>(nodes.size()));
  for (std::size_t rank = 0; rank < by_rank.size(); ++rank) {
    by_node[static_cast<std::size_t>(nodes.node_of_rank[rank])] += by_rank[rank];
    bytes_ += by_rank[rank];
  }
  std::string why;
  if (nodes.carries(world.rank())) {
    const int node = nodes.node_of_rank[static_cast<std::size_t>(world.rank())];
    const int replica = nodes.replica_of(node);
    why = why_not_here(by_node[static_cast<std::size_t>(node)] +
                       (replica < 0 ? 0 : by_node[static_cast<std::size_t>(replica)]));
  }
  WEFT_TRY_ASSIGN(const auto said, comm::all_gather_text(world, why));
  for (int node = 0; node < nodes.size(); ++node)
    if (const std::string& one = said[static_cast<std::size_t>(nodes.carrier(node))]; !one.empty())
      return nodes.size() == 1 ? one
                               : "node " + nodes.names[static_cast<std::size_t>(node)] + ": " + one;
  return "";
}

/// Collective. Returns why not, the same on every rank.
Expected<std::string> RecipeCopies::share() {
  NodeCopiesOptions options;
  options.listen = run_.options.listen;
  options.secret = run_.options.secret;
  options.generation = static_cast<std::uint64_t>(run_.options.attempt);
  options.keep = kKept;
  options.join_bound =
      std::chrono::milliseconds(static_cast<std::int64_t>(run_.job.control.wait_bound_s * 1e3));
  auto shared = NodeCopies::open(run_.engine->world(), run_.nodes, options);
  if (!shared) return "the nodes cannot reach each other for it (" + shared.error().message + ")";
  run_.engine->share_copies(std::move(*shared));
  return "";
}

Expected<void> RecipeCopies::open() {
  const CheckpointJob& job = run_.job.checkpoint;
  if (job.memory_every_steps == 0) return {};
  const int nodes = run_.nodes.size();
  WEFT_TRY_ASSIGN(std::string why, why_not());
  if (why.empty() && nodes > 1) {
    WEFT_TRY_ASSIGN(why, share());
  }
  tells_ = why.empty() && run_.nodes.carries(run_.engine->rank());
  on_ = why.empty() && run_.reports();
  if (why.empty())
    run_.event("memory_copies",
               "the state (" + amount(bytes_) + ") is copied into memory every " +
                   std::to_string(job.memory_every_steps) + " steps" +
                   (nodes > 1 ? ", each of " + std::to_string(nodes) +
                                    " nodes keeping its own part and that of another one"
                              : ""),
               {{"directory", run_.options.memory.string()}, {"bytes", bytes_}});
  else
    run_.event("memory_copies",
               "no copies of the state in memory: " + why + "; checkpoints go to the disk alone");
  return {};
}

void RecipeCopies::before_step() {
  // One that is not whole yet is not waited for: the next turn will do.
  if (on_ && (run_.state.step + 1) % run_.job.checkpoint.memory_every_steps == 0 &&
      !run_.engine->is_copying())
    run_.engine->want_copy();
}

void RecipeCopies::after_step() {
  tell_finished();
  allow_when_flushed();
  if (run_.engine->is_copy_wanted()) begin();
}

void RecipeCopies::begin() {
  const Instant start = run_.clock.now();
  Engine::SaveInfo info = save_info(run_);
  info.directory = run_.options.memory;
  info.keep = kKept;
  info.keep_every_steps = 0;
  info.keep_every_seconds = 0;
  run_.engine->begin_copy(info);
  if (on_ && run_.nodes.size() > 1) flush_ = {run_.reporter.begin_flush(), run_.state.step};
  allow_when_flushed();
  stall_seconds_ += seconds(run_.clock.now() - start);
}

/// With its node a rank's records may go that nobody has taken yet. So no node commits a copy of
/// steps whose records are not kept elsewhere; on a single node they go together.
void RecipeCopies::allow_when_flushed() {
  if (!flush_ || !run_.reporter.is_flushed(flush_->number)) return;
  run_.engine->allow_copy(flush_->step);
  flush_.reset();
}

void RecipeCopies::tell_finished() {
  if (!tells_) return;
  const auto copied = run_.engine->finished_copies();
  const int node = run_.nodes.node_of_rank[static_cast<std::size_t>(run_.engine->rank())];
  if (copied) {
    for (const Engine::Saved& one : *copied)
      run_.reporter.copied({{one.step, run_.options.attempt, in_memory(one.name)},
                            run_.nodes.size(),
                            node,
                            run_.nodes.replica_of(node)});
    return;
  }
  on_ = tells_ = false;
  run_.event("warning", "the state could not be copied into memory (" + copied.error().message +
                            "); there will be no such copies until the workers start again, and "
                            "checkpoints go to the disk alone");
  if (!run_.reports()) log_warning("no more copies in memory: " + copied.error().message);
  // What is left half written would only take room.
  const auto entries = checkpoint::list_names(run_.options.memory);
  for (const checkpoint::Entry& entry : entries ? *entries : std::vector<checkpoint::Entry>())
    if (entry.state == checkpoint::EntryState::Partial)
      (void)checkpoint::Disk::real().remove_tree(entry.directory);
}

void RecipeCopies::add_cost(nlohmann::json& record) {
  if (stall_seconds_ > 0) record["memory_copy_seconds"] = std::exchange(stall_seconds_, 0.0);
}

}  // namespace weft::runtime
