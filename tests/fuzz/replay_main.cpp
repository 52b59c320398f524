// usage: <target>_fuzz [rounds [seed]]      replay seeds and `rounds` mutations (default 20000, 1)
//        <target>_fuzz FILE...              replay these inputs
//        <target>_fuzz --seeds DIRECTORY    write the seed inputs there, a corpus to explore from
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/files.h"
#include "base/rng.h"
#include "tests/fuzz/kept_inputs.h"
#include "tests/fuzz/replay.h"

namespace weft::fuzz {
namespace {

void run(const std::string& input) {
  // A copy of exactly this size, so that the sanitizer sees a read past the end.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::string mutated(std::string text, const std::vector<std::string>& seeds, Rng& rng) {
  static const std::vector<std::string> kTokens = {"0",
                                                   "-1",
                                                   "18446744073709551615",
                                                   "9223372036854775807",
                                                   "1e308",
                                                   "[",
                                                   "]",
                                                   "{",
                                                   "}",
                                                   ",",
                                                   ":",
                                                   "\"",
                                                   "\\u0000",
                                                   "\xff",
                                                   "null",
                                                   "4",
                                                   " "};
  const auto below = [&](std::size_t n) { return rng.below(static_cast<std::uint32_t>(n)); };
  for (std::uint32_t i = 0, n = 1 + below(4); i < n; ++i) {
    const std::size_t at = below(text.size() + 1);
    const std::size_t length = below(std::min<std::size_t>(text.size() - at, 32) + 1);
    switch (below(6)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ 1 << below(8));
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, kTokens[below(kTokens.size())]);
        break;
      case 3:
        text.replace(at, length, kTokens[below(kTokens.size())]);
        break;
      case 4:
        text.insert(at, text.substr(at, length));
        break;
      default: {
        const std::string& other = seeds[below(seeds.size())];
        const std::size_t from = below(other.size() + 1);
        text.replace(at, length, other.substr(from, below(64)));
      }
    }
  }
  return text;
}

/// What exploring this target has kept; nothing where it was never explored.
std::vector<std::string> kept() {
  if (!std::filesystem::exists(WEFT_FUZZ_CORPUS)) return {};
  auto inputs = kept_inputs(WEFT_FUZZ_CORPUS);
  if (inputs) return std::move(*inputs);
  std::fprintf(stderr, "%s\n", inputs.error().message.c_str());
  std::exit(2);
}

int replay(int rounds, std::uint64_t seed) {
  const std::vector<std::string> seeds = seed_inputs(), explored = kept();
  run("");
  for (const std::string& input : seeds) run(input);
  for (const std::string& input : explored) run(input);
  for (int round = 0; round < rounds; ++round) {
    Rng rng(seed, "fuzz", static_cast<std::uint64_t>(round));
    run(mutated(seeds[rng.below(static_cast<std::uint32_t>(seeds.size()))], seeds, rng));
  }
  std::printf("%zu seed inputs, %zu kept and %d mutations, seed %llu: every promise held\n",
              seeds.size(), explored.size(), rounds, static_cast<unsigned long long>(seed));
  return 0;
}

}  // namespace
}  // namespace weft::fuzz

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--seeds") {
    int number = 0;
    for (const std::string& input : weft::fuzz::seed_inputs()) {
      const std::string path = std::string(argv[2]) + "/seed-" + std::to_string(number++);
      std::FILE* const file = std::fopen(path.c_str(), "wb");
      if (file == nullptr) return 2;
      std::fwrite(input.data(), 1, input.size(), file);
      std::fclose(file);
    }
    return 0;
  }
  char* end = nullptr;
  const long rounds = argc > 1 ? std::strtol(argv[1], &end, 10) : 20000;
  if (argc <= 1 || *end == '\0')
    return weft::fuzz::replay(static_cast<int>(rounds),
                              argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  for (int i = 1; i < argc; ++i) {
    const auto input = weft::read_file(argv[i]);
    if (!input) {
      std::fprintf(stderr, "%s\n", input.error().message.c_str());
      return 2;
    }
    weft::fuzz::run(*input);
  }
  return 0;
}
