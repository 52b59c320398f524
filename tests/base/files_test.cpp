#include "base/files.h"

#include <gtest/gtest.h>

#include <fstream>

namespace weft {
namespace {

TEST(Files, AnAtomicWriteIsReadBackWholeAndLeavesNoTemporaryFile) {
  const auto directory = std::filesystem::path(testing::TempDir()) / "weft_files_test";
  std::filesystem::create_directories(directory);
  const auto path = directory / "file";
  ASSERT_TRUE(write_file_atomically(path, "old"));
  ASSERT_TRUE(write_file_atomically(path, "new and longer"));
  EXPECT_EQ(*read_file(path), "new and longer");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 1);
  std::filesystem::remove_all(directory);
}

TEST(Files, AReplacedFileIsReadBackWholeAndLeavesNoTemporaryFile) {
  const auto directory = std::filesystem::path(testing::TempDir()) / "weft_files_replace_test";
  std::filesystem::create_directories(directory);
  const auto path = directory / "file";
  for (const char* const content : {"old and longer", "new", ""}) {
    ASSERT_TRUE(replace_file(path, content));
    EXPECT_EQ(*read_file(path), content);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 1);
  const auto refused = replace_file(directory / "missing" / "file", "x");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("missing"), std::string::npos);
  std::filesystem::remove_all(directory);
}

TEST(Files, ErrorsNameThePathAndTheReason) {
  const auto missing = read_file("/nonexistent/file");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::NotFound);
  EXPECT_NE(missing.error().message.find("/nonexistent/file"), std::string::npos);
  EXPECT_FALSE(write_file_atomically("/proc/nothing/here", "x"));
  EXPECT_EQ(read_file("/dev/zero", 1000).error().code, Code::InvalidArgument);
  EXPECT_EQ(read_file("/tmp").error().code, Code::Io);
}

}  // namespace
}  // namespace weft
