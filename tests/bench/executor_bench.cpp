// What the executor itself costs: whole programs whose stages do nothing, over the local transport
// between forked ranks. The time of an action is that of a step by the actions of a rank; with two
// ranks it holds the messages and the waits for the other rank, which has nothing to do either.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "comm/local/local_transport.h"
#include "dualpipe/executor.h"
#include "tests/bench/peer_measure.h"

namespace weft::dualpipe {
namespace {

void must(const Expected<void>& result) {
  if (result) return;
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::_Exit(1);
}

/// One layer with its exchanges, none of which does anything; messages of 64 bytes.
class IdleStage final : public Stage {
 public:
  std::span<const Phase> phases(Pass pass) const override {
    static constexpr Phase kForward[] = {{PhaseKind::Attention, 0, Part::Whole},
                                         {PhaseKind::Dispatch, 0, Part::Whole},
                                         {PhaseKind::Experts, 0, Part::Whole},
                                         {PhaseKind::Combine, 0, Part::Whole}};
    static constexpr Phase kBackward[] = {
        {PhaseKind::Combine, 0, Part::Whole},   {PhaseKind::Experts, 0, Part::Input},
        {PhaseKind::Experts, 0, Part::Weights}, {PhaseKind::Dispatch, 0, Part::Whole},
        {PhaseKind::Attention, 0, Part::Input}, {PhaseKind::Attention, 0, Part::Weights}};
    return pass == Pass::Forward ? std::span<const Phase>(kForward) : kBackward;
  }
  Expected<void> begin(Pass, const Phase&, const Chunk&) override { return {}; }
  Expected<void> finish(Pass, const Phase&, const Chunk&) override { return {}; }
  std::span<std::byte> incoming(Pass, const Chunk&) override { return in_; }
  std::span<const std::byte> outgoing(Pass, const Chunk&) override { return out_; }

 private:
  std::byte in_[64] = {}, out_[64] = {};
};

void run_rank(const comm::LocalWorld& world, int rank, Kind kind, int micro_batches) {
  const int ranks = world.world_size();
  auto transport = world.join(rank);
  comm::GroupSpec spec{"pipeline", {}};
  for (int r = 0; r < ranks; ++r) spec.ranks.push_back(r);
  auto groups = (*transport)->make_groups(std::span(&spec, 1));
  if (!groups) return must(tl::unexpected<Error>(groups.error()));
  comm::Communicator& group = *groups->at(0);

  const auto schedule = generate(kind, {ranks, micro_batches});
  if (!schedule) return must(tl::unexpected<Error>(schedule.error()));
  const auto program = add_messages(*schedule).programs[static_cast<std::size_t>(rank)];
  std::vector<IdleStage> held(static_cast<std::size_t>(num_stages(kind, ranks)));
  std::vector<Stage*> stages(held.size(), nullptr);
  for (const int s : stages_of(kind, ranks, rank))
    stages[static_cast<std::size_t>(s)] = &held[static_cast<std::size_t>(s)];
  Executor executor(stages, nullptr, group, {});

  must(executor.run(program));  // plans it
  const int repeats = 50;
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (int round = 0; round < bench::kRounds; ++round) {
    must(barrier(group));
    const auto begin = Clock::now();
    for (int i = 0; i < repeats; ++i) must(executor.run(program));
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count() / repeats);
  }
  if (rank == 0)
    std::printf("  %-9s P=%d, %2d micro-batches: %3zu actions, %7.3f us each\n",
                std::string(to_string(kind)).c_str(), ranks, micro_batches, program.size(),
                best * 1e6 / static_cast<double>(program.size()));
}

int run(Kind kind, int ranks, int micro_batches) {
  auto world = comm::LocalWorld::create(ranks);
  if (!world) return 2;
  std::fflush(nullptr);
  for (int rank = 0; rank < ranks; ++rank) {
    if (::fork() != 0) continue;
    run_rank(*world, rank, kind, micro_batches);
    std::fflush(nullptr);
    std::_Exit(0);
  }
  int failed = 0, status = 0;
  while (::wait(&status) > 0) failed |= status;
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace weft::dualpipe

int main() {
  using weft::dualpipe::Kind;
  std::printf("executor: stages of one layer that do nothing (10 phases an F and B pair)\n");
  int failed = 0;
  for (const int ranks : {1, 2}) failed |= weft::dualpipe::run(Kind::OneFOneB, ranks, 20);
  failed |= weft::dualpipe::run(Kind::DualPipe, 2, 20);
  return failed;
}
