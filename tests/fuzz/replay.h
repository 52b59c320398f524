// Plays a fuzz target as an ordinary test: every seed input, and a batch of mutations of them drawn
// from one seed. With clang and -fsanitize=fuzzer the same target explores instead, and its own
// main (tests/fuzz/replay.h is not used then) drives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace weft::fuzz {

/// Inputs that the target accepts: mutations start from them. Each target defines it.
std::vector<std::string> seed_inputs();

}  // namespace weft::fuzz
