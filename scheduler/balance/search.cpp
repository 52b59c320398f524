#include "scheduler/balance/search.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/rng.h"

namespace weft::scheduler {
namespace {

// Each move lightens the busiest GPU, so the search ends by itself; this bounds its time.
constexpr int kMovesMax = 400;
// Below this share of the load a gain is rounding.
constexpr double kGainMin = 1e-9;

/// A domain with what the search needs at hand: who holds what, how many, and each GPU's load.
class State {
 public:
  explicit State(Domain& domain)
      : load_(domain.load),
        domain_(domain),
        gpus_(static_cast<int>(domain.slots.size())),
        slots_a_gpu_(static_cast<int>(domain.slots[0].size())),
        holders_(domain.load.size() * domain.slots.size(), 0),
        count_(domain.load.size(), 0),
        share_(domain.load.size(), 0.0),
        gpu_load_(domain.slots.size(), 0.0) {
    for (const auto& gpu : domain.slots)
      for (const int e : gpu) {
        slots_.push_back(e);
        ++count_[e];
      }
    for (int e = 0; e < num_experts(); ++e)
      if (count_[e] > 0) share_[e] = load_[e] / count_[e];
    for (int g = 0; g < num_gpus(); ++g)
      for (const int e : on(g)) {
        held(g, e) = 1;
        gpu_load_[g] += share(e);
      }
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  /// Hands the slots back to the domain.
  ~State() {
    for (int g = 0; g < num_gpus(); ++g) std::ranges::copy(on(g), domain_.slots[g].begin());
  }

  int num_gpus() const { return gpus_; }
  int num_slots() const { return slots_a_gpu_; }
  int num_experts() const { return static_cast<int>(load_.size()); }
  std::span<const int> on(int gpu) const {
    return {slots_.data() + static_cast<std::size_t>(gpu) * slots_a_gpu_,
            static_cast<std::size_t>(slots_a_gpu_)};
  }
  int expert(int gpu, int slot) const { return on(gpu)[slot]; }
  int count(int e) const { return count_[e]; }
  bool holds(int gpu, int e) const {
    return holders_[static_cast<std::size_t>(e) * gpus_ + gpu] != 0;
  }
  double gpu_load(int gpu) const { return gpu_load_[gpu]; }
  double share(int e) const { return share_[e]; }
  int busiest() const {
    return static_cast<int>(std::ranges::max_element(gpu_load_) - gpu_load_.begin());
  }
  double busiest_load() const { return gpu_load_[busiest()]; }
  double gain_min() const { return kGainMin * busiest_load(); }

  bool may_swap(int g, int a, int h, int b) const {
    return g != h && !holds(h, expert(g, a)) && !holds(g, expert(h, b));
  }
  void swap(int g, int a, int h, int b) {
    const int x = expert(g, a), y = expert(h, b);
    gpu_load_[g] += share(y) - share(x);
    gpu_load_[h] += share(x) - share(y);
    std::swap(slot(g, a), slot(h, b));
    held(g, x) = held(h, y) = 0;
    held(h, x) = held(g, y) = 1;
  }

  /// The busiest of the GPUs that change when this slot goes over to expert y; `enough` or more
  /// where it is not less than that.
  double after_handing(int g, int slot, int y, double enough) const {
    const int x = expert(g, slot);
    double most = gpu_load_[g] - share(x) + load_[y] / (count_[y] + 1);
    if (most >= enough) return most;
    const double x_more = load_[x] / (count_[x] - 1) - share(x);
    const double y_less = share(y) - load_[y] / (count_[y] + 1);
    for (int h = 0; h < num_gpus() && most < enough; ++h) {
      const bool has_x = h != g && holds(h, x), has_y = holds(h, y);
      if (!has_x && !has_y) continue;
      most = std::max(most, gpu_load_[h] + (has_x ? x_more : 0) - (has_y ? y_less : 0));
    }
    return most;
  }
  void hand(int g, int a, int y) {
    const int x = expert(g, a);
    slot(g, a) = y;
    --count_[x];
    ++count_[y];
    share_[x] = load_[x] / count_[x];
    share_[y] = load_[y] / count_[y];
    held(g, x) = 0;
    held(g, y) = 1;
    reload();
  }
  void reload() {
    for (int g = 0; g < num_gpus(); ++g) {
      gpu_load_[g] = 0;
      for (const int e : on(g)) gpu_load_[g] += share(e);
    }
  }

 private:
  unsigned char& held(int gpu, int e) {
    return holders_[static_cast<std::size_t>(e) * gpus_ + gpu];
  }
  int& slot(int gpu, int index) {
    return slots_[static_cast<std::size_t>(gpu) * slots_a_gpu_ + index];
  }

  std::span<const double> load_;
  Domain& domain_;
  int gpus_, slots_a_gpu_;
  std::vector<int> slots_;              // [gpu][slot], flat
  std::vector<unsigned char> holders_;  // [expert][gpu], flat: this is the innermost loop
  std::vector<int> count_;
  std::vector<double> share_;  // load / count, kept: a division a look is most of a search
  std::vector<double> gpu_load_;
};

struct Move {
  int g = -1, a = 0;  // a slot
  int h = 0, b = 0;   // swap: the other slot
  int to = -1;        // hand over: the expert that gets it
  double most = 0;    // of the GPUs that change
};

/// The swap that leaves the busiest GPU and its partner lightest, and lighter than `goal`.
Move best_swap(const State& state, double goal) {
  Move best;
  best.most = goal;
  const int g = state.busiest();
  const double mine = state.gpu_load(g);
  for (int a = 0; a < state.num_slots(); ++a) {
    const int x = state.expert(g, a);
    const double share = state.share(x);
    for (int h = 0; h < state.num_gpus(); ++h) {
      if (h == g || state.holds(h, x)) continue;
      const double theirs = state.gpu_load(h);
      if (theirs >= best.most) continue;
      const std::span<const int> others = state.on(h);
      for (int b = 0; b < state.num_slots(); ++b) {
        const int y = others[b];
        const double step = share - state.share(y);
        if (step <= 0) continue;
        const double most = std::max(mine - step, theirs + step);
        if (most < best.most && !state.holds(g, y)) best = {g, a, h, b, -1, most};
      }
    }
  }
  return best;
}

/// A slot somewhere that lightens the busiest GPU when it goes over to one of that GPU's experts;
/// or one of its own slots that something lighter may have. To below `goal`.
Move best_hand_over(const State& state, double goal) {
  Move best;
  best.most = goal;
  const int busiest = state.busiest();
  const auto consider = [&](int g, int slot, int y) {
    const int x = state.expert(g, slot);
    if (state.count(x) < 2 || x == y || state.holds(g, y)) return;
    const double most = state.after_handing(g, slot, y, best.most);
    if (most < best.most) best = {g, slot, 0, 0, y, most};
  };
  for (int a = 0; a < state.num_slots(); ++a)
    for (int g = 0; g < state.num_gpus(); ++g)
      for (int slot = 0; slot < state.num_slots(); ++slot)
        consider(g, slot, state.expert(busiest, a));
  for (int a = 0; a < state.num_slots(); ++a)
    for (int y = 0; y < state.num_experts(); ++y) consider(busiest, a, y);
  return best;
}

/// The replicas of a fresh placement: where the load per replica is largest, at most one a GPU.
std::vector<int> fresh_counts(std::span<const double> load, int gpus, int slots) {
  std::vector<int> count(load.size(), 1);
  std::vector<double> share(load.begin(), load.end());
  for (int given = static_cast<int>(load.size()); given < slots; ++given) {
    int most = -1;
    for (int e = 0; e < std::ssize(load); ++e)
      if (count[e] < gpus && (most < 0 || share[e] > share[most])) most = e;
    share[most] = load[most] / ++count[most];
  }
  return count;
}

/// A few changes at random that keep every GPU free of twins.
void shake(State& state, Rng& rng) {
  const auto pick = [&](int n) { return static_cast<int>(rng.below(static_cast<unsigned>(n))); };
  for (int change = 0; change < 3; ++change) {
    const int g = pick(state.num_gpus()), a = pick(state.num_slots());
    const int h = pick(state.num_gpus()), b = pick(state.num_slots());
    const int y = pick(state.num_experts());
    if (pick(2) == 0) {
      if (state.may_swap(g, a, h, b)) state.swap(g, a, h, b);
    } else if (state.count(state.expert(g, a)) > 1 && !state.holds(g, y)) {
      state.hand(g, a, y);
    }
  }
}

bool contains(const std::vector<int>& gpu, int e) { return std::ranges::find(gpu, e) != gpu.end(); }

}  // namespace

bool is_sound(const Domain& domain) {
  std::vector<int> count(domain.load.size(), 0);
  for (std::vector<int> gpu : domain.slots) {
    for (const int e : gpu) ++count[e];
    std::ranges::sort(gpu);
    if (std::ranges::adjacent_find(gpu) != gpu.end()) return false;
  }
  return std::ranges::all_of(count, [](int c) { return c > 0; });
}

double busiest(const Domain& domain) {
  std::vector<int> count(domain.load.size(), 0);
  for (const auto& gpu : domain.slots)
    for (const int e : gpu) ++count[e];
  double most = 0;
  for (const auto& gpu : domain.slots) {
    double sum = 0;
    for (const int e : gpu) sum += domain.load[e] / count[e];
    most = std::max(most, sum);
  }
  return most;
}

Domain pack_fresh(std::span<const double> load, int gpus, int slots_per_gpu) {
  const std::vector<int> count = fresh_counts(load, gpus, gpus * slots_per_gpu);
  // An expert on every GPU leaves no choice; the others go heaviest first.
  struct Next {
    bool everywhere;
    double share;
    int expert;
  };
  std::vector<Next> order;
  for (int e = 0; e < std::ssize(load); ++e)
    order.push_back({count[e] == gpus, load[e] / count[e], e});
  std::ranges::sort(order, [](const Next& a, const Next& b) {
    if (a.everywhere != b.everywhere) return a.everywhere;
    return a.share != b.share ? a.share > b.share : a.expert < b.expert;
  });
  Domain domain{load, std::vector<std::vector<int>>(gpus)};
  std::vector<double> sum(gpus, 0.0);
  std::vector<int> left_over;
  for (const auto [everywhere, share, e] : order)
    for (int i = 0; i < count[e]; ++i) {
      int lightest = -1;
      for (int g = 0; g < gpus; ++g)
        if (std::ssize(domain.slots[g]) < slots_per_gpu && !contains(domain.slots[g], e) &&
            (lightest < 0 || sum[g] < sum[lightest]))
          lightest = g;
      if (lightest < 0) {
        left_over.push_back(e);
        continue;
      }
      domain.slots[lightest].push_back(e);
      sum[lightest] += share;
    }
  // GPUs with room already hold what is left: a second replica there for now, repaired below.
  for (const int e : left_over)
    for (int g = 0; g < gpus; ++g)
      if (std::ssize(domain.slots[g]) < slots_per_gpu) {
        domain.slots[g].push_back(e);
        break;
      }
  repair(domain);
  return domain;
}

void repair(Domain& domain) {
  const int gpus = static_cast<int>(domain.slots.size());
  std::vector<int> count(domain.load.size(), 0);
  for (const auto& gpu : domain.slots)
    for (const int e : gpu) ++count[e];
  for (int g = 0; g < gpus; ++g)
    for (std::size_t i = 0; i < domain.slots[g].size(); ++i) {
      std::vector<int>& gpu = domain.slots[g];
      const int e = gpu[i];
      if (std::find(gpu.begin(), gpu.begin() + static_cast<std::ptrdiff_t>(i), e) ==
          gpu.begin() + static_cast<std::ptrdiff_t>(i))
        continue;
      // The slot goes to the expert with the largest share that is not here yet.
      int most = -1;
      for (int y = 0; y < std::ssize(domain.load); ++y) {
        if (contains(gpu, y)) continue;
        if (count[y] == 0) {
          most = y;
          break;
        }
        if (most < 0 || domain.load[y] / count[y] > domain.load[most] / count[most]) most = y;
      }
      WEFT_CHECK(most >= 0, "a GPU has more slots than there are experts");
      gpu[i] = most;
      --count[e];
      ++count[most];
    }
  // An expert that has no slot takes one of the expert with the smallest share that can spare it.
  for (int e = 0; e < std::ssize(domain.load); ++e) {
    if (count[e] > 0) continue;
    int spare = -1;
    for (int x = 0; x < std::ssize(domain.load); ++x)
      if (count[x] > 1 &&
          (spare < 0 || domain.load[x] / count[x] < domain.load[spare] / count[spare]))
        spare = x;
    WEFT_CHECK(spare >= 0, "fewer slots than experts");
    for (auto& gpu : domain.slots)
      if (const auto at = std::ranges::find(gpu, spare); at != gpu.end()) {
        *at = e;
        break;
      }
    --count[spare];
    ++count[e];
  }
}

void improve(Domain& domain, double good_enough) {
  State state(domain);
  for (int moves = 0; moves < kMovesMax && state.busiest_load() > good_enough; ++moves) {
    const double goal = state.busiest_load() - state.gain_min();
    const Move swap = best_swap(state, goal);
    if (swap.most < goal) {
      state.swap(swap.g, swap.a, swap.h, swap.b);
      continue;
    }
    const Move hand = best_hand_over(state, goal);
    if (hand.most >= goal) return;
    state.hand(hand.g, hand.a, hand.to);
  }
}

void search_further(Domain& domain, double goal, int rounds) {
  Rng rng(1, "expert balancing");
  double best = busiest(domain);
  Domain here = domain;
  for (int round = 0; round < rounds && best > goal; ++round) {
    Domain next = here;
    {
      State state(next);
      shake(state, rng);
    }
    improve(next, goal);
    // Slightly worse places are passed through on the way to better ones.
    const double most = busiest(next);
    if (most <= busiest(here) * 1.01) here = next;
    if (most >= best) continue;
    best = most;
    domain = next;
  }
}

}  // namespace weft::scheduler
