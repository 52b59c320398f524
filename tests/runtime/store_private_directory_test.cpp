#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "runtime/store/private_directory.h"
#include "runtime/store/run_store.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

class PrivateDirectory : public testing::Test {
 protected:
  static unsigned mode_of(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0);
    return status.st_mode & 0777;
  }
  const test::Scratch scratch_;
  const fs::path root_ = scratch_.path();
};

TEST_F(PrivateDirectory, WhatIsMadeIsNotForOthersToWriteWhateverTheUmask) {
  const mode_t before = ::umask(0);
  const auto made = make_private_directory(root_ / "runs" / "one");
  ::umask(before);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(mode_of(root_ / "runs" / "one") & 022, 0u);
}

TEST_F(PrivateDirectory, WhereOthersMayWriteNoRunIsKept) {
  SystemClock clock;
  const fs::path run = root_ / "run";
  ASSERT_TRUE(RunStore::open(run, clock));
  for (const unsigned mode : {0775u, 0757u, 0777u}) {
    ASSERT_EQ(::chmod(run.c_str(), mode), 0);
    for (const auto& opened : {RunStore::open(run, clock), RunStore::join(run, clock)}) {
      ASSERT_FALSE(opened);
      EXPECT_EQ(opened.error().code, Code::InvalidArgument);
      for (const std::string& part : {run.string(), std::string("chmod go-w")})
        EXPECT_NE(opened.error().message.find(part), std::string::npos) << opened.error().message;
    }
  }
  ASSERT_EQ(::chmod(run.c_str(), 0755), 0);
  EXPECT_TRUE(RunStore::open(run, clock));
}

TEST_F(PrivateDirectory, ADirectoryOfSomebodyElseIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  ASSERT_EQ(::chown(root_.c_str(), 12345, 12345), 0);
  const auto checked = check_private_directory(root_);
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find("12345"), std::string::npos);
}

}  // namespace
}  // namespace weft::runtime
