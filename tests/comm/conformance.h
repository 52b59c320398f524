// What every transport promises, and the worlds in which each of them is held to it. The promises
// stand in conformance_*.cpp, one binary.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/comm/ranks.h"

namespace weft::comm {

struct Case {
  Mode mode;
  int ranks;
};

class Conformance : public testing::TestWithParam<Case> {
 protected:
  void run(const RankBody& body) { run_ranks(GetParam().mode, GetParam().ranks, body); }
};

inline constexpr std::size_t kSizes[] = {0, 1, 13, 4097, (std::size_t{1} << 20) + 70003};

/// Bytes that depend on who sends what to whom.
inline std::vector<std::byte> pattern(int from, int to, std::size_t size, std::uint64_t salt = 0) {
  std::vector<std::byte> bytes(size);
  std::uint64_t x = static_cast<std::uint64_t>(from * 1000 + to) * 0x9e3779b97f4a7c15u + salt;
  for (std::byte& b : bytes) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    b = static_cast<std::byte>(x >> 56);
  }
  return bytes;
}

}  // namespace weft::comm
