#include "scheduler/memory/exchange_bytes.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "scheduler/memory/cache_bytes.h"

namespace weft::scheduler {
namespace {

/// That none of `chosen` different ones of `all` is among `mine`.
double missed(double all, double mine, int chosen) {
  double share = 1;
  for (int i = 0; i < chosen; ++i) share *= std::max(0.0, all - mine - i) / (all - i);
  return share;
}

/// That exactly so many of `chosen` different ones of `all` are among `mine`.
double hit(int all, int mine, int chosen, int hits) {
  const auto choose = [](int n, int k) {
    return k < 0 || k > n
               ? 0.0
               : std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1));
  };
  return choose(mine, hits) * choose(all - mine, chosen - hits) / choose(all, chosen);
}

/// That a token goes to a given rank at all.
double reach(const Work& work) {
  const ModelShape& m = work.model;
  const int ranks = work.layout.expert;
  const double mine = 1.0 * m.experts / ranks;
  if (m.experts == 0 || ranks == 1) return 1;
  if (m.groups <= 1 || m.top_groups >= m.groups) return 1 - missed(m.experts, mine, m.top_k);
  const double group = 1.0 * m.experts / m.groups, open = group * m.top_groups;
  if (ranks >= m.groups) return 1.0 * m.top_groups / m.groups * (1 - missed(open, mine, m.top_k));
  double share = 0;
  for (int hits = 1; hits <= m.top_groups; ++hits)
    share += hit(m.groups, m.groups / ranks, m.top_groups, hits) *
             (1 - missed(open, hits * group, m.top_k));
  return share;
}

/// Of a list of int32 that grew by one at a time.
double grown(double count) {
  return 4.0 * static_cast<double>(std::bit_ceil(static_cast<std::size_t>(std::ceil(count))));
}

double row_on_its_way(const Work& work) {
  const double hidden = work.model.hidden;
  switch (work.dispatch) {
    case Precision::FP8:
      return hidden + std::ceil(hidden / 128);
    case Precision::BF16:
      return 2 * hidden;
    case Precision::F32:
      break;
  }
  return 4 * hidden;
}

/// A dispatch: 32 bytes, rows with a count each, choices with expert and weight.
double dispatch_bytes(const Work& work, double rows, double choices) {
  return 32 + rows * (row_on_its_way(work) + 4) + 8 * choices;
}

/// What comes from one rank has room for the largest micro-batch; a token has so many choices there
/// at most.
double incoming_bytes(const Work& work, double experts_there) {
  const double largest = work.micro_batch_tokens() * work.largest_micro_batch;
  return dispatch_bytes(work, largest, largest * std::min<double>(work.model.top_k, experts_there));
}

/// Every choice's result comes home by itself, and is summed there (comm/exchange/replica_hop.h).
double replica_bytes(const Work& work) {
  const ModelShape& m = work.model;
  if (work.redundant_experts == 0 || work.layout.expert == 1) return 0;
  const double ranks = work.layout.expert, row = 4.0 * m.hidden;
  const double tokens = rollout_rows(work) * work.rollout_prompt;  // of its first pass
  const double rows = tokens * reach(work), choices = tokens * m.top_k / ranks;
  const double out = std::max(dispatch_bytes(work, rows, choices), choices * row);
  const double in =
      std::max(incoming_bytes(work, m.experts / ranks + work.redundant_experts), choices * row);
  return ranks * (out + rows * row) + (ranks - 1) * in;
}

}  // namespace

double received_rows(const Work& work) {
  return work.micro_batch_tokens() * work.layout.expert * reach(work);
}

ExchangeBytes exchange_bytes(const Work& work, double imbalance) {
  const ModelShape& m = work.model;
  const double ranks = work.layout.expert, tokens = work.micro_batch_tokens();
  const double local = m.experts / ranks;
  const double sent_rows = tokens * reach(work), sent_choices = tokens * m.top_k / ranks;
  const double rows = imbalance * sent_rows, choices = imbalance * sent_choices;  // from each
  const double row = 4.0 * m.hidden;
  ExchangeBytes b;
  const double lists = 3 * 4 * ranks * choices + 4 * (2 * local + 1) + 2 * 4 * (ranks + 1);
  b.layout = 2 * ranks * rows * row + lists + ranks * (2 * grown(sent_rows) + grown(sent_choices));
  // Back: rows in full with a value a choice.
  const double out =
      std::max(dispatch_bytes(work, sent_rows, sent_choices), rows * row + 4 * choices);
  const double in = std::max(incoming_bytes(work, local), sent_rows * row + 4 * sent_choices);
  b.messages = ranks * out + (ranks - 1) * in;
  if (work.dispatch != Precision::F32) b.encoded = tokens * row_on_its_way(work);
  b.replicas = replica_bytes(work);
  return b;
}

}  // namespace weft::scheduler
