// usage: tokenizer_bench TEXT [MiB]
// How long a tokenizer of DeepSeek-V3's size takes to load, and how fast text is encoded, beside
// npm's @huggingface/tokenizers in the same run (build/oracles, see deploy/oracles.sh).
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "base/rng.h"
#include "trainer/tokenizer/hf.h"
#include "trainer/tokenizer/hf_write.h"
#include "trainer/tokenizer/train.h"

namespace weft::trainer::tokenizer {
namespace {

/// Processor seconds: the machine may be busy with others.
template <class Work>
double best_of(int times, Work work) {
  double best = 1e300;
  for (int i = 0; i < times; ++i) {
    const std::clock_t begin = std::clock();
    work();
    best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  return best;
}

/// 128 000 tokens of random joins: the file that V3's is, without its words.
std::string v3_sized() {
  Rng rng(1, "bench/vocabulary", 0);
  std::vector<std::string> tokens;
  std::vector<std::pair<int, int>> merges;
  std::set<std::string> known;
  for (int byte = 0; byte < 256; ++byte)
    tokens.emplace_back(1, static_cast<char>(static_cast<unsigned char>(byte)));
  while (tokens.size() < 128'000) {
    const auto pick = [&] {
      return static_cast<int>(
          rng.below(static_cast<std::uint32_t>(std::min<std::size_t>(tokens.size(), 20'000))));
    };
    const int left = pick(), right = pick();
    std::string joined =
        tokens[static_cast<std::size_t>(left)] + tokens[static_cast<std::size_t>(right)];
    if (joined.size() > 16 || !known.insert(joined).second) continue;
    tokens.push_back(std::move(joined));
    merges.emplace_back(left, right);
  }
  return tokenizer_json(*pre_tokenizer_json("deepseek-v3"), tokens, merges,
                        default_special_tokens());
}

/// Seconds that npm's took for `text`, or 0 when it is not there.
double npm_seconds(const std::string& file, const std::string& text,
                   const std::vector<std::int32_t>& ids) {
  namespace fs = std::filesystem;
  if (!fs::exists(WEFT_ORACLE_MODULES)) return 0;
  const fs::path directory =
      fs::temp_directory_path() / ("weft_bench_" + std::to_string(::getpid()));
  fs::create_directories(directory / "t");
  const bool written =
      write_file_atomically(directory / "t/tokenizer.json", file) &&
      write_file_atomically(directory / "texts.json", nlohmann::json({text}).dump()) &&
      write_file_atomically(directory / "tokenizers.json", "[\"t\"]");
  const std::string command =
      "node " WEFT_ORACLE_SCRIPT " " WEFT_ORACLE_MODULES " " + directory.string();
  double seconds = 0;
  if (written && std::system(command.c_str()) == 0) {
    const auto answer = nlohmann::json::parse(read_file(directory / "oracle.json").value_or("{}"));
    seconds = answer["seconds"]["t"].get<double>();
    std::printf("same ids as npm's: %s\n",
                answer["ids"]["t"][0] == nlohmann::json(ids) ? "yes" : "NO");
  }
  fs::remove_all(directory);
  return seconds;
}

int bench(const std::string& path, std::size_t bytes) {
  const std::string large = v3_sized();
  const double load = best_of(5, [&] { (void)parse_tokenizer(large, "v3"); });
  std::printf("load %.1f MB, 128 000 tokens: %.3f s\n", static_cast<double>(large.size()) / 1e6,
              load);
  const auto text = read_file(path);
  if (!text) {
    std::fprintf(stderr, "%s\n", text.error().message.c_str());
    return 2;
  }
  const double begin_train = best_of(1, [&] {
    (void)train(std::vector<std::string>{*text},
                {.vocab_size = 8192, .special = default_special_tokens()});
  });
  const auto trained = train(std::vector<std::string>{*text},
                             {.vocab_size = 8192, .special = default_special_tokens()});
  std::printf("train %.2f MB to %d tokens: %.2f s\n", static_cast<double>(text->size()) / 1e6,
              trained->vocab_size, begin_train);
  const auto tokenizer = parse_tokenizer(trained->tokenizer_json, "trained");
  std::string long_text;
  while (long_text.size() < bytes) long_text += *text;
  long_text.resize(bytes);
  std::vector<std::int32_t> ids;
  const double ours = best_of(5, [&] { ids = tokenizer->encode(long_text); });
  const double speed = static_cast<double>(long_text.size()) / 1e6 / ours;
  std::printf("encode: %.1f MB/s, %.2f bytes a token\n", speed,
              static_cast<double>(long_text.size()) / static_cast<double>(ids.size()));
  const double theirs = npm_seconds(trained->tokenizer_json, long_text, ids);
  if (theirs > 0)
    std::printf("npm's @huggingface/tokenizers: %.2f MB/s; ratio %.1f\n",
                static_cast<double>(long_text.size()) / 1e6 / theirs, theirs / ours);
  return 0;
}

}  // namespace
}  // namespace weft::trainer::tokenizer

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_bench TEXT [MiB]\n");
    return 2;
  }
  const long mib = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 4;
  return weft::trainer::tokenizer::bench(argv[1],
                                         static_cast<std::size_t>(std::clamp(mib, 1L, 256L)) << 20);
}
