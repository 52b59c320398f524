#include "base/descriptor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace weft {
namespace {

TEST(Descriptor, WhatItGivesIsReadToItsEndAndBounded) {
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  ASSERT_EQ(::write(pipe[1], "a setup", 7), 7);
  ::close(pipe[1]);
  EXPECT_EQ(*read_descriptor(pipe[0], "the setup", 100), "a setup");
  EXPECT_EQ(::close(pipe[0]), -1) << "it has been closed";
  const auto closed = read_descriptor(-1, "the setup", 100);
  ASSERT_FALSE(closed);
  EXPECT_NE(closed.error().message.find("the setup"), std::string::npos);
  const int endless = ::open("/dev/zero", O_RDONLY);
  EXPECT_EQ(read_descriptor(endless, "the setup", 100).error().code, Code::InvalidArgument);
}

}  // namespace
}  // namespace weft
