#include "comm/mpi/mpi_transport.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/rng.h"
#include "comm/group_spec.h"
#include "comm/mpi/mpi_group.h"

namespace weft::comm {
namespace {

// All groups of one make_groups call, as every rank tells the others.
struct Named {
  std::uint64_t fingerprint;
  char text[248];  // perhaps cut
};

class MpiTransport final : public Transport {
 public:
  explicit MpiTransport(std::shared_ptr<MpiWorld> world) : world_(std::move(world)) {}

  int world_rank() const override { return world_->rank; }
  int world_size() const override { return world_->size; }

  Expected<std::vector<std::unique_ptr<Communicator>>> make_groups(
      std::span<const GroupSpec> specs) override {
    for (const GroupSpec& spec : specs) WEFT_TRY(validate(spec, world_size()));
    WEFT_TRY(agree(specs));
    std::vector<std::unique_ptr<Communicator>> groups;
    for (const GroupSpec& spec : specs) {
      const auto self = std::find(spec.ranks.begin(), spec.ranks.end(), world_rank());
      groups.push_back(
          self == spec.ranks.end()
              ? nullptr
              : std::make_unique<MpiCommunicator>(
                    world_, spec, static_cast<int>(self - spec.ranks.begin()), num_groups_));
      ++num_groups_;
    }
    return groups;
  }

 private:
  Expected<void> agree(std::span<const GroupSpec> specs) {
    if (world_->ended)
      return fail(Code::Unavailable, "this process's MPI was ended: " + *world_->ended);
    std::string text;
    for (const GroupSpec& spec : specs) text += (text.empty() ? "" : ", ") + describe(spec);
    Named mine{fnv1a(text), {}};
    std::memcpy(mine.text, text.data(), std::min(text.size(), sizeof mine.text));
    std::vector<Named> all(static_cast<std::size_t>(world_size()));
    void* request = nullptr;
    const std::string what = "making the groups " + text;
    if (const int code = world_->api.all_gather(&mine, all.data(), sizeof mine, &request))
      return fail(Code::Unavailable, what + ": " + world_->describe(code));
    if (auto come = world_->wait(&request, what); !come) {
      world_->ended = come.error().message;  // the exchange cannot be taken back
      (void)new std::vector<Named>(std::move(all));
      return tl::unexpected<Error>(come.error());
    }
    for (std::size_t r = 0; r < all.size(); ++r)
      if (all[r].fingerprint != mine.fingerprint)
        return fail(Code::InvalidArgument,
                    different_groups(num_groups_, text, world_rank(),
                                     std::string(all[r].text, ::strnlen(all[r].text, 248)),
                                     static_cast<int>(r)));
    return {};
  }

  std::shared_ptr<MpiWorld> world_;
  int num_groups_ = 0;
};

/// The executable's directory, then the one above (tests lie one deeper than the programs).
std::vector<std::filesystem::path> plugin_paths(const MpiOptions& options) {
  if (!options.plugin.empty()) return {options.plugin};
  std::error_code error;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  return {here / kMpiPlugin, here.parent_path() / kMpiPlugin};
}

constexpr char kInstall[] =
    "install the packages openmpi-bin and libopenmpi-dev, then configure and build again";

Expected<const MpiApi*> load_plugin(const MpiOptions& options) {
  std::string tried;
  for (const auto& path : plugin_paths(options)) {
    tried += (tried.empty() ? "" : " or ") + path.string();
    std::error_code error;
    if (!std::filesystem::exists(path, error)) continue;
    // Global: Open MPI's own plugins look for its symbols there. Never closed: neither can MPI be.
    void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr)
      return fail(Code::Unsupported, "the transport mpi cannot be opened (" +
                                         std::string(::dlerror()) +
                                         "): where it is Open MPI that is missing, " + kInstall);
    const auto function = reinterpret_cast<const MpiApi* (*)()>(::dlsym(library, kMpiApiFunction));
    const MpiApi* const api = function != nullptr ? function() : nullptr;
    if (api == nullptr || api->version != MpiApi::kVersion)
      return fail(Code::Unsupported,
                  path.string() + " belongs to another build of weft: build again");
    return api;
  }
  return fail(Code::Unsupported,
              "the transport mpi is not part of this build (no " + tried + "): " + kInstall);
}

/// MPI_Init would end a process that nobody has started, or make it a world of its own.
bool started_by_mpi() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

}  // namespace

Expected<std::unique_ptr<Transport>> open_mpi_transport(const MpiOptions& options) {
  WEFT_CHECK(options.piece_bytes_max >= 1 && options.piece_bytes_max <= std::size_t{1} << 30,
             "MPI counts bytes in int");
  WEFT_TRY_ASSIGN(const MpiApi* const api, load_plugin(options));
  if (!started_by_mpi())
    return fail(
        Code::Unsupported,
        "the transport mpi needs a process started by MPI: start it with 'mpirun -n <ranks> "
        "...' or 'srun --mpi=pmix ...'");
  static std::atomic<bool> started{false};
  if (started.exchange(true))
    return fail(Code::Busy, "MPI has been started in this process already, and can be only once");
  auto world = std::make_shared<MpiWorld>(*api, options);
  if (const int code = api->init(&world->rank, &world->size))
    return fail(Code::Unavailable, "MPI does not start: " + world->describe(code));
  world->started = true;
  return std::make_unique<MpiTransport>(std::move(world));
}

}  // namespace weft::comm
