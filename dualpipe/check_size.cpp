// The rule that each kind puts on sizes, and the legal sizes nearest to one that breaks it.
#include <algorithm>
#include <string>

#include "dualpipe/schedule.h"

namespace weft::dualpipe {
namespace {

// Beyond these a schedule is a typing mistake, and its programs would fill the memory.
constexpr int kMaxRanks = 4096;
constexpr int kMaxMicroBatches = 1 << 20;
constexpr int kMaxChunks = 64;
constexpr long long kMaxActions = 2'000'000;

std::string number(long long n) { return std::to_string(n); }

tl::unexpected<Error> refuse(Kind kind, const Size& size, const std::string& rule,
                             const std::string& nearest) {
  std::string message = std::string(to_string(kind)) + " with " + number(size.ranks) +
                        " ranks and " + number(size.micro_batches) + " micro-batches: " + rule;
  if (!nearest.empty()) message += " Nearest legal: " + nearest + ".";
  return fail(Code::InvalidArgument, message);
}

Expected<void> check_range(Kind kind, const Size& size) {
  if (size.ranks < 1 || size.ranks > kMaxRanks) {
    return refuse(kind, size, "ranks must be 1 to " + number(kMaxRanks) + ".", "");
  }
  if (size.micro_batches < 1 || size.micro_batches > kMaxMicroBatches) {
    return refuse(kind, size, "micro-batches must be 1 to " + number(kMaxMicroBatches) + ".", "");
  }
  const int chunks = kind == Kind::Interleaved ? size.chunks : 1;
  if (chunks < 1 || chunks > kMaxChunks) {
    return refuse(kind, size,
                  "chunks must be 1 to " + number(kMaxChunks) + ", not " + number(chunks) + ".",
                  "");
  }
  if (1LL * size.ranks * size.micro_batches * chunks > kMaxActions) {
    return refuse(kind, size,
                  "ranks x micro-batches x chunks must stay below " + number(kMaxActions) + ".",
                  "");
  }
  return {};
}

Expected<void> check_dualpipe(const Size& size) {
  const bool legal =
      size.ranks % 2 == 0 && size.micro_batches % 2 == 0 && size.micro_batches >= 2 * size.ranks;
  if (legal) return {};
  std::string nearest;
  for (int ranks : {size.ranks - size.ranks % 2, size.ranks + size.ranks % 2}) {
    if (ranks < 2 || (!nearest.empty() && size.ranks % 2 == 0)) continue;
    const int micro_batches = std::max(2 * ranks, size.micro_batches + size.micro_batches % 2);
    if (!nearest.empty()) nearest += ", or ";
    nearest += number(ranks) + " ranks with " + number(micro_batches) + " micro-batches";
  }
  const int fewer = size.micro_batches / 4 * 2;
  if (size.ranks % 2 == 0 && fewer >= 2 && fewer < size.ranks) {
    nearest += ", or " + number(fewer) + " ranks with " +
               number(size.micro_batches + size.micro_batches % 2) + " micro-batches";
  }
  return refuse(Kind::DualPipe, size,
                "ranks must be even, micro-batches (both directions together) even and at least "
                "twice the ranks.",
                nearest);
}

Expected<void> check_dualpipev(const Size& size) {
  if (size.micro_batches >= 2 * size.ranks) return {};
  std::string nearest =
      number(size.ranks) + " ranks with " + number(2LL * size.ranks) + " micro-batches";
  if (const int fewer = size.micro_batches / 2; fewer >= 1) {
    nearest +=
        ", or " + number(fewer) + " ranks with " + number(size.micro_batches) + " micro-batches";
  }
  return refuse(Kind::DualPipeV, size, "micro-batches must be at least twice the ranks.", nearest);
}

bool interleaves(int ranks, int micro_batches) {
  return micro_batches >= 1 && micro_batches % std::max(1, micro_batches / ranks) == 0;
}

Expected<void> check_interleaved(const Size& size) {
  if (size.chunks < 2) {
    return refuse(Kind::Interleaved, size,
                  "a rank must hold at least 2 chunks, not " + number(size.chunks) +
                      ". With one chunk a rank, use 1f1b.",
                  "");
  }
  if (interleaves(size.ranks, size.micro_batches)) return {};
  int below = size.micro_batches;
  int above = size.micro_batches;
  while (!interleaves(size.ranks, below)) --below;
  while (!interleaves(size.ranks, above)) ++above;
  return refuse(Kind::Interleaved, size,
                "micro-batches must divide into micro-batches / ranks (rounded down) equal rounds.",
                number(below) + " or " + number(above) + " micro-batches");
}

}  // namespace

Expected<void> check_size(Kind kind, const Size& size) {
  WEFT_TRY(check_range(kind, size));
  switch (kind) {
    case Kind::DualPipe:
      return check_dualpipe(size);
    case Kind::DualPipeV:
      return check_dualpipev(size);
    case Kind::Interleaved:
      return check_interleaved(size);
    default:
      return {};
  }
}

}  // namespace weft::dualpipe
