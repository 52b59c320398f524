// weft-sim: runs seeds, prints what is broken and how to see it again.
//   weft-sim --seeds 500 [--from 1]     so many in a row
//   weft-sim --seed 42 --log            one, with everything that was decided
//   weft-sim --commit 9c1f682           one that nobody has run before: made of the commit's hash
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <string>

#include "base/rng.h"
#include "tests/sim/scenario.h"

namespace weft::runtime::sim {
namespace {

struct Arguments {
  std::uint64_t from = 1, seeds = 0;
  std::optional<std::uint64_t> one;
  bool log = false;
};

bool run_seed(std::uint64_t seed, const Arguments& arguments, std::map<std::string, int>& ends) {
  const Scenario scenario = draw_scenario(seed);
  if (arguments.log) std::cout << "seed " << seed << ": " << describe(scenario);
  std::function<void(const std::string&)> log;
  if (arguments.log) log = [](const std::string& line) { std::cout << line << '\n'; };
  Verdict verdict = run_scenario(scenario, log);
  // Some seeds run twice: whatever differs between two runs is a bug in itself.
  if (seed % 8 == 0 && run_scenario(scenario).summary.hash != verdict.summary.hash)
    verdict.broken.push_back("two runs of this seed differ");
  ++ends[to_string(verdict.summary.end.outcome)];
  if (arguments.log)
    std::cout << to_string(verdict.summary.end.outcome) << ": " << verdict.summary.end.reason
              << "\nended " << verdict.summary.ended << " at " << seconds(verdict.summary.at)
              << " s, " << verdict.generations << " generations, " << verdict.terms << " terms, "
              << verdict.summary.decisions << " + " << verdict.summary.agent_decisions
              << " decisions, hash " << std::hex << verdict.summary.hash << std::dec << '\n';
  if (verdict.broken.empty()) return true;
  std::cout << "seed " << seed << " is broken; see it again with: weft-sim --seed " << seed
            << " --log\n";
  for (const std::string& what : verdict.broken) std::cout << "  " << what << '\n';
  return false;
}

int usage() {
  std::cerr << "usage: weft-sim [--seeds N] [--from S] [--seed S] [--commit HASH] [--log]\n";
  return 2;
}

int main_of(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--log") {
      arguments.log = true;
      continue;
    }
    if (++i == argc) return usage();
    const std::string value = argv[i];
    if (name == "--commit") {
      arguments.one = fnv1a(value) >> 1;
    } else {
      const std::uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
      if (value.empty() || value.find_first_not_of("0123456789") != std::string::npos)
        return usage();
      if (name == "--seeds")
        arguments.seeds = number;
      else if (name == "--from")
        arguments.from = number;
      else if (name == "--seed")
        arguments.one = number;
      else
        return usage();
    }
  }
  if (!arguments.one && arguments.seeds == 0) arguments.seeds = 200;
  std::map<std::string, int> ends;
  std::uint64_t broken = 0;
  if (arguments.one) broken += !run_seed(*arguments.one, arguments, ends);
  for (std::uint64_t i = 0; i < arguments.seeds; ++i)
    broken += !run_seed(arguments.from + i, arguments, ends);
  for (const auto& [outcome, count] : ends) std::cout << count << " " << outcome << "  ";
  std::cout << '\n' << (broken == 0 ? "every promise kept" : "promises broken") << '\n';
  return broken == 0 ? 0 : 1;
}

}  // namespace
}  // namespace weft::runtime::sim

int main(int argc, char** argv) { return weft::runtime::sim::main_of(argc, argv); }
