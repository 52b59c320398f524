// What an ExpertGrid has to keep, and the nearest one that keeps it.
#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/text.h"
#include "scheduler/balance/balance.h"

namespace weft::scheduler {
namespace {

constexpr int kMost = 1 << 20;

std::string text(int number) { return std::to_string(number); }

/// The two multiples of `unit` around a value.
std::string nearest(int value, int unit) {
  const int low = std::max(unit, value / unit * unit);
  return text(low) + " or " + text(low + unit);
}

std::vector<std::string> out_of_range(const ExpertGrid& grid) {
  std::vector<std::string> out;
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, int>>{{"experts", grid.experts},
                                                          {"replicas", grid.replicas},
                                                          {"groups", grid.groups},
                                                          {"nodes", grid.nodes},
                                                          {"gpus", grid.gpus}})
    if (value < 1 || value > kMost)
      out.push_back(std::string(name) + " = " + text(value) + " is not from 1 to " + text(kMost));
  return out;
}

/// Experts that a GPU may hold.
int experts_of_gpu(const ExpertGrid& grid) {
  return grid.experts / (grid.keeps_groups_on_nodes() ? grid.nodes : 1);
}

void check_replicas(const ExpertGrid& grid, BalancePolicy policy, std::vector<std::string>& out) {
  if (grid.replicas % grid.gpus != 0) {
    // No fewer slots than experts: that would be the next refusal.
    const int low = grid.replicas / grid.gpus * grid.gpus;
    const int high = (std::max(grid.replicas, grid.experts) + grid.gpus - 1) / grid.gpus;
    out.push_back(text(grid.replicas) + " replicas do not divide over " + text(grid.gpus) +
                  " GPUs; " + (low >= grid.experts ? text(low) + " or " : "") +
                  text(high * grid.gpus) + " do");
  } else if (grid.replicas < grid.experts) {
    out.push_back(text(grid.replicas) + " replicas are fewer than " + text(grid.experts) +
                  " experts: each needs one");
  } else if (policy == BalancePolicy::Best && grid.slots_per_gpu() > experts_of_gpu(grid)) {
    const int experts = experts_of_gpu(grid);
    out.push_back("a GPU has " + text(grid.slots_per_gpu()) + " slots for the " + text(experts) +
                  " experts that may live there: some would be there twice; take at most " +
                  text(experts * grid.gpus) + " replicas");
  }
}

/// Numbers that may take the place of one: itself first, then multiples of `unit` around it.
std::set<int> around(int value, int unit, int least) {
  constexpr int kSteps = 6;  // to each side
  std::set<int> out;
  if (value % unit == 0 && value >= least) out.insert(value);
  const int base = std::clamp(value, least, kMost) / unit;
  for (int step = -kSteps; step <= kSteps; ++step)
    if (const long long other = 1LL * (base + step) * unit; other >= least && other <= kMost)
      out.insert(static_cast<int>(other));
  return out;
}

/// The divisors of `value` that are nearest to `wanted`.
std::vector<int> divisors(int value, int wanted) {
  constexpr std::size_t kTried = 8;
  std::vector<int> out;
  for (int d = 1; d <= value; ++d)
    if (value % d == 0) out.push_back(d);
  const double aim = std::log(std::max(1, wanted));
  std::ranges::sort(out, {}, [&](int d) { return std::abs(std::log(d) - aim); });
  out.resize(std::min(out.size(), kTried));
  return out;
}

/// How many numbers differ, and by how much in all.
std::pair<int, double> distance(const ExpertGrid& a, const ExpertGrid& b) {
  std::pair<int, double> out{0, 0};
  for (const auto& [x, y] : std::initializer_list<std::pair<int, int>>{
           {a.replicas, b.replicas}, {a.groups, b.groups}, {a.nodes, b.nodes}, {a.gpus, b.gpus}}) {
    out.first += x != y;
    out.second += std::abs(std::log(std::max(1, x)) - std::log(std::max(1, y)));
  }
  return out;
}

}  // namespace

std::vector<std::string> grid_problems(const ExpertGrid& grid, BalancePolicy policy) {
  std::vector<std::string> out = out_of_range(grid);
  if (!out.empty()) return out;  // no rule can be asked of these
  if (grid.gpus % grid.nodes != 0)
    out.push_back(text(grid.gpus) + " GPUs do not divide over " + text(grid.nodes) + " nodes; " +
                  nearest(grid.gpus, grid.nodes) + " do");
  check_replicas(grid, policy, out);
  if (grid.experts % grid.groups != 0)
    out.push_back(text(grid.experts) + " experts do not divide into " + text(grid.groups) +
                  " groups; " + nearest(grid.experts, grid.groups) + " do");
  return out;
}

Expected<void> check_grid(const ExpertGrid& grid, BalancePolicy policy) {
  const std::vector<std::string> wrong = grid_problems(grid, policy);
  if (wrong.empty()) return {};
  return fail(Code::InvalidArgument, "expert balancing: " + join(wrong, "\n  "));
}

std::optional<ExpertGrid> nearest_grid(const ExpertGrid& grid, BalancePolicy policy) {
  if (grid.experts < 1 || grid.experts > kMost) return std::nullopt;
  std::optional<ExpertGrid> best;
  std::vector<int> groups = {grid.groups};
  if (grid.groups < 1 || grid.experts % grid.groups != 0)
    groups = divisors(grid.experts, grid.groups);
  for (const int g : groups)
    for (const int nodes : around(grid.nodes, 1, 1))
      for (const int gpus : around(grid.gpus, nodes, nodes)) {
        // Of one or two slots a GPU too, however many replicas were asked for.
        std::set<int> replicas = around(grid.replicas, gpus, grid.experts);
        replicas.merge(around(grid.experts, gpus, grid.experts));
        for (const int r : replicas) {
          const ExpertGrid other{grid.experts, r, g, nodes, gpus};
          if ((!best || distance(grid, other) < distance(grid, *best)) &&
              grid_problems(other, policy).empty())
            best = other;
        }
      }
  return best;
}

}  // namespace weft::scheduler
