#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dualpipe/executor.h"
#include "dualpipe/overlap.h"

namespace weft::dualpipe {
namespace {

using K = PhaseKind;

std::vector<Phase> forward_of(int layers, int dense = 0) {
  std::vector<Phase> phases;
  for (int l = 0; l < layers; ++l) {
    phases.push_back({K::Attention, l, Part::Whole});
    if (l >= dense) phases.push_back({K::Dispatch, l, Part::Whole});
    phases.push_back({K::Experts, l, Part::Whole});
    if (l >= dense) phases.push_back({K::Combine, l, Part::Whole});
  }
  return phases;
}

std::vector<Phase> backward_of(int layers, int dense = 0) {
  std::vector<Phase> phases;
  for (int l = layers - 1; l >= 0; --l) {
    if (l >= dense) phases.push_back({K::Combine, l, Part::Input});
    phases.push_back({K::Experts, l, Part::Input});
    phases.push_back({K::Experts, l, Part::Weights});
    if (l >= dense) phases.push_back({K::Dispatch, l, Part::Input});
    phases.push_back({K::Attention, l, Part::Input});
    phases.push_back({K::Attention, l, Part::Weights});
  }
  return phases;
}

/// A backward that computes its blocks again.
std::vector<Phase> again_of(int layers, int dense = 0) {
  std::vector<Phase> phases;
  for (const Phase& phase : backward_of(layers, dense)) {
    const bool first =
        phase.part == Part::Input && phase.kind == (phase.layer >= dense ? K::Combine : K::Experts);
    if (first) phases.push_back({K::Attention, phase.layer, Part::Again});
    if (first && phase.layer >= dense) phases.push_back({K::Dispatch, phase.layer, Part::Again});
    if (phase.kind == K::Experts && phase.part == Part::Input)
      phases.push_back({K::Experts, phase.layer, Part::Again});
    phases.push_back(phase);
  }
  return phases;
}

std::string text(const PhaseStep& step) {
  const char* part = !step.backward                     ? "F"
                     : step.phase.part == Part::Weights ? "W"
                     : step.phase.part == Part::Again   ? "A"
                                                        : "B";
  return std::string(to_string(step.phase.kind)) + "(" + part + ")";
}

std::string text(const std::vector<PhaseStep>& steps) {
  std::string all;
  for (const PhaseStep& step : steps) all += (all.empty() ? "" : " ") + text(step);
  return all;
}

std::string text(const std::vector<PhaseMove>& moves) {
  std::string all;
  for (const PhaseMove& move : moves) {
    const char* mark = move.what == PhaseMove::What::Begin    ? "+"
                       : move.what == PhaseMove::What::Finish ? "-"
                                                              : "";
    all += (all.empty() ? "" : " ") + std::string(mark) + text(move.step);
  }
  return all;
}

TEST(MergePhases, IsThePublishedOrderForALayerPair) {
  EXPECT_EQ(text(merge_phases(forward_of(1), backward_of(1))),
            "combine(B) attention(F) experts(B) dispatch(F) dispatch(B) experts(W) experts(F) "
            "attention(B) attention(W) combine(F)");
}

TEST(MergePhases, WhatIsComputedAgainComesBeforeWhatReadsIt) {
  EXPECT_EQ(text(merge_phases(forward_of(1), again_of(1))),
            "attention(A) dispatch(A) combine(B) attention(F) experts(A) experts(B) dispatch(F) "
            "dispatch(B) experts(W) experts(F) attention(B) attention(W) combine(F)");
  EXPECT_EQ(text(merge_phases(forward_of(1, 1), again_of(1, 1))),
            "attention(A) attention(F) experts(A) experts(B) experts(W) experts(F) attention(B) "
            "attention(W)");
}

TEST(MergePhases, ALayerWithoutExchangeJustLacksThosePhases) {
  EXPECT_EQ(text(merge_phases(forward_of(1, 1), backward_of(1))),
            "combine(B) attention(F) experts(B) dispatch(B) experts(W) experts(F) attention(B) "
            "attention(W)");
}

TEST(MergePhases, KeepsTheOrderOfEachPassAndLosesNothing) {
  for (int f = 0; f <= 3; ++f) {
    for (int b = 0; b <= 3; ++b) {
      for (int dense = 0; dense <= 2; ++dense) {
        auto forward = forward_of(f, dense);
        auto backward = backward_of(b, dense);
        forward.insert(forward.begin(), {K::Embed, 0, Part::Whole});
        forward.push_back({K::Head, f, Part::Whole});
        backward.insert(backward.begin(), {{K::Head, b, Part::Input}, {K::Head, b, Part::Weights}});
        backward.push_back({K::Embed, 0, Part::Weights});
        const auto merged = merge_phases(forward, backward);
        ASSERT_EQ(merged.size(), forward.size() + backward.size());
        std::vector<Phase> seen_forward, seen_backward, seen_weights;
        for (const PhaseStep& step : merged) {
          (!step.backward                     ? seen_forward
           : step.phase.part == Part::Weights ? seen_weights
                                              : seen_backward)
              .push_back(step.phase);
        }
        std::vector<Phase> weights;
        std::copy_if(backward.begin(), backward.end(), std::back_inserter(weights),
                     [](const Phase& p) { return p.part == Part::Weights; });
        std::erase_if(backward, [](const Phase& p) { return p.part == Part::Weights; });
        EXPECT_EQ(seen_forward, forward);
        EXPECT_EQ(seen_backward, backward);
        EXPECT_EQ(seen_weights, weights);
      }
    }
  }
}

TEST(MergePhases, AListThatIsNotMadeOfLayersIsRunPassAfterPass) {
  const std::vector<Phase> odd = {{K::Combine, 0, Part::Whole}, {K::Attention, 0, Part::Whole}};
  const auto backward = backward_of(1);
  const auto merged = merge_phases(odd, backward);
  ASSERT_EQ(merged.size(), odd.size() + backward.size());
  EXPECT_EQ(merged[0].phase, odd[0]);
  EXPECT_EQ(merged[1].phase, odd[1]);
}

// The overlaps of the published profile: combine(B) with attention(F), dispatch(F) with
// experts(B), dispatch(B) with experts(W) and experts(F), combine(F) with attention(B).
TEST(OverlappedMoves, HideTheExchangesAsThePublishedProfileDoes) {
  EXPECT_EQ(text(overlapped_moves(merge_phases(forward_of(1), backward_of(1)))),
            "+combine(B) attention(F) +dispatch(F) -combine(B) experts(B) +dispatch(B) experts(W) "
            "-dispatch(F) experts(F) +combine(F) -dispatch(B) attention(B) attention(W) "
            "-combine(F)");
}

TEST(OverlappedMoves, TheNextLayersExchangeStartsBeforeTheLastWeightGradients) {
  const std::string moves = text(overlapped_moves(merge_phases(forward_of(2), backward_of(2))));
  EXPECT_THAT(moves, testing::HasSubstr("-dispatch(B) attention(B) +combine(B) attention(W) "
                                        "-combine(F) attention(F)"));
}

// Behind attention(F) the second dispatch, behind experts(A) the gradient of the combine.
TEST(OverlappedMoves, HideTheSecondDispatchOfARecomputedBlock) {
  EXPECT_EQ(text(overlapped_moves(merge_phases(forward_of(1), again_of(1)))),
            "attention(A) +dispatch(A) attention(F) -dispatch(A) +combine(B) +dispatch(F) "
            "experts(A) -combine(B) experts(B) +dispatch(B) experts(W) -dispatch(F) experts(F) "
            "+combine(F) -dispatch(B) attention(B) attention(W) -combine(F)");
}

TEST(OverlappedMoves, EveryExchangeIsBegunOnceThenFinishedOnceAndNeverTwoOfOnePass) {
  for (int f = 0; f <= 3; ++f) {
    for (int b = 0; b <= 6; ++b) {
      for (int dense = 0; dense <= 2; ++dense) {
        const auto merged =
            merge_phases(forward_of(f, dense), b <= 3 ? backward_of(b, dense) : again_of(b - 3));
        const auto moves = overlapped_moves(merged);
        std::vector<Phase> open[2];
        std::size_t runs = 0, begins = 0;
        for (const PhaseMove& move : moves) {
          auto& mine = open[move.step.backward];
          if (move.what == PhaseMove::What::Begin) {
            EXPECT_TRUE(mine.empty());
            mine.push_back(move.step.phase);
            ++begins;
          } else if (move.what == PhaseMove::What::Finish) {
            EXPECT_EQ(mine, std::vector<Phase>{move.step.phase});
            mine.clear();
          } else {
            const Part part = move.step.phase.part;
            EXPECT_TRUE(mine.empty() || part == Part::Weights ||
                        (part == Part::Again && mine.front().part == Part::Input));
            ++runs;
          }
        }
        EXPECT_TRUE(open[0].empty() && open[1].empty());
        EXPECT_EQ(runs + begins, merged.size());
      }
    }
  }
}

TEST(PlainMoves, SplitABackwardIntoInputAndWeights) {
  EXPECT_EQ(text(plain_moves(backward_of(1), true, Parts::ButWeights)),
            "+combine(B) -combine(B) experts(B) +dispatch(B) -dispatch(B) attention(B)");
  EXPECT_EQ(text(plain_moves(backward_of(1), true, Parts::WeightsOnly)), "experts(W) attention(W)");
}

// Mean milliseconds a layer in the published training profile (deepseek-ai/profile-data).
double published(const PhaseStep& step) {
  if (step.phase.part == Part::Again) return published({false, {step.phase.kind, 0, Part::Whole}});
  const bool weights = step.phase.part == Part::Weights;
  switch (step.phase.kind) {
    case K::Attention:
      return !step.backward ? 4.4 : weights ? 2.4 : 9.3;
    case K::Experts:
      return !step.backward ? 4.6 : weights ? 3.5 : 5.3;
    case K::Dispatch:
      return step.backward ? 6.2 : 4.4;
    case K::Combine:
      return step.backward ? 3.4 : 6.0;
    default:
      return 0;
  }
}

TEST(CostMoves, APairHidesAllButItsEndsAndAPassAloneHidesNothing) {
  for (int layers = 1; layers <= 4; ++layers) {
    const auto forward = forward_of(layers);
    const auto backward = backward_of(layers);
    const PairTime pair = cost_moves(overlapped_moves(merge_phases(forward, backward)), published);
    EXPECT_NEAR(pair.compute, 29.5 * layers, 1e-9);
    EXPECT_NEAR(pair.exchange, 20.0 * layers, 1e-9);
    EXPECT_LT(pair.exposed, 0.1 * pair.exchange) << layers;
    const PairTime alone = cost_moves(plain_moves(forward, false, Parts::All), published);
    EXPECT_NEAR(alone.exposed, alone.exchange, 1e-9);
  }
}

TEST(CostMoves, APairThatRecomputesHidesAsMuch) {
  for (int layers = 1; layers <= 4; ++layers) {
    const auto forward = forward_of(layers);
    const PairTime kept =
        cost_moves(overlapped_moves(merge_phases(forward, backward_of(layers))), published);
    const PairTime again =
        cost_moves(overlapped_moves(merge_phases(forward, again_of(layers))), published);
    EXPECT_GT(again.exchange, kept.exchange);
    EXPECT_LT(again.exposed, 0.1 * again.exchange) << layers;
  }
}

TEST(CostMoves, OfExchangesAsLongAsTheComputeNineteenPartsInTwentyAreHidden) {
  const auto even = [](const PhaseStep& step) {
    return communicates(step.phase) ? 1.5 : 1.0;  // 6 units of each a layer pair
  };
  for (int layers = 2; layers <= 8; ++layers) {
    const PairTime pair =
        cost_moves(overlapped_moves(merge_phases(forward_of(layers), backward_of(layers))), even);
    EXPECT_DOUBLE_EQ(pair.compute, pair.exchange);
    EXPECT_LE(pair.exposed, 0.05 * pair.exchange) << layers;
  }
}

TEST(Overlap, ReadsAsAListOfMoves) {
  EXPECT_EQ(to_text(overlapped_moves(merge_phases(forward_of(1, 1), backward_of(1)))),
            "begin combine(B) layer 0\nattention(F) layer 0\nfinish combine(B) layer 0\n"
            "experts(B) layer 0\nbegin dispatch(B) layer 0\nexperts(W) layer 0\n"
            "experts(F) layer 0\nfinish dispatch(B) layer 0\nattention(B) layer 0\n"
            "attention(W) layer 0\n");
}

}  // namespace
}  // namespace weft::dualpipe
