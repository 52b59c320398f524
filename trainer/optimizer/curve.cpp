#include "trainer/optimizer/curve.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <sstream>

#include "base/check.h"
#include "base/units.h"

namespace weft::trainer::optimizer {
namespace {

using Shape = CurvePhase::Shape;

constexpr const char* kGrammar =
    "a phase is: linear|cosine LENGTH [steps|tokens] to VALUE, or constant LENGTH [steps|tokens] "
    "[at VALUE]; phases are separated by commas";

tl::unexpected<Error> refuse(std::string_view phase, const std::string& why) {
  return fail(Code::InvalidArgument,
              "phase '" + std::string(phase) + "': " + why + "\n" + kGrammar);
}

std::optional<double> number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

/// `before`: where the phase before it ends.
Expected<CurvePhase> parse_phase(const std::string& text, double before) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  const std::string whole = words.empty() ? "" : text.substr(text.find_first_not_of(' '));
  if (words.size() < 2) return refuse(whole, "a shape and a length are missing");
  CurvePhase phase;
  if (words[0] == "linear") {
    phase.shape = Shape::Linear;
  } else if (words[0] == "cosine") {
    phase.shape = Shape::Cosine;
  } else if (words[0] != "constant") {
    return refuse(whole, "no shape is called '" + words[0] + "'");
  }
  const auto length = parse_count(words[1]);
  if (!length || *length == 0) return refuse(whole, "'" + words[1] + "' is no length");
  phase.length = static_cast<double>(*length);
  std::size_t next = 2;
  if (next < words.size() && (words[next] == "steps" || words[next] == "tokens"))
    phase.in_tokens = words[next++] == "tokens";
  const bool constant = phase.shape == Shape::Constant;
  if (constant && next == words.size()) {
    phase.to = before;
    return phase;
  }
  if (next + 2 != words.size() || words[next] != (constant ? "at" : "to"))
    return refuse(whole, std::string("'") + (constant ? "at" : "to") + " VALUE' should end it");
  const auto value = number(words[next + 1]);
  if (!value || *value < 0)
    return refuse(whole, "'" + words[next + 1] + "' is not a number of at least 0");
  phase.to = *value;
  return phase;
}

}  // namespace

Curve::Curve(std::vector<CurvePhase> phases) : phases_(std::move(phases)) {
  WEFT_CHECK(!phases_.empty(), "a curve without a phase");
}

Expected<Curve> Curve::parse(std::string_view text) {
  if (const auto value = number(std::string(text)); value && *value >= 0)
    return Curve({{Shape::Constant, *value, 1}});
  std::vector<CurvePhase> phases;
  std::istringstream in{std::string(text)};
  for (std::string part; std::getline(in, part, ',');) {
    WEFT_TRY_ASSIGN(phases.emplace_back(),
                    parse_phase(part, phases.empty() ? 0.0 : phases.back().to));
  }
  if (phases.empty()) return refuse("", "there is none");
  return Curve(std::move(phases));
}

bool Curve::in_tokens() const { return std::ranges::any_of(phases_, &CurvePhase::in_tokens); }

double Curve::at(long long step, const BatchPlan& plan) const {
  long long begin = 0;
  double from = 0;
  for (const CurvePhase& phase : phases_) {
    const double tokens = plan.tokens_before(begin);
    const long long end = phase.in_tokens
                              ? std::max(begin + 1, plan.first_step_with(tokens + phase.length))
                              : begin + static_cast<long long>(phase.length);
    if (step < end) {
      // Of the phase's length, before step `to`.
      const auto passed = [&](long long to) {
        return std::min(phase.length, phase.in_tokens ? plan.tokens_before(to) - tokens
                                                      : static_cast<double>(to - begin));
      };
      if (phase.shape == Shape::Constant) return phase.to;
      if (phase.shape == Shape::Linear)
        return from + (phase.to - from) * passed(step + 1) / phase.length;
      return phase.to + 0.5 * (from - phase.to) *
                            (1 + std::cos(std::numbers::pi * (passed(step) / phase.length)));
    }
    begin = end;
    from = phase.to;
  }
  return from;
}

}  // namespace weft::trainer::optimizer
