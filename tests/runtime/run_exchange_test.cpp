// A model goes out and comes back in through the command line, and a run goes on from it.
#include <gtest/gtest.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

json report_of(const std::vector<std::string>& arguments) {
  const Ended ended = weft(arguments);
  EXPECT_EQ(ended.code, 0) << ended.err;
  const json parsed = json::parse(ended.out, nullptr, false);
  EXPECT_TRUE(parsed.is_object()) << ended.out;
  return parsed;
}

TEST(RunExchange, ATrainedModelGoesOutAndARunBeginsWithItAgain) {
  const Place place;
  const std::string run = (place / "run").string(), model = (place / "model").string(),
                    again = (place / "again").string(), back = (place / "back").string(),
                    gguf = (place / "model.gguf").string(), job = place.supervised_job();
  ASSERT_EQ(weft({"run", job, "--dir", run, "--set", "pretrain.steps=10"}).code, 0);
  const json out =
      report_of({"ckpt", "export", "hf", run, "-o", model, "--dtype", "f32", "--sha256", "--json"});
  EXPECT_EQ(out["schema"], "weft.ckpt.export.hf/v1");
  for (const char* const file : {"config.json", "model.safetensors", "tokenizer.json",
                                 "tokenizer_config.json", "generation_config.json", "SHA256SUMS"})
    EXPECT_TRUE(fs::exists(place / "model" / file)) << file;
  EXPECT_EQ(weft({"ckpt", "export", "hf", run, "-o", model}).code, 2) << "it is there already";
  EXPECT_NE(weft({"ckpt", "export", "hf", run, "-o", back, "--ema"}).code, 0) << "there is none";

  EXPECT_EQ(report_of({"ckpt", "export", "gguf", run, "-o", gguf, "--json"})["schema"],
            "weft.ckpt.export.gguf/v1");
  EXPECT_EQ(report_of({"ckpt", "show", gguf, "--json"})["keys"]["general.architecture"],
            "deepseek2");

  report_of({"ckpt", "import", "hf", model, "-o", again, "--json"});
  // Out once more, without a run ever having been there: every file but the sums' own is the same.
  report_of({"ckpt", "export", "hf", again, "-o", back, "--dtype", "f32", "--json"});
  for (const char* const file : {"model.safetensors", "tokenizer.json"})
    EXPECT_EQ(text_of(place / "model" / file), text_of(place / "back" / file)) << file;

  const Ended begun = weft({"run", job, "--dir", again, "--set", "pretrain.steps=2"});
  EXPECT_EQ(begun.code, 0) << begun.err;
  bool resumed = false;
  for (const json& event : lines_of(place / "again" / "events.jsonl"))
    resumed |= event.dump().find("resumed from step-000000000") != std::string::npos;
  EXPECT_TRUE(resumed);
  const auto trained = metrics_of(run), from_there = metrics_of(again);
  ASSERT_FALSE(from_there.empty());
  EXPECT_LT(from_there[0]["loss"].get<double>(), trained[0]["loss"].get<double>());
}

}  // namespace
}  // namespace weft::test
