#include "scheduler/memory/exchange_bytes.h"

#include <algorithm>
#include <bit>
#include <cmath>

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
  if (ranks >= m.groups)
    return 1.0 * m.top_groups / m.groups * (1 - missed(open, mine, m.top_k));
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
  const double row = 4.0 * m.hidden, on_its_way = row_on_its_way(work);
  ExchangeBytes b;
  const double lists = 3 * 4 * ranks * choices + 4 * (2 * local + 1) + 2 * 4 * (ranks + 1);
  b.layout = 2 * ranks * rows * row + lists +
             ranks * (2 * grown(sent_rows) + grown(sent_choices));
  // A dispatch: 32 bytes, rows with a count each, choices with expert and weight. Back: rows in
  // full with a value a choice. What comes has room for the largest micro-batch.
  const auto dispatch = [&](double r, double c) { return 32 + r * (on_its_way + 4) + 8 * c; };
  const double out = std::max(dispatch(sent_rows, sent_choices), rows * row + 4 * choices);
  const double largest = tokens * work.largest_micro_batch;
  const double in = std::max(dispatch(largest, largest * std::min<double>(m.top_k, local)),
                             sent_rows * row + 4 * sent_choices);
  b.messages = ranks * out + (ranks - 1) * in;
  if (work.dispatch != Precision::F32) b.encoded = tokens * on_its_way;
  return b;
}

}  // namespace weft::scheduler
