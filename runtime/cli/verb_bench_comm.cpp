#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/units.h"
#include "comm/local/local_transport.h"
#include "comm/mpi/mpi_transport.h"
#include "comm/sim/sim_world.h"
#include "comm/tcp/tcp_world.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

using comm::Communicator;
using comm::Transport;
using nlohmann::json;

constexpr std::size_t kLatencyBytes = 64;
constexpr std::uint64_t kMemoryMax = std::uint64_t{4} << 30;  // of all ranks together
constexpr comm::SimLink kSimLink{std::chrono::microseconds(5), 1e10};

struct Sizes {
  std::vector<std::size_t> bytes;
  int repeats_max = 2000;  // simulated time is the same every time
};

struct Figure {
  std::string operation;
  std::size_t bytes;
  double seconds;  // of one
};

/// The bench on one rank. `clock` tells the transport's own time.
class Bench {
 public:
  Bench(Communicator& group, const Clock& clock, const Sizes& sizes)
      : group_(group), clock_(clock), sizes_(sizes) {}

  Expected<std::vector<Figure>> run() {
    group_.set_wait_bound(std::chrono::seconds(30));
    if (group_.size() > 1) {
      WEFT_TRY(measure("send", kLatencyBytes, [&] { return ping_pong(kLatencyBytes); }));
      for (const std::size_t bytes : sizes_.bytes)
        WEFT_TRY(measure("send", bytes, [&] { return ping_pong(bytes); }));
    }
    for (const std::size_t bytes : sizes_.bytes)
      WEFT_TRY(measure("all_to_all_v", bytes, [&] { return all_to_all(bytes); }));
    return std::move(figures_);
  }

 private:
  /// The best of three rounds: the machine may be shared.
  template <class Body>
  Expected<void> measure(const char* operation, std::size_t bytes, Body body) {
    WEFT_TRY_ASSIGN(double best, seconds_of(1, body));
    WEFT_TRY_ASSIGN(best, seconds_of(1, body));
    int repeats = static_cast<int>(std::clamp(0.03 / std::max(best, 1e-9), 1.0, 1.0 * 1'000'000));
    repeats = std::clamp(repeats, 1, sizes_.repeats_max);
    WEFT_TRY(comm::broadcast(group_, 0, std::as_writable_bytes(std::span(&repeats, 1))));
    for (int round = 0; round < 3; ++round) {
      WEFT_TRY_ASSIGN(const double seconds, seconds_of(repeats, body));
      best = round == 0 ? seconds : std::min(best, seconds);
    }
    figures_.push_back({operation, bytes, best});
    return {};
  }

  template <class Body>
  Expected<double> seconds_of(int repeats, Body body) {
    WEFT_TRY(comm::barrier(group_));
    const Instant begin = clock_.now();
    for (int i = 0; i < repeats; ++i) WEFT_TRY(body());
    return seconds(clock_.now() - begin) / repeats;
  }

  /// Half of it is what is reported: rank 0 and rank 1, one message each way.
  Expected<void> ping_pong(std::size_t bytes) {
    if (group_.rank() > 1) return {};
    resize(bytes);
    const int peer = 1 - group_.rank();
    const comm::Bytes data(in_.get(), bytes);
    if (group_.rank() == 0) WEFT_TRY(comm::send(group_, peer, 1, data));
    WEFT_TRY(comm::receive(group_, peer, 1, data));
    if (group_.rank() == 1) WEFT_TRY(comm::send(group_, peer, 1, data));
    return {};
  }

  Expected<void> all_to_all(std::size_t bytes) {
    const auto n = static_cast<std::size_t>(group_.size());
    resize(bytes * n);
    lengths_.assign(n, bytes);
    return comm::all_to_all_v(group_, {in_.get(), bytes * n}, lengths_, {out_.data(), bytes * n},
                              lengths_);
  }

  void resize(std::size_t size) {
    if (out_.size() >= size) return;
    in_ = group_.message_memory(size);
    std::memset(in_.get(), 0, size);
    out_.resize(size);
  }

  Communicator& group_;
  const Clock& clock_;
  const Sizes& sizes_;
  comm::MessageMemory in_;
  std::vector<std::byte> out_;
  std::vector<std::size_t> lengths_;
  std::vector<Figure> figures_;
};

Expected<std::vector<Figure>> bench(Transport& transport, const Clock& clock, const Sizes& sizes) {
  comm::GroupSpec spec{"bench", {}};
  for (int r = 0; r < transport.world_size(); ++r) spec.ranks.push_back(r);
  WEFT_TRY_ASSIGN(auto groups, transport.make_groups(std::span(&spec, 1)));
  return Bench(*groups[0], clock, sizes).run();
}

using RankBody = std::function<Expected<std::vector<Figure>>(int rank)>;

/// Rank 0 is this process, the others are its children. `abort` ends their waits.
Expected<std::vector<Figure>> bench_processes(
    int ranks, const RankBody& body, const std::function<void(const std::string& reason)>& abort) {
  std::vector<pid_t> children;
  std::optional<Error> error;
  for (int r = 1; r < ranks && !error; ++r) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(body(r) ? 0 : 1);
    if (pid < 0)
      error = Error{Code::Unavailable, "cannot start rank " + std::to_string(r) + " of the bench"};
    else
      children.push_back(pid);
  }
  auto result = error ? Expected<std::vector<Figure>>(tl::unexpected<Error>(*error)) : body(0);
  if (!result) abort(result.error().message);
  for (const pid_t pid : children) {
    if (!result) ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  return result;
}

