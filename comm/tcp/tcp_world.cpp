#include "comm/tcp/tcp_world.h"

#include <unistd.h>

#include <algorithm>

#include "comm/tcp/tcp_forming.h"
#include "comm/tcp/tcp_rank.h"
#include "comm/tcp/tcp_transport.h"

namespace weft::comm {
namespace {

constexpr std::size_t kTcpWorldSizeMax = 65536;

/// Where every rank lies: its node, and its rank in that node's shared memory.
Expected<std::vector<int>> near_ranks_of(const TcpWorldOptions& options) {
  const std::size_t n = options.endpoints.size();
  const auto& nodes = options.node_of_rank;
  std::vector<int> near(n, -1);
  const auto own = static_cast<std::size_t>(options.rank);
  int count = 0;
  for (std::size_t r = 0; r < n; ++r)
    if (r == own || (!nodes.empty() && nodes[r] == nodes[own])) near[r] = count++;
  const int size = options.node != nullptr ? options.node->world_size() : 1;
  if (size == count) return near;
  return fail(Code::InvalidArgument, "there are " + std::to_string(count) +
                                         " ranks on the node of rank " +
                                         std::to_string(options.rank) +
                                         ", but its shared memory is for " + std::to_string(size));
}

Expected<void> validate(const TcpWorldOptions& options) {
  const std::size_t n = options.endpoints.size();
  const auto wrong = [](std::string what) { return fail(Code::InvalidArgument, std::move(what)); };
  if (n < 1 || n > kTcpWorldSizeMax)
    return wrong("a world over TCP has 1 to " + std::to_string(kTcpWorldSizeMax) + " ranks, not " +
                 std::to_string(n));
  if (options.rank < 0 || options.rank >= static_cast<int>(n))
    return wrong("there is no rank " + std::to_string(options.rank) + " in a world of " +
                 std::to_string(n));
  if (!options.node_of_rank.empty() && options.node_of_rank.size() != n)
    return wrong("a node is needed for each of the " + std::to_string(n) + " ranks, or for none");
  if (options.run.size() > 256) return wrong("a run's name has at most 256 bytes");
  if (options.secret == TcpSecret{}) return wrong("the world's secret is all zeros: draw one");
  return {};
}

}  // namespace

TcpWorld::TcpWorld(int listener, std::string endpoint)
    : listener_(listener), endpoint_(std::move(endpoint)) {}

TcpWorld::TcpWorld(TcpWorld&& other) noexcept
    : listener_(std::exchange(other.listener_, -1)),
      endpoint_(std::move(other.endpoint_)),
      num_strangers_(other.num_strangers_),
      missing_rank_(other.missing_rank_) {}

TcpWorld& TcpWorld::operator=(TcpWorld&& other) noexcept {
  std::swap(listener_, other.listener_);
  std::swap(endpoint_, other.endpoint_);
  std::swap(num_strangers_, other.num_strangers_);
  std::swap(missing_rank_, other.missing_rank_);
  return *this;
}

TcpWorld::~TcpWorld() {
  if (listener_ >= 0) ::close(listener_);
}

Expected<TcpWorld> TcpWorld::listen(const std::string& host, int port) {
  std::string endpoint;
  WEFT_TRY_ASSIGN(Socket socket, listen_on(host, port, endpoint));
  return TcpWorld(socket.release(), std::move(endpoint));
}

Expected<std::unique_ptr<Transport>> TcpWorld::join(const TcpWorldOptions& options) {
  const Socket listener(std::exchange(listener_, -1));
  WEFT_TRY(validate(options));
  if (!listener.is_open())
    return fail(Code::InvalidArgument, "this TcpWorld has been joined before");
  WEFT_TRY_ASSIGN(const std::vector<int> near, near_ranks_of(options));
  const int near_rank = near[static_cast<std::size_t>(options.rank)];
  std::shared_ptr<LocalWorld::Mapping> memory;
  if (options.node != nullptr) {
    WEFT_TRY_ASSIGN(memory, options.node->take(near_rank));
  } else {
    WEFT_TRY_ASSIGN(const LocalWorld alone, LocalWorld::create(1));
    WEFT_TRY_ASSIGN(memory, alone.take(0));
  }
  allow_descriptors(options.endpoints.size() + 256);
  const TcpIdentity self{options.secret, run_digest(options.run), options.generation, options.rank,
                         static_cast<int>(options.endpoints.size())};
  TcpForming forming(self, listener.get(), options.endpoints,
                     [&memory]() -> std::optional<std::string> {
                       if (!memory->aborted()) return std::nullopt;
                       return memory->abort_reason();
                     });
  auto sockets = forming.run(options.join_bound);
  num_strangers_ = forming.num_strangers();
  if (!sockets) {
    missing_rank_ = forming.missing_rank();
    return tl::unexpected<Error>(sockets.error());
  }
  WEFT_TRY_ASSIGN(std::shared_ptr<TcpRank> rank,
                  TcpRank::create(std::make_shared<LocalRank>(memory, near_rank), options.rank,
                                  std::move(*sockets), options.endpoints));
  return make_tcp_transport(std::move(rank), near, options.join_bound);
}

}  // namespace weft::comm
