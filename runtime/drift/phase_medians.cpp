#include "runtime/drift/phase_medians.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <tuple>

namespace weft::runtime {

using dualpipe::MeasuredStep;
using dualpipe::Op;
using dualpipe::Part;
using dualpipe::PhaseKind;
using dualpipe::PhaseStep;
using dualpipe::RankStep;
using dualpipe::Record;

namespace {

constexpr double kSecond = 1e-9;  // of a nanosecond

bool is_phase(const Record& record) {
  return record.what == Record::What::Phase || record.what == Record::What::Exchange;
}

PhaseStep step_of(const Record& record) {
  PhaseStep step;
  step.backward = record.backward != 0;
  step.phase.kind = static_cast<PhaseKind>(record.phase);
  step.phase.part = static_cast<Part>(record.part);
  step.phase.layer = record.layer;
  return step;
}

/// Of the rank's own time. A hidden exchange goes on until somebody looks, and one that has to wait
/// for its peers does not work meanwhile: only its beginning and its end hold the rank.
std::int64_t own_ns(const Record& record) {
  const std::int64_t held = record.head_ns + record.tail_ns;
  return record.what == Record::What::Exchange && held > 0 ? held : record.end_ns - record.begin_ns;
}

using Same = std::tuple<std::string, int, int, int, bool>;  // name, rank, stage, layer, first
struct Durations {
  bool exchange = false;
  std::vector<double> seconds;
};

std::set<int> pairs_of(const RankStep& rank, int pass) {
  std::set<int> pairs;  // program indices; a phase's record does not say
  for (const Record& record : rank.recorded.records)
    if (record.what == Record::What::Action && record.pass == pass &&
        record.op == static_cast<std::uint8_t>(Op::FB))
      pairs.insert(record.action);
  return pairs;
}

}  // namespace

std::string name_of(const PhaseStep& step) {
  std::string name(dualpipe::to_string(step.phase.kind));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (step.phase.part == Part::Again) return name + " again";
  if (!step.backward) return name;
  return name + (step.phase.part == Part::Weights ? " weights" : " backward");
}

std::vector<PhaseMedian> phase_medians(
    const std::vector<MeasuredStep>& steps,
    const std::function<void(const std::string&, int, int, const PhaseStep&, bool)>& each) {
  std::map<Same, Durations> all;
  for (const MeasuredStep& step : steps) {
    const int pass = dualpipe::training_pass(step);
    if (pass < 0 || !step.closed) continue;
    for (const RankStep& rank : step.ranks) {
      const std::set<int> pairs = pairs_of(rank, pass);
      std::set<std::tuple<std::string, int, int>> seen;
      for (const Record& record : rank.recorded.records) {
        if (record.pass != pass || !is_phase(record) || record.stage < 0 || record.layer < 0)
          continue;
        const PhaseStep one = step_of(record);
        const std::string name = name_of(one);
        const bool first = seen.insert({name, record.stage, record.layer}).second;
        Durations& to = all[{name, rank.info.rank, record.stage, record.layer, first}];
        to.exchange = record.what == Record::What::Exchange;
        to.seconds.push_back(kSecond * static_cast<double>(own_ns(record)));
        if (each) each(name, rank.info.rank, record.stage, one, pairs.contains(record.action));
      }
    }
  }
  std::vector<PhaseMedian> medians;
  for (auto& [same, durations] : all) {
    std::vector<double>& values = durations.seconds;
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::ranges::nth_element(values, middle);
    const auto& [name, rank, stage, layer, first] = same;
    medians.push_back({name, rank, stage, layer, durations.exchange, first,
                       static_cast<int>(values.size()), *middle});
  }
  return medians;
}

double computing_seconds(const std::vector<MeasuredStep>& steps) {
  double whole = 0;
  std::size_t ranks = 0;
  for (const MeasuredStep& step : steps)
    if (dualpipe::training_pass(step) >= 0 && step.closed) {
      ++whole;
      ranks = std::max(ranks, step.ranks.size());
    }
  if (ranks == 0) return 0;
  const std::vector<PhaseMedian> medians = phase_medians(steps);
  double sum = 0;
  // Sorted: what came later follows before what came first.
  for (std::size_t i = 0; i < medians.size(); ++i) {
    const PhaseMedian& one = medians[i];
    if (one.exchange) continue;
    const bool packs = one.first && i > 0 && !medians[i - 1].first &&
                       medians[i - 1].phase == one.phase && medians[i - 1].rank == one.rank &&
                       medians[i - 1].stage == one.stage && medians[i - 1].layer == one.layer;
    sum += (packs ? medians[i - 1].seconds : one.seconds) * one.count;
  }
  return sum / whole / static_cast<double>(ranks);
}

}  // namespace weft::runtime
