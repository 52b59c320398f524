#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "comm/local/local_group.h"
#include "comm/local/local_transport.h"
#include "comm/local/shared_world.h"

namespace weft::comm {
namespace {

tl::unexpected<Error> no_memory(const char* what, int error_number) {
  return fail(Code::Io, std::string("cannot ") + what + " the shared memory of the local world: " +
                            std::strerror(error_number) +
                            " (128 GiB of address space, of which little is used, must be "
                            "allowed: see ulimit -v and ulimit -f)");
}

Expected<std::byte*> map_world(int descriptor) {
  void* const memory = ::mmap(nullptr, kWorldBytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (memory == MAP_FAILED) return no_memory("map", errno);
  ::madvise(memory, kWorldBytes, MADV_DONTDUMP);  // a core file of 128 GiB helps nobody
  return static_cast<std::byte*>(memory);
}

}  // namespace

LocalWorld::Mapping::~Mapping() {
  if (memory != nullptr) ::munmap(memory, kWorldBytes);
  if (owns_descriptor && descriptor >= 0) ::close(descriptor);
}

void LocalWorld::Mapping::abort(std::string_view reason) {
  WorldHeader& world = header();
  std::uint32_t expected = WorldHeader::kRunning;
  if (!world.abort_state.compare_exchange_strong(expected, WorldHeader::kAborting)) return;
  const std::size_t length = std::min(reason.size(), sizeof world.reason);
  std::memcpy(world.reason, reason.data(), length);
  world.reason_length = static_cast<std::uint32_t>(length);
  world.abort_state.store(WorldHeader::kAborted, std::memory_order_seq_cst);
  for (Doorbell& bell : world.bells) bell.wake();
}

std::string LocalWorld::Mapping::abort_reason() const {
  const WorldHeader& world = header();
  return std::string(world.reason, std::min<std::size_t>(world.reason_length, sizeof world.reason));
}

Expected<LocalWorld> LocalWorld::create(int world_size) {
  if (world_size < 1 || world_size > kWorldSizeMax)
    return fail(Code::InvalidArgument, "a local world has 1 to " + std::to_string(kWorldSizeMax) +
                                           " ranks, not " + std::to_string(world_size));
  auto mapping = std::make_shared<Mapping>();
  mapping->descriptor = ::memfd_create("weft-world", 0);
  if (mapping->descriptor < 0) return no_memory("make", errno);
  mapping->owns_descriptor = true;
  if (::ftruncate(mapping->descriptor, kWorldBytes) != 0) return no_memory("size", errno);
  WEFT_TRY_ASSIGN(mapping->memory, map_world(mapping->descriptor));
  WorldHeader& world = mapping->header();
  world.bytes = kWorldBytes;
  world.world_size = static_cast<std::uint32_t>(world_size);
  mapping->nonce = draw_nonce();
  world.creator.pid = static_cast<std::uint32_t>(::getpid());
  world.creator.nonce_address = reinterpret_cast<std::uint64_t>(&mapping->nonce);
  world.creator.nonce = mapping->nonce;
  world.magic = kWorldMagic;
  return LocalWorld(std::move(mapping));
}

Expected<LocalWorld> LocalWorld::attach(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != kWorldBytes)
    return fail(Code::Corrupt, "descriptor " + std::to_string(descriptor) +
                                   " is not the shared memory of a local world");
  auto mapping = std::make_shared<Mapping>();
  mapping->descriptor = descriptor;
  WEFT_TRY_ASSIGN(mapping->memory, map_world(descriptor));
  const WorldHeader& world = mapping->header();
  if (world.magic != kWorldMagic || world.bytes != kWorldBytes || world.world_size < 1 ||
      world.world_size > kWorldSizeMax)
    return fail(Code::Corrupt, "descriptor " + std::to_string(descriptor) +
                                   " holds no local world of this version");
  ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  return LocalWorld(std::move(mapping));
}

LocalWorld::LocalWorld(std::shared_ptr<Mapping> mapping) : mapping_(std::move(mapping)) {}
LocalWorld::LocalWorld(LocalWorld&&) noexcept = default;
LocalWorld& LocalWorld::operator=(LocalWorld&&) noexcept = default;
LocalWorld::~LocalWorld() = default;

int LocalWorld::descriptor() const { return mapping_->descriptor; }
int LocalWorld::world_size() const { return static_cast<int>(mapping_->header().world_size); }
void LocalWorld::abort(std::string_view reason) { mapping_->abort(reason); }
bool LocalWorld::aborted() const { return mapping_->aborted(); }

Expected<std::shared_ptr<LocalWorld::Mapping>> LocalWorld::take(int world_rank) const {
  if (world_rank < 0 || world_rank >= world_size())
    return fail(Code::InvalidArgument, "there is no rank " + std::to_string(world_rank) +
                                           " in a local world of " + std::to_string(world_size()));
  if (mapping_->header().joined[world_rank].exchange(1) != 0)
    return fail(Code::InvalidArgument, "rank " + std::to_string(world_rank) +
                                           " has already joined this local world (a restarted "
                                           "rank needs a new one)");
  return mapping_;
}

Expected<std::unique_ptr<Transport>> LocalWorld::join(int world_rank) const {
  WEFT_TRY_ASSIGN(auto mapping, take(world_rank));
  return make_local_transport(std::move(mapping), world_rank);
}

}  // namespace weft::comm
