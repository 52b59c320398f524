// What the checkpoint tests share: a scratch directory, and a small model cut over two ranks.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/saver.h"

namespace weft::trainer::checkpoint::testing_ {

/// A directory of its own for each test, removed at the end.
class Scratch {
 public:
  Scratch() {
    const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(::testing::TempDir()) / ("weft_checkpoint_" + std::to_string(::getpid()) +
                                              "_" + info->test_suite_name() + "_" + info->name());
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Scratch() { fs::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return path_; }
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

inline std::vector<float> random_values(std::uint64_t seed, std::size_t n) {
  Rng rng(seed, "checkpoint test");
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(rng.normal());
  return values;
}

/// Two ranks: rank 0 holds whole tensors, a row-cut one is split over both, optimizer state beside.
/// Values depend on the step, so that checkpoints differ.
struct SmallRun {
  explicit SmallRun(std::uint64_t step_) : step(step_) {
    whole["model"]["model.embed_tokens.weight"] = random_values(step * 100 + 1, 12 * 5);
    whole["model"]["model.layers.0.mlp.gate_proj.weight"] = random_values(step * 100 + 2, 6 * 4);
    whole["model"]["model.norm.weight"] = random_values(step * 100 + 3, 5);
    whole["optim"]["model.norm.weight.exp_avg"] = random_values(step * 100 + 4, 5);
    shapes = {{"model.embed_tokens.weight", {12, 5}},
              {"model.layers.0.mlp.gate_proj.weight", {6, 4}},
              {"model.norm.weight", {5}},
              {"model.norm.weight.exp_avg", {5}}};
  }

  std::vector<TensorRef> of_rank(int rank) const {
    const auto& model = whole.at("model");
    const std::string cut = "model.layers.0.mlp.gate_proj.weight";
    const float* const rows = model.at(cut).data();
    if (rank == 0)
      return {ref("model", "model.embed_tokens.weight"),
              {"model", cut, {2, 4}, rows, {0, 0}, {6, 4}}};
    return {ref("model", "model.norm.weight"),
            ref("optim", "model.norm.weight.exp_avg"),
            {"model", cut, {4, 4}, rows + 8, {2, 0}, {6, 4}}};
  }

  TensorRef ref(const std::string& item, const std::string& name) const {
    return {item, name, shapes.at(name), whole.at(item).at(name).data(), {}, {}};
  }

  ManifestInfo info(std::uint64_t attempt = 1) const {
    ManifestInfo result;
    result.run = "small";
    result.attempt = attempt;
    result.step = step;
    result.tokens = step * 4096;
    result.wall_time = "2026-01-31T12:00:00.123Z";
    result.writer = "weft test";
    result.model_fingerprint = "0123abcd";
    result.layout = {2, 1, 1, "dualpipe"};
    result.state = "{\"cursor\": " + std::to_string(step) + "}\n";
    for (const auto& [item, tensors] : whole)
      for (const auto& [name, values] : tensors)
        result.expected.push_back({item, name, shapes.at(name)});
    return result;
  }

  /// prepare, both shards (reports through their text form), commit.
  Expected<Committed> save(const fs::path& ckpt_dir, Disk& disk = Disk::real(),
                           std::uint64_t attempt = 1, int keep = 3) const {
    WEFT_TRY_ASSIGN(const fs::path partial, prepare(ckpt_dir, step, attempt, disk));
    std::vector<ShardReport> reports;
    for (int rank = 0; rank < 2; ++rank) {
      WEFT_TRY_ASSIGN(const ShardReport report, write_shard(partial, rank, 2, of_rank(rank), disk));
      WEFT_TRY_ASSIGN(ShardReport received, ShardReport::from_json(report.to_json()));
      reports.push_back(std::move(received));
    }
    ManifestInfo with_keep = info(attempt);
    with_keep.keep = keep;
    return commit(ckpt_dir, partial, with_keep, reports, disk);
  }

  /// Every tensor and the state come back as they were.
  void expect_in(const fs::path& directory) const {
    auto reader = Reader::open(directory, Mode::Full);
    ASSERT_TRUE(reader) << reader.error().message;
    for (const auto& [item, tensors] : whole) {
      for (const auto& [name, values] : tensors) {
        std::vector<float> out(values.size());
        const auto read = reader->read(item, name, out);
        ASSERT_TRUE(read) << read.error().message;
        EXPECT_EQ(out, values) << name;
        EXPECT_EQ(*reader->shape(item, name), shapes.at(name));
      }
    }
    EXPECT_EQ(reader->state().value_or("?"), info().state);
  }

  std::uint64_t step;
  std::map<std::string, std::map<std::string, std::vector<float>>> whole;  // item, name
  std::map<std::string, Shape> shapes;
};

/// A copy of a rank's part, as a Saver is given it.
inline std::unique_ptr<Snapshot> snapshot_of(const SmallRun& run, int rank,
                                             std::unique_ptr<Snapshot> buffer) {
  const auto bytes_of_ref = [](const TensorRef& ref) {
    return std::span(static_cast<const std::byte*>(ref.data),
                     *num_elements(ref.shape) * bytes_of(ref.dtype));
  };
  std::size_t room = 0;
  for (const TensorRef& ref : run.of_rank(rank)) room += bytes_of_ref(ref).size();
  buffer->clear(room);
  for (const TensorRef& ref : run.of_rank(rank)) buffer->add(ref, bytes_of_ref(ref));
  return buffer;
}

/// The regular files below a directory, sorted.
inline std::vector<fs::path> files_below(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace weft::trainer::checkpoint::testing_
