#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "runtime/job/diagnostics.h"
#include "runtime/job/load.h"

namespace weft::runtime {
namespace {

std::string slurp(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Diagnostics, AFileFullOfErrorsPrintsAsInTheGoldenFile) {
  const std::string golden = WEFT_SOURCE_DIR "/tests/golden/job_bad.txt";
  const Loaded loaded =
      load_job_text(slurp(WEFT_SOURCE_DIR "/tests/golden/job_bad.yaml"), "job.yaml");
  const std::string text = print(loaded.diagnostics);
  if (std::getenv("WEFT_UPDATE_GOLDEN") != nullptr) std::ofstream(golden) << text;
  EXPECT_EQ(text, slurp(golden)) << "rewrite with WEFT_UPDATE_GOLDEN=1";
}

TEST(Diagnostics, TheCaretCountsCharactersNotBytes) {
  const Diagnostic d{Severity::Error, "f", {1, 9, 2}, "na\xC3\xA4me: yes", "m", "", ""};
  EXPECT_EQ(print(std::vector{d}, {.consequence = ""}),
            "f:1:9: error: m\n    na\xC3\xA4me: yes\n           ^~\n1 error.\n");
}

/// {yaml, what the one message must contain, its line, its column}
struct Refused {
  const char* text;
  const char* message;
  int line, column;
};

TEST(Yaml, RefusesWhatYamlCppWouldSwallow) {
  const Refused cases[] = {
      {"seed: 1\nseed: 2\n", "duplicate key 'seed'", 2, 1},
      {"name: 'x\n", "does not end on its line", 1, 7},
      {"name: \"a\n  b\"\n", "does not end on its line", 1, 7},
      {"grpo:\n\tbeta: 1\n", "tab", 2, 1},
      {"grpo:\n  <<: {beta: 1}\n", "merges", 2, 3},
      {"name: &a x\n", "anchors", 1, 7},
      {"name: !!str x\n", "tags", 1, 7},
      {"name: a\n---\nname: b\n", "second document", 2, 1},
      {"name: a\x01\n", "no UTF-8", 1, 8},
      {"name: \xFF\n", "no UTF-8", 1, 7},
      {"- a\n", "list of 'key: value' lines", 1, 1},
      {"grpo: {beta: 1\n", "not YAML", 2, 1},
  };
  for (const Refused& c : cases) {
    const Loaded loaded = load_job_text(c.text, "j");
    ASSERT_FALSE(loaded.diagnostics.empty()) << c.text;
    const Diagnostic& d = loaded.diagnostics.back();
    EXPECT_NE(d.message.find(c.message), std::string::npos) << c.text << ": " << d.message;
    EXPECT_EQ(d.at.line, c.line) << c.text;
    EXPECT_EQ(d.at.column, c.column) << c.text;
  }
}

TEST(Yaml, TakesWindowsLineEndsAndAByteOrderMark) {
  const Loaded loaded = load_job_text("\xEF\xBB\xBFname: a\r\ngrpo:\r\n  beta: x\r\n", "j");
  ASSERT_EQ(loaded.diagnostics.size(), 1u);
  EXPECT_EQ(loaded.diagnostics[0].at.line, 3);
  EXPECT_EQ(loaded.diagnostics[0].source, "  beta: x");
  EXPECT_EQ(loaded.job.name, "a");
}

}  // namespace
}  // namespace weft::runtime