Expected<std::vector<Figure>> bench_local(int ranks, const Clock& clock, const Sizes& sizes) {
  WEFT_TRY_ASSIGN(comm::LocalWorld world, comm::LocalWorld::create(ranks));
  const auto body = [&](int rank) -> Expected<std::vector<Figure>> {
    WEFT_TRY_ASSIGN(const auto transport, world.join(rank));
    return bench(*transport, clock, sizes);
  };
  return bench_processes(ranks, body, [&](const std::string& reason) { world.abort(reason); });
}

/// Over this host's loopback, every rank as if it were alone on its host.
Expected<std::vector<Figure>> bench_tcp(int ranks, const Clock& clock, const Sizes& sizes) {
  comm::TcpWorldOptions options;
  options.run = "bench";
  options.secret = comm::draw_tcp_secret();
  std::vector<comm::TcpWorld> worlds;
  for (int r = 0; r < ranks; ++r) {
    WEFT_TRY_ASSIGN(comm::TcpWorld world, comm::TcpWorld::listen());
    options.endpoints.push_back(world.endpoint());
    worlds.push_back(std::move(world));
  }
  const auto body = [&](int rank) -> Expected<std::vector<Figure>> {
    comm::TcpWorld own = std::move(worlds[static_cast<std::size_t>(rank)]);
    // A child drops the others' listeners, so that they end with their owners; this process has
    // started all its children by now.
    worlds.clear();
    options.rank = rank;
    WEFT_TRY_ASSIGN(const auto transport, own.join(options));
    return bench(*transport, clock, sizes);
  };
  return bench_processes(ranks, body, [](const std::string&) {});
}

Expected<std::vector<Figure>> bench_simulated(int ranks, Sizes sizes) {
  sizes.repeats_max = 2;
  comm::SimWorld world(ranks, {.link = [](int, int) { return kSimLink; }});
  Expected<std::vector<Figure>> result;
  world.run([&](const comm::SimWorld::Rank& rank) {
    auto own = bench(rank.transport, rank.clock, sizes);
    if (rank.rank == 0) result = std::move(own);
  });
  return result;
}

Expected<Sizes> sizes_of(const BenchCommOptions& options, int ranks) {
  Sizes sizes;
  for (const std::string& text : options.bytes) {
    const auto bytes = parse_bytes(text);
    if (!bytes) return fail_in("--bytes", bytes.error());
    const auto n = static_cast<std::uint64_t>(ranks);
    if (*bytes == 0 || *bytes > kMemoryMax / (2 * n * n))
      return fail(
          Code::InvalidArgument,
          fmt::format("--bytes {}: {} ranks would hold two buffers of {} parts each; from 1 "
                      "to {} bytes a part are possible",
                      text, ranks, ranks, kMemoryMax / (2 * n * n)));
    sizes.bytes.push_back(static_cast<std::size_t>(*bytes));
  }
  return sizes;
}

void print(const BenchCommOptions& options, int ranks, const std::vector<Figure>& figures, Io& io) {
  std::vector<json> records;
  for (const Figure& figure : figures) {
    const bool send = figure.operation == "send";
    // One message of a round trip of two; or what every rank gives to all the others.
    const double seconds = send ? figure.seconds / 2 : figure.seconds;
    const double moved =
        static_cast<double>(figure.bytes) * (send ? 1.0 : 1.0 * ranks * (ranks - 1));
    records.push_back({{"transport", options.transport},
                       {"ranks", ranks},
                       {"operation", figure.operation},
                       {"bytes", figure.bytes},
                       {"microseconds", seconds * 1e6},
                       {"gigabytes_per_second", seconds > 0 ? moved / seconds * 1e-9 : 0.0}});
  }
  const auto number = [](const char* key) {
    return [key](const json& record) { return fmt::format("{:.2f}", record[key].get<double>()); };
  };
  const auto text = [](const char* key) {
    return [key](const json& record) { return cell(record, key); };
  };
  print_list(
      io, options.format, "bench_comm", records,
      {{"TRANSPORT", text("transport")},
       {"RANKS", text("ranks"), true},
       {"OPERATION", text("operation")},
       {"BYTES",
        [](const json& record) { return format_bytes(record["bytes"].get<std::uint64_t>()); },
        true},
       {"US", number("microseconds"), true},
       {"GB/S", number("gigabytes_per_second"), true}},
      "operation");
}

}  // namespace

int verb_bench_comm(const BenchCommOptions& options, Io& io) {
  int ranks = options.ranks == 0 ? 2 : options.ranks, rank = 0;
  std::unique_ptr<Transport> mpi;
  if (options.transport == "mpi") {
    auto opened = comm::open_mpi_transport();
    if (!opened) return report(opened.error(), io);
    mpi = std::move(*opened);
    rank = mpi->world_rank();
    ranks = mpi->world_size();
    if (rank == 0 && options.ranks != 0 && options.ranks != ranks)
      io.err << fmt::format("weft: note: MPI started {} ranks, --ranks {} is not used\n", ranks,
                            options.ranks);
  }
  const auto sizes = sizes_of(options, ranks);
  if (!sizes) return rank == 0 ? report(sizes.error(), io) : exit_code(sizes.error().code);
  const auto figures = mpi                            ? bench(*mpi, io.clock, *sizes)
                       : options.transport == "local" ? bench_local(ranks, io.clock, *sizes)
                       : options.transport == "tcp"   ? bench_tcp(ranks, io.clock, *sizes)
                                                      : bench_simulated(ranks, *sizes);
  if (!figures) return report(figures.error(), io);
  if (rank == 0) print(options, ranks, *figures, io);
  return kOk;
}

}  // namespace weft::cli
