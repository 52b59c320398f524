#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "runtime/job/fields.h"
#include "runtime/job/load.h"
#include "runtime/job/reference.h"
#include "runtime/job/serial.h"

namespace weft::runtime {
namespace {

TEST(Fields, EachIsExplainedAndItsExampleAndDefaultAreLegal) {
  std::set<std::string> seen;
  for (const Field& field : fields()) {
    SCOPED_TRACE(field.path);
    EXPECT_TRUE(seen.insert(field.path).second) << "twice in the table";
    EXPECT_GT(field.help.size(), 10u);
    EXPECT_FALSE(field.interacts.empty());
    EXPECT_FALSE(field.example.empty());
    EXPECT_TRUE(group_of(field.path).empty() || is_group(group_of(field.path)));
    EXPECT_TRUE(check_value(field, Job{}));
    const auto text = explain(field.path);
    ASSERT_TRUE(text);
    EXPECT_NE(text->find("default"), std::string::npos);
    // Alone, an example may break a rule with another field; it must never be mistyped or out of
    // range.
    const std::string set = field.path + "=" + std::string(field.example);
    const Loaded loaded = load_job_text("", "j", {.overrides = {{}, {set}}, .check_files = false});
    for (const Diagnostic& d : loaded.diagnostics) {
      if (d.severity == Severity::Warning) continue;
      EXPECT_EQ(d.message.find(" is not "), std::string::npos) << d.message;
      EXPECT_EQ(d.message.find("out of range"), std::string::npos) << d.message;
    }
  }
  EXPECT_GT(seen.size(), 70u);
}

TEST(Fields, EveryMemberOfAJobIsInTheTable) {
  // A field that the table forgot would not survive the wire; this counts what does.
  EXPECT_EQ(to_json(Job{})["model"].size(), 39u) << "ModelConfig changed: update fields_model.cpp";
  EXPECT_EQ(to_json(Job{})["grpo"].size(), 16u);
}

TEST(Fields, SynonymsMeanOneFieldOrNone) {
  ASSERT_EQ(foreign("rollout.n").size(), 1u);
  EXPECT_EQ(foreign("rollout.n")[0].field->path, "grpo.num_generations");
  ASSERT_EQ(foreign("grpo.learning_rate").size(), 1u);
  EXPECT_EQ(foreign("grpo.learning_rate")[0].field->path, "grpo.lr");
  EXPECT_GT(foreign("learning_rate").size(), 1u);
  EXPECT_TRUE(foreign("no.such.thing").empty());
}

TEST(Reference, ThePageInTheRepositoryIsCurrent) {
  const std::string path = WEFT_SOURCE_DIR "/deploy/jobs/REFERENCE.md";
  if (std::getenv("WEFT_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << reference_markdown();
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(text.str() == reference_markdown())
      << "write it anew: weft explain --markdown > deploy/jobs/REFERENCE.md";
}

TEST(Reference, SchemaKnowsEveryField) {
  const nlohmann::json schema = job_schema();
  EXPECT_EQ(schema["properties"]["grpo"]["properties"]["loss_type"]["enum"].size(), 3u);
  for (const Field& field : fields()) {
    const std::string group(group_of(field.path)), leaf(leaf_of(field.path));
    EXPECT_TRUE((group.empty() ? schema : schema["properties"][group])["properties"].contains(leaf))
        << field.path;
  }
}

TEST(Json, RoundTripsAndTrustsNothing) {
  Job job;
  job.seed = (std::uint64_t{1} << 53);
  job.grpo.lr = 1.0 / 3.0;
  job.control.wait_bound_s = 12.345678;
  const auto again = from_json(to_json(job));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(to_json(*again), to_json(job));

  const auto refused = [&](const char* pointer, nlohmann::json value) {
    nlohmann::json bad = to_json(job);
    bad[nlohmann::json::json_pointer(pointer)] = std::move(value);
    const auto result = from_json(bad);
    return result ? std::string("accepted") : result.error().message;
  };
  EXPECT_NE(refused("/grpo/beta", "x").find("grpo.beta"), std::string::npos);
  EXPECT_NE(refused("/grpo/steps", 1.5).find("grpo.steps"), std::string::npos);
  EXPECT_NE(refused("/grpo/num_generations", 1).find("out of range"), std::string::npos);
  EXPECT_NE(refused("/stranger", 1).find("unknown field stranger"), std::string::npos);
  EXPECT_NE(refused("/parallel/expert", 3).find("does not divide"), std::string::npos);
  EXPECT_NE(refused("/rewards", 3).find("rewards"), std::string::npos);
  EXPECT_NE(refused("/model", 3).find("model"), std::string::npos);
  EXPECT_FALSE(from_json(nlohmann::json::array()));
}

}  // namespace
}  // namespace weft::runtime
