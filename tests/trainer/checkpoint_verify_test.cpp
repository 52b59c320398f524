#include <sys/stat.h>

#include <fstream>

#include "base/files.h"
#include "tests/trainer/checkpoint_testing.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::Scratch;
using testing_::SmallRun;

void overwrite(const fs::path& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
}

/// Damage that `verify` names, one line each.
std::string damage_of(const fs::path& directory, Mode mode) {
  const auto report = verify(directory, mode);
  if (!report) return "error: " + report.error().message;
  std::string text;
  for (const Damage& d : report->damage) text += d.file + " " + d.tensor + " " + d.reason + "\n";
  return text;
}

class Verify : public testing::Test {
 protected:
  void SetUp() override {
    const auto committed = SmallRun(40).save(scratch_ / "ckpt");
    ASSERT_TRUE(committed) << committed.error().message;
    directory_ = committed->directory;
  }
  Scratch scratch_;
  fs::path directory_;
};

TEST_F(Verify, FindsARandomFlippedByteAnywhere) {
  std::vector<std::pair<fs::path, std::string>> files;
  std::uint64_t total = 0;
  for (const fs::path& path : testing_::files_below(directory_)) {
    files.emplace_back(path, *read_file(path));
    total += files.back().second.size();
  }
  ASSERT_EQ(files.size(), 6u) << "3 shards, state, manifest, checksums";
  Rng rng(1, "flip");
  for (int round = 0; round < 2000; ++round) {
    // Half of them over all bytes, half file by file: small files must not get away.
    std::size_t f = rng.below(6);
    std::uint64_t at = rng.below(static_cast<std::uint32_t>(files[f].second.size()));
    if (round % 2 == 0) {
      at = rng.below(static_cast<std::uint32_t>(total));
      for (f = 0; at >= files[f].second.size(); ++f) at -= files[f].second.size();
    }
    std::string flipped = files[f].second;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 + rng.below(255)));
    overwrite(files[f].first, flipped);
    const auto report = verify(directory_, Mode::Full);
    ASSERT_TRUE(report && !report->ok()) << files[f].first << " byte " << at;
    overwrite(files[f].first, files[f].second);
  }
  EXPECT_EQ(damage_of(directory_, Mode::Full), "");
}

TEST_F(Verify, FindsEveryTruncationByItsSizeAlone) {
  for (const fs::path& path : testing_::files_below(directory_)) {
    const std::string content = *read_file(path);
    for (const std::size_t left : {std::size_t{0}, content.size() / 2, content.size() - 1}) {
      overwrite(path, content.substr(0, left));
      EXPECT_NE(damage_of(directory_, Mode::Size), "") << path << " cut to " << left;
    }
    overwrite(path, content + "x");
    EXPECT_NE(damage_of(directory_, Mode::Size), "") << path << " made longer";
    overwrite(path, content);
  }
}

TEST_F(Verify, NamesTheDamagedTensorAndAllDamageAtOnce) {
  const fs::path first = directory_ / shard_file("model", 0),
                 second = directory_ / shard_file("model", 1);
  std::string content = *read_file(first);
  content[4096] = static_cast<char>(content[4096] ^ 1);  // the first tensor in name order
  overwrite(first, content);
  fs::remove(second);
  const std::string damage = damage_of(directory_, Mode::Full);
  EXPECT_NE(
      damage.find(shard_file("model", 0) + " model.embed_tokens.weight its bytes do not match"),
      damage.npos)
      << damage;
  EXPECT_NE(damage.find(shard_file("model", 1)), damage.npos) << damage;
  EXPECT_NE(damage.find("No such file"), damage.npos) << damage;
  EXPECT_EQ(damage_of(directory_, Mode::Size).find("embed"), std::string::npos);
}

TEST_F(Verify, MentionsStraysWithoutCallingThemDamage) {
  overwrite(directory_ / "notes.txt", "best run so far");
  overwrite(directory_ / "model" / "extra", "");
  const auto report = verify(directory_, Mode::Full);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ok());
  EXPECT_EQ(report->strays, (std::vector<std::string>{"model/extra", "notes.txt"}));
}

TEST_F(Verify, ThingsThatAreNotFilesAreDamageNotAHang) {
  const fs::path shard = directory_ / shard_file("model", 0);
  fs::remove(shard);
  ASSERT_EQ(::mkfifo(shard.c_str(), 0600), 0);
  EXPECT_NE(damage_of(directory_, Mode::Full).find("not a regular file"), std::string::npos);
  fs::remove(shard);
  fs::create_directory(shard);
  EXPECT_NE(damage_of(directory_, Mode::Full), "");
  EXPECT_EQ(verify(scratch_ / "nothing", Mode::Full).error().code, Code::NotFound);
}

TEST_F(Verify, TheReaderRefusesDamageThatCameAfterOpening) {
  auto reader = Reader::open(directory_, Mode::Full);
  ASSERT_TRUE(reader);
  const fs::path shard = directory_ / shard_file("model", 0);
  std::string content = *read_file(shard);
  content[4096] = static_cast<char>(content[4096] ^ 1);
  overwrite(shard, content);
  std::vector<float> out(60);
  const auto read = reader->read("model", "model.embed_tokens.weight", out);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::Corrupt);
  EXPECT_NE(read.error().message.find(shard.string()), std::string::npos);
  EXPECT_NE(read.error().message.find("model.embed_tokens.weight"), std::string::npos);
  EXPECT_EQ(Reader::open(directory_, Mode::Full).error().code, Code::Corrupt);
}

TEST_F(Verify, TheReaderSaysWhatItCannotGive) {
  auto reader = Reader::open(directory_);
  ASSERT_TRUE(reader);
  std::vector<float> out(60);
  const auto missing = reader->read("model", "model.embed_token.weight", out);
  EXPECT_EQ(missing.error().code, Code::NotFound);
  EXPECT_NE(missing.error().message.find("nearest name is 'model.embed_tokens.weight'"),
            std::string::npos);
  EXPECT_EQ(reader->read("model", "model.norm.weight", out).error().code, Code::InvalidArgument);
  EXPECT_EQ(reader->names("optim"), std::vector<std::string>{"model.norm.weight.exp_avg"});
  EXPECT_TRUE(reader->names("ref").empty());
}

}  // namespace
}  // namespace weft::trainer::checkpoint
