#include "runtime/worker/recipe_copies.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/units.h"
#include "comm/communicator.h"
#include "runtime/coordinator/messages.h"
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

Expected<void> RecipeCopies::open() {
  const CheckpointJob& job = run_.job.checkpoint;
  if (job.memory_every_steps == 0) return {};
  double bytes = static_cast<double>(run_.engine->state_bytes());
  WEFT_TRY(comm::all_reduce_sum(run_.engine->world(), std::span(&bytes, 1)));
  if (!run_.reports()) return {};
  std::string why = run_.options.no_memory;
  if (!run_.options.memory.empty()) {
    MemoryRoom room;
    room.held = clear_older(run_.options.memory, run_.resumed_from);
    room.available = available_memory();
    room.limit = job.memory_limit_gib * kGib;
    struct statvfs status {};
    if (::statvfs(run_.options.memory.c_str(), &status) == 0)
      room.free_in_root =
          static_cast<double>(status.f_bavail) * static_cast<double>(status.f_frsize);
    why = why_no_room(bytes, room);
  }
  on_ = why.empty();
  if (on_)
    run_.event("memory_copies",
               "the state (" + amount(bytes) + ") is copied into memory every " +
                   std::to_string(job.memory_every_steps) + " steps",
               {{"directory", run_.options.memory.string()}, {"bytes", bytes}});
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
  stall_seconds_ += seconds(run_.clock.now() - start);
}

void RecipeCopies::tell_finished() {
  if (!on_) return;
  const auto copied = run_.engine->finished_copies();
  if (copied) {
    for (const Engine::Saved& one : *copied) run_.reporter.copied(one.step, in_memory(one.name));
    return;
  }
  on_ = false;
  run_.event("warning", "the state could not be copied into memory (" + copied.error().message +
                            "); there will be no such copies until the workers start again, and "
                            "checkpoints go to the disk alone");
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
