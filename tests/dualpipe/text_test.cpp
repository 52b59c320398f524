#include "dualpipe/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "all_sizes.h"
#include "base/rng.h"
#include "dualpipe/check.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;

TEST(Text, RoundTripsEverySchedule) {
  for_all_sizes(4, 10, [](const Schedule& schedule) {
    ASSERT_EQ(*parse(to_text(schedule)), schedule);
    const Schedule lowered = add_step_end(add_messages(schedule));
    ASSERT_EQ(*parse(to_text(lowered)), lowered);
  });
}

TEST(Text, AllowsCommentsEmptyLinesAndLinesThatGoOn) {
  const auto schedule = parse(
      "# made by hand\r\n\n"
      "weft.schedule/v1 kind=gpipe ranks=1 micro_batches=1  # header\r\n"
      "0: F:0.0.0\n"
      "   B:0.0.0 # the end");
  ASSERT_TRUE(schedule) << schedule.error().message;
  EXPECT_EQ(*schedule, must_generate(Kind::GPipe, 1, 1));
}

TEST(Text, NamesLineAndColumnOfAMistake) {
  const std::string header = "weft.schedule/v1 kind=gpipe ranks=2 micro_batches=1\n";
  const auto message = [&](const std::string& body) {
    return parse(header + body).error().message;
  };
  EXPECT_THAT(message("0: F:0.0.0 Q:0.0.0\n"),
              HasSubstr("line 2, column 12: no action is called 'Q'"));
  EXPECT_THAT(message("0: F:0.0\n"), HasSubstr("line 2, column 9: expected '.'"));
  EXPECT_THAT(message("0: F:0.0.-1\n"), HasSubstr("line 2, column 10: expected the micro-batch"));
  EXPECT_THAT(message("0: F:0.0.0x\n"), HasSubstr("expected a space"));
  EXPECT_THAT(message("1: F:0.0.0\n"), HasSubstr("expected rank 0 of 2"));
  EXPECT_THAT(message("0: F:0.0.0\n"), HasSubstr("the text ends after 1 of 2 ranks"));
  EXPECT_THAT(message("0: FB:0.0.0\n"), HasSubstr("expected '+'"));
  EXPECT_THAT(message(" F:0.0.0\n"), HasSubstr("there is none above"));
  EXPECT_THAT(parse("").error().message, HasSubstr("empty"));
  EXPECT_THAT(parse("hello\n").error().message, HasSubstr("expected a header"));
  EXPECT_THAT(parse("weft.schedule/v1 kind=dualpip\n").error().message,
              HasSubstr("did you mean 'dualpipe'"));
}

TEST(Text, BrokenInputIsAnErrorOrAScheduleButNeverACrash) {
  const std::string good = to_text(add_messages(must_generate(Kind::DualPipe, 2, 4)));
  Rng rng(1, "text-fuzz");
  for (int i = 0; i < 1500; ++i) {
    std::string bad = good;
    for (int edits = 0; edits < 3; ++edits) {
      const auto at = rng.below(static_cast<std::uint32_t>(bad.size()));
      bad[at] = static_cast<char>(rng.below(2) != 0 ? rng.below(256)
                                                    : "0123456789.:+<>FB \n"[rng.below(19)]);
    }
    if (const auto schedule = parse(bad)) check(*schedule);
  }
}

TEST(Json, HasTheFieldsOfTheSchema) {
  const auto json = nlohmann::json::parse(*to_json(must_generate(Kind::DualPipe, 8, 20)));
  EXPECT_EQ(json["schema"], "weft.schedule/v1");
  EXPECT_EQ(json["kind"], "dualpipe");
  EXPECT_EQ(json["ranks"], 8);
  EXPECT_EQ(json["micro_batches"], 20);
  EXPECT_EQ(json["makespan"], 66);
  EXPECT_EQ(json["bubble"], nlohmann::json(std::vector<int>(8, 6)));
  EXPECT_EQ(json["peak_activations"], nlohmann::json(std::vector<int>(8, 9)));
  EXPECT_EQ(json["programs"][7][0],
            (nlohmann::json{{"op", "F"}, {"dir", 1}, {"stage", 0}, {"mb", 0}}));
  bool pair = false;
  for (const auto& op : json["programs"][0]) {
    if (op["op"] != "FB") continue;
    pair = true;
    EXPECT_TRUE(op["f"].contains("mb") && op["b"].contains("stage"));
  }
  EXPECT_TRUE(pair);
}

}  // namespace
}  // namespace weft::dualpipe
