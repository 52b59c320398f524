// Replays the fuzz target on seeded batches: pure noise, YAML's own characters, and damaged good
// files.
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "base/rng.h"
#include "tests/fuzz/kept_inputs.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace weft {
namespace {

void feed(const std::string& text) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

std::string slurp(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(JobFuzz, NoiseNeverCrashes) {
  const std::string alphabet = ":-?,[]{}#&*!|>'\"%@` \n\t~<=.ab01\\\r";
  for (std::uint64_t round = 0; round < 4000; ++round) {
    Rng rng(1, "job noise", round);
    std::string text;
    for (std::uint32_t n = rng.below(80); n > 0; --n)
      text += round % 4 == 0 ? static_cast<char>(rng.below(256))
                             : alphabet[rng.below(static_cast<std::uint32_t>(alphabet.size()))];
    feed(text);
  }
}

TEST(JobFuzz, WhatExploringKeptNeverCrashes) {
  const auto inputs =
      fuzz::kept_inputs(std::string(WEFT_SOURCE_DIR) + "/tests/fuzz/corpus/job.txt");
  ASSERT_TRUE(inputs) << inputs.error().message;
  EXPECT_FALSE(inputs->empty());
  for (const std::string& input : *inputs) feed(input);
}

TEST(JobFuzz, AKeptInputIsWrittenAsOneLineAndReadAgain) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string line = fuzz::escaped(all);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(fuzz::unescaped(line), all);
  for (const char* bad : {"\\", "a\\n", "\\x0", "\\xg0"}) EXPECT_FALSE(fuzz::unescaped(bad)) << bad;
}

TEST(JobFuzz, DamagedJobFilesNeverCrash) {
  for (const char* name : {"/deploy/jobs/r1-zero-arithmetic.yaml", "/tests/golden/job_bad.yaml"}) {
    const std::string good = slurp(std::string(WEFT_SOURCE_DIR) + name);
    ASSERT_FALSE(good.empty()) << name;
    feed(good);
    for (std::uint64_t round = 0; round < 300; ++round) {
      Rng rng(2, name, round);
      std::string text = good.substr(
          0, round % 3 == 0 ? rng.below(static_cast<std::uint32_t>(good.size())) : good.size());
      for (std::uint32_t n = rng.below(4); n > 0 && !text.empty(); --n)
        text[rng.below(static_cast<std::uint32_t>(text.size()))] =
            static_cast<char>(rng.below(256));
      feed(text);
    }
  }
}

TEST(JobFuzz, DeepNestingAndHugeFilesAreRefused) {
  feed(std::string(20000, '['));
  feed(std::string(20000, '{'));
  std::string staircase;
  for (int i = 0; i < 400; ++i) staircase += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  feed(staircase);
  feed(std::string(std::size_t{2} << 20, 'a'));
}

}  // namespace
}  // namespace weft
