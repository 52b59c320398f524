#include "runtime/worker/peers.h"

#include <elf.h>
#include <link.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "dualpipe/text.h"
#include "runtime/control/control.h"

namespace weft::runtime {
namespace {

std::string hex(std::uint64_t value) {
  std::array<char, 17> text;
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
  return text.data();
}

/// The GNU build id among an object's notes; "" when there is none.
std::string build_id_in(const char* notes, std::size_t size) {
  const auto aligned = [](std::size_t n) { return (n + 3) / 4 * 4; };
  for (std::size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes + at, sizeof note);
    const std::size_t name = at + sizeof note, data = name + aligned(note.n_namesz);
    if (data + note.n_descsz > size) break;
    const bool wanted = note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
                        std::memcmp(notes + name, "GNU", 4) == 0;
    if (wanted) {
      std::string text;
      for (std::size_t i = 0; i < note.n_descsz && i < 6; ++i) {
        std::array<char, 3> byte;
        std::snprintf(byte.data(), byte.size(), "%02x",
                      static_cast<unsigned>(static_cast<unsigned char>(notes[data + i])));
        text += byte.data();
      }
      return text;
    }
    at = data + aligned(note.n_descsz);
  }
  return "";
}

/// The first object is this program.
int take_build_id(dl_phdr_info* object, std::size_t, void* result) {
  auto& text = *static_cast<std::string*>(result);
  for (int i = 0; i < object->dlpi_phnum && text.empty(); ++i) {
    const ElfW(Phdr)& part = object->dlpi_phdr[i];
    if (part.p_type != PT_NOTE) continue;
    text =
        build_id_in(reinterpret_cast<const char*>(object->dlpi_addr + part.p_vaddr), part.p_memsz);
  }
  return 1;
}

std::string text_of(const scheduler::Placement& placement) {
  std::string text;
  const auto add = [&](int value) { text += std::to_string(value) + ' '; };
  for (const scheduler::RankPlace& place : placement.ranks) {
    for (const int value : {place.rank, place.position, place.lane, place.expert_shard}) add(value);
    for (const int stage : place.stages) add(stage);
    text += '\n';
  }
  for (const scheduler::StageLayers& layers : placement.stages) {
    add(layers.first);
    add(layers.count);
  }
  return text;
}

}  // namespace

std::string build_fingerprint() {
  std::string id;
  ::dl_iterate_phdr(take_build_id, &id);
  return "weft " WEFT_VERSION ", compiler " __VERSION__ ", build " + (id.empty() ? "-" : id) +
         ", wire " + std::to_string(kControlVersion);
}

std::string plan_fingerprint(const scheduler::Placement& placement,
                             const dualpipe::Schedule& lowered, bool overlap) {
  const scheduler::Layout& layout = placement.layout;
  return std::string(dualpipe::to_string(layout.kind)) + ", pipeline " +
         std::to_string(layout.pipeline) + ", data " + std::to_string(layout.data) + ", expert " +
         std::to_string(layout.expert) + ", " + std::to_string(layout.micro_batches) +
         " micro-batches, overlap " + (overlap ? "on" : "off") + ", schedule " +
         hex(fnv1a(dualpipe::to_text(lowered))) + ", placement " + hex(fnv1a(text_of(placement)));
}

Expected<void> check_peers(comm::Communicator& world, std::string_view mine) {
  world.set_serving("the comparison of builds and schedules");
  auto gathered = comm::all_gather_text(world, mine);
  world.set_serving({});
  if (!gathered) return tl::unexpected(std::move(gathered).error());
  std::map<std::string, std::string> ranks;  // fingerprint -> "0, 1"
  std::vector<const std::string*> order;     // as they first appear
  for (std::size_t rank = 0; rank < gathered->size(); ++rank) {
    const auto [found, is_new] = ranks.try_emplace((*gathered)[rank]);
    if (is_new) order.push_back(&found->first);
    found->second += (is_new ? "" : ", ") + std::to_string(rank);
  }
  if (ranks.size() == 1) return {};
  std::string message = "the ranks are not of one build and schedule, so nothing was started:";
  for (const std::string* fingerprint : order) {
    const std::string& who = ranks.at(*fingerprint);
    const bool several = who.find(',') != std::string::npos;
    message += (several ? "\n  ranks " : "\n  rank ") + who + ": " + *fingerprint;
  }
  return fail(Code::InvalidArgument, message);
}

Expected<std::map<std::string, std::unique_ptr<comm::Communicator>>> make_groups(
    comm::Transport& transport, const scheduler::Placement& placement,
    std::chrono::milliseconds wait_bound, std::string_view fingerprint) {
  std::map<std::string, std::unique_ptr<comm::Communicator>> result;
  const auto make = [&](const std::vector<comm::GroupSpec>& specs) -> Expected<void> {
    WEFT_TRY_ASSIGN(auto communicators, transport.make_groups(specs));
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (!communicators[i]) continue;
      communicators[i]->set_wait_bound(wait_bound);
      result[specs[i].name] = std::move(communicators[i]);
    }
    return {};
  };
  std::vector<comm::GroupSpec> world, others;
  for (const scheduler::Group& group : scheduler::groups(placement))
    (group.name == scheduler::world_group() ? world : others).push_back({group.name, group.ranks});
  // Ranks that mean to run different things would also name different groups.
  WEFT_TRY(make(world));
  WEFT_TRY(check_peers(*result.at(scheduler::world_group()), fingerprint));
  WEFT_TRY(make(others));
  return result;
}

}  // namespace weft::runtime
