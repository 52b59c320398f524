#include <cstdio>

#include "dualpipe/waits.h"

namespace weft::dualpipe {
namespace {

constexpr std::size_t kLinesMax = 16;

std::string age_text(std::int64_t age_ns) {
  if (age_ns < 0) return "it never gave a sign of life";
  char text[64];
  std::snprintf(text, sizeof text, "last sign of life %.3g s ago",
                static_cast<double>(age_ns) * 1e-9);
  return text;
}

std::string step_text(const Here& here) {
  return here.step > 0 ? " in step " + std::to_string(here.step) : "";
}

}  // namespace

std::string_view to_string(Culprit::Why why) {
  constexpr std::string_view kNames[] = {"stopped", "gone", "unknown", "works", "stands", "cycle"};
  return kNames[static_cast<std::size_t>(why)];
}

std::string describe(const Culprit& culprit, const Standing& standing) {
  std::string text = "rank " + std::to_string(culprit.rank) + " ";
  if (!standing.known) {
    text += culprit.why == Culprit::Why::Stopped ? "is stopped"
            : culprit.why == Culprit::Why::Gone  ? "is gone"
                                                 : "is silent";
    return text + "; nothing tells where it stands";
  }
  text += describe(standing.here) + step_text(standing.here);
  switch (culprit.why) {
    case Culprit::Why::Stopped:
      text += "; its process is stopped";
      break;
    case Culprit::Why::Gone:
      text += "; its process is gone";
      break;
    case Culprit::Why::Stands:
      text += "; that is there, but it does not go on";
      break;
    case Culprit::Why::Cycle:
      text += "; those whom it waits for wait for it";
      break;
    case Culprit::Why::Unknown:
    case Culprit::Why::Works:
      break;
  }
  return text + "; " + age_text(standing.age_ns);
}

std::string describe(const Wait& wait, const Standing& waiter) {
  return "rank " + std::to_string(wait.from) + " waits for rank " + std::to_string(wait.to) + ": " +
         describe(waiter.here);
}

std::string to_text(const Diagnosis& diagnosis, const std::vector<Standing>& standings) {
  if (diagnosis.culprits.empty()) return "no rank waits for another";
  std::string text;
  std::size_t lines = 0;
  const auto add = [&](const std::string& line) {
    if (lines++ < kLinesMax) text += (text.empty() ? "" : "\n  ") + line;
  };
  for (const Culprit& culprit : diagnosis.culprits)
    add(describe(culprit, standings[static_cast<std::size_t>(culprit.rank)]));
  for (const Wait& wait : diagnosis.chain)
    add(describe(wait, standings[static_cast<std::size_t>(wait.from)]));
  if (lines > kLinesMax) text += "\n  ... and " + std::to_string(lines - kLinesMax) + " more";
  return text;
}

}  // namespace weft::dualpipe
