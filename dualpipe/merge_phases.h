// The merged order of an overlapped pair, as data. Pure.
#pragma once

#include <span>
#include <vector>

#include "dualpipe/stage.h"

namespace weft::dualpipe {

struct PhaseStep {
  bool backward = false;
  Phase phase;
  friend bool operator==(const PhaseStep&, const PhaseStep&) = default;
};

/// The merged order of an overlapped pair. Per layer pair: combine(B), attention(F), experts(B),
/// dispatch(F), dispatch(B), experts(W), experts(F), attention(B), attention(W), combine(F); layers
/// without an expert exchange simply lack those phases. A backward that recomputes its block has
/// attention(A) and dispatch(A) before combine(B), and experts(A) before experts(B). Pure.
/// Source: DeepSeek-V3 technical report, section 3.2.1, and its published profile.
std::vector<PhaseStep> merge_phases(std::span<const Phase> forward,
                                    std::span<const Phase> backward);

}  // namespace weft::dualpipe
