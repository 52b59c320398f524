#include "comm/sim/sim_world.h"

#include <algorithm>

#include "comm/sim/sim_group.h"
#include "comm/sim/sim_network.h"

namespace weft::comm {
namespace {

class RankClock final : public Clock {
 public:
  explicit RankClock(Turns& turns) : turns_(turns) {}
  Instant now() const override { return Instant(turns_.now()); }
  WallTime wall_now() const override { return WallTime(turns_.now()); }
  void sleep_until(Instant then) override { turns_.sleep_until(then.time_since_epoch()); }

 private:
  Turns& turns_;
};

class SimTransport final : public Transport {
 public:
  SimTransport(SimNetwork& network, int world_rank) : network_(network), world_rank_(world_rank) {}

  int world_rank() const override { return world_rank_; }
  int world_size() const override { return network_.num_ranks(); }

  Expected<std::vector<std::unique_ptr<Communicator>>> make_groups(
      std::span<const GroupSpec> specs) override {
    std::vector<std::unique_ptr<Communicator>> groups;
    for (const GroupSpec& spec : specs) {
      WEFT_TRY_ASSIGN(SimGroup* const group, network_.group(num_groups_, spec, world_rank_));
      ++num_groups_;
      const auto self = std::find(spec.ranks.begin(), spec.ranks.end(), world_rank_);
      groups.push_back(self == spec.ranks.end()
                           ? nullptr
                           : std::make_unique<SimCommunicator>(
                                 network_, *group, static_cast<int>(self - spec.ranks.begin())));
    }
    return groups;
  }

 private:
  SimNetwork& network_;
  int world_rank_;
  std::size_t num_groups_ = 0;
};

}  // namespace

SimWorld::SimWorld(int num_ranks, SimOptions options)
    : num_ranks_(num_ranks), options_(std::move(options)) {
  WEFT_CHECK(num_ranks >= 1, "a simulated world has at least one rank");
}

SimWorld::~SimWorld() = default;

void SimWorld::run(const std::function<void(const Rank&)>& body) {
  SimNetwork network(num_ranks_, options_);
  Turns& turns = network.turns();
  for (const Fault& fault : faults_)
    turns.at(fault.when, [&network, fault] {
      fault.killed ? network.kill(fault.rank) : network.stop(fault.rank);
    });
  turns.run(
      [&](int rank) {
        SimTransport transport(network, rank);
        RankClock clock(turns);
        body({rank, transport, clock});
      },
      [&turns](int) { turns.wake_all(); });
  elapsed_ = turns.last_end();
}

Duration SimWorld::elapsed() const { return elapsed_; }

void SimWorld::kill_at(int rank, Duration when) {
  WEFT_CHECK(rank >= 0 && rank < num_ranks_, "no such rank");
  faults_.push_back({rank, when, true});
}

void SimWorld::stop_at(int rank, Duration when) {
  WEFT_CHECK(rank >= 0 && rank < num_ranks_, "no such rank");
  faults_.push_back({rank, when, false});
}

}  // namespace weft::comm
