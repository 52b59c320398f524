#include "runtime/drift/drift_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/scratch.h"

namespace weft::runtime {
namespace {

using testing::HasSubstr;

/// A directory that is this process's configuration, with a description of this host in it.
class ConfigHome {
 public:
  explicit ConfigHome(const std::string& host) {
    std::filesystem::create_directories(path_ / "weft");
    std::ofstream(path_ / "weft" / "this-host.yaml") << host;
    ::setenv("XDG_CONFIG_HOME", path_.c_str(), 1);
  }
  ~ConfigHome() { ::unsetenv("XDG_CONFIG_HOME"); }
  ConfigHome(const ConfigHome&) = delete;
  ConfigHome& operator=(const ConfigHome&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  const test::Scratch scratch_;
  const std::filesystem::path path_ = scratch_.path();
};

TEST(DriftWatch, LooksOnceAfterTheFirstStepsAndSaysWhyThereIsNothingToCompare) {
  const ConfigHome home("name: nothing\n");
  EXPECT_EQ(known_cluster(), home.path() / "weft" / "this-host.yaml");
  const auto watch = DriftWatch::of(Job{}, home.path() / "traces");
  ASSERT_NE(watch, nullptr);
  for (long long step = 1; step <= 24; ++step) {
    watch->look(step);
    EXPECT_FALSE(watch->take()) << "the first steps are not of the usual kind";
  }
  watch->look(25);
  std::optional<Expected<Drift>> found;
  for (int i = 0; i < 30000 && !found; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    found = watch->take();
  }
  ASSERT_TRUE(found);
  ASSERT_FALSE(*found);
  EXPECT_THAT(found->error().message, HasSubstr("this-host.yaml cannot be used"));
  watch->look(100);
  EXPECT_FALSE(watch->take()) << "once a run";
}

TEST(DriftWatch, SaysNothingWhereNoClusterIsKnown) {
  const ConfigHome home("");
  std::filesystem::remove(home.path() / "weft" / "this-host.yaml");
  EXPECT_EQ(known_cluster(), "");
  EXPECT_EQ(DriftWatch::of(Job{}, home.path()), nullptr);
}

}  // namespace
}  // namespace weft::runtime
