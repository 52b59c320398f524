#include "base/units.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace weft {
namespace {

TEST(Units, ParseWhatPeopleWrite) {
  EXPECT_EQ(*parse_duration("250ms"), std::chrono::milliseconds(250));
  EXPECT_EQ(*parse_duration("2h"), std::chrono::hours(2));
  EXPECT_EQ(*parse_duration("0"), Duration(0));
  EXPECT_EQ(*parse_bytes("16MiB"), 16u << 20);
  EXPECT_EQ(*parse_bytes("1.5KiB"), 1536u);
  EXPECT_EQ(*parse_count("14.8T"), 14'800'000'000'000u);
}

TEST(Units, RefuseWhatHasNoUnitOrNoSense) {
  for (const char* text : {"", "5", "-3s", "3 parsecs", "nan s", "s"})
    EXPECT_FALSE(parse_duration(text)) << text;
  for (const char* text : {"", "0.5B", "-1KiB", "1e30TiB"}) EXPECT_FALSE(parse_bytes(text)) << text;
  EXPECT_FALSE(parse_count("1.5"));
}

TEST(Units, PrintForPeople) {
  EXPECT_EQ(format_duration(std::chrono::milliseconds(3400)), "3.4 s");
  EXPECT_EQ(format_duration(std::chrono::seconds(72)), "1 m 12 s");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_time(WallTime(std::chrono::milliseconds(1'700'000'000'123))),
            "2023-11-14T22:13:20.123Z");
}

TEST(Text, ClosestFindsTheTypingErrorAndNothingElse) {
  const std::vector<std::string> names = {"num_generations", "beta", "epsilon"};
  EXPECT_EQ(closest("num_generation", names), "num_generations");
  EXPECT_EQ(closest("bate", names), "beta");
  EXPECT_EQ(closest("completely_else", names), "");
  EXPECT_EQ(edit_distance("ab", "ba"), 1);
}

}  // namespace
}  // namespace weft
