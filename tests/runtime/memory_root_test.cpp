// The node's directory in memory: ours alone, and gone with the agent, however that ends.
#include "runtime/agent/memory_root.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

/// A run that no other test has.
fs::path some_run() { return fs::temp_directory_path() / ("memory-" + std::to_string(::getpid())); }

bool gone_in_time(const fs::path& path) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (fs::exists(path) && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return !fs::exists(path);
}

TEST(MemoryRoot, IsOursAloneAndGoesWithUs) {
  auto root = MemoryRoot::make(some_run(), "a");
  ASSERT_TRUE(root) << root.error().message;
  const fs::path path = (*root)->path();
  EXPECT_EQ(path, memory_path(some_run(), "a"));
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  std::ofstream(path / "file") << "bytes";
  const auto second = MemoryRoot::make(some_run(), "a");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::Busy);
  EXPECT_TRUE(fs::exists(path / "file")) << "a second one takes nothing away";
  const auto other = MemoryRoot::make(some_run(), "b");
  ASSERT_TRUE(other) << "another node's is another one";
  EXPECT_TRUE(fs::exists(path / "file"));
  root->reset();
  EXPECT_FALSE(fs::exists(path));
}

TEST(MemoryRoot, AKilledAgentLeavesNothingBehind) {
  const fs::path path = memory_path(some_run(), "killed");
  const pid_t child = ::fork();
  if (child == 0) {
    const auto root = MemoryRoot::make(some_run(), "killed");
    if (root) std::ofstream((*root)->path() / "file") << "bytes";
    ::raise(root ? SIGKILL : SIGTERM);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_TRUE(gone_in_time(path));
}

TEST(MemoryRoot, WhatNobodyHoldsIsRemovedByTheNextAgent) {
  const fs::path orphan = memory_path(some_run(), "orphan");
  ASSERT_TRUE(fs::create_directories(orphan / "step-000000010"));
  const auto root = MemoryRoot::make(some_run(), "next");
  ASSERT_TRUE(root);
  EXPECT_FALSE(fs::exists(orphan));
}

TEST(MemoryRoot, WhatDoesNotLieInMemoryIsRefused) {
  const auto root = MemoryRoot::make(some_run(), "a", "/proc");
  ASSERT_FALSE(root);
  EXPECT_EQ(root.error().code, Code::Unsupported);
}

}  // namespace
}  // namespace weft::runtime
