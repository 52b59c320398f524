// Hugging Face directories that somebody else has written: every way in which they can be wrong.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/files.h"
#include "base/small_floats.h"
#include "tests/trainer/checkpoint_testing.h"
#include "tests/trainer/exchange_testing.h"
#include "trainer/hf/directory.h"
#include "trainer/hf/import.h"
#include "trainer/hf/index_file.h"

namespace weft::trainer::hf {
namespace {

using checkpoint::Dtype;
using checkpoint::Shape;
using checkpoint::testing_::Scratch;
using namespace testing_;

/// A directory whose weights are put together by hand, so that each test can spoil one thing.
class HfImport : public ::testing::Test {
 protected:
  struct Blob {
    Dtype dtype;
    Shape shape;
    std::string bytes;
  };

  void SetUp() override {
    config_.num_nextn_predict_layers = 0;
    for (const Tensor& tensor : tensors_of(config_)) {
      const std::vector<float> values = weights_.whole(tensor.name);
      blobs_[tensor.name] = {
          Dtype::F32, tensor.shape,
          std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float))};
    }
  }

  void write_file(const std::string& name, const std::map<std::string, Blob>& blobs) {
    std::vector<checkpoint::TensorData> tensors;
    for (const auto& [tensor, blob] : blobs)
      tensors.push_back({tensor, blob.dtype, blob.shape, std::as_bytes(std::span(blob.bytes)), {}});
    const auto written = checkpoint::write_safetensors(checkpoint::Disk::real(),
                                                       scratch_ / "model/" / name, tensors);
    ASSERT_TRUE(written) << written.error().message;
  }
  void write_config_file() {
    fs::create_directories(scratch_ / "model");
    ASSERT_TRUE(write_file_atomically(scratch_ / "model/config.json", write_config(config_)));
  }
  void write() {
    write_config_file();
    write_file("model.safetensors", blobs_);
  }

  Expected<Directory> open(bool without_next_token = false) {
    return Directory::open(scratch_ / "model", without_next_token);
  }
  /// The message of opening and importing all of it; "" when that goes well.
  std::string refusal() {
    auto directory = open();
    if (!directory) return directory.error().message;
    const auto imported = import_checkpoint(*directory, directory->config(), scratch_ / "ckpt", {});
    return imported ? "" : imported.error().message;
  }
  void expect_refused(const std::vector<std::string>& parts) {
    const std::string message = refusal();
    for (const std::string& part : parts)
      EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' in: " << message;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(scratch_ / "ckpt", error))
      ADD_FAILURE() << "left behind: " << entry.path();
  }

  Scratch scratch_;
  ModelConfig config_ = small_deepseek();
  MadeUpWeights weights_{config_};
  std::map<std::string, Blob> blobs_;
  const std::string expert_ = "model.layers.1.mlp.experts.3.down_proj.weight";
};

TEST_F(HfImport, ReadsF16Bf16AndF32SideBySide) {
  const auto recode = [&](const std::string& name, Dtype dtype, auto code_of) {
    std::string bytes;
    for (const float value : weights_.whole(name)) {
      const std::uint16_t code = code_of(value);
      bytes += {static_cast<char>(code & 0xff), static_cast<char>(code >> 8)};
    }
    blobs_[name].dtype = dtype;
    blobs_[name].bytes = bytes;
  };
  recode(expert_, Dtype::F16, to_f16);
  recode("lm_head.weight", Dtype::BF16, to_bf16);
  write();
  auto directory = open();
  ASSERT_TRUE(directory) << directory.error().message;
  std::vector<float> f16(blobs_[expert_].bytes.size() / 2);
  ASSERT_TRUE(directory->read(expert_, f16));
  const std::vector<float> whole = weights_.whole(expert_);
  for (std::size_t i = 0; i < f16.size(); ++i) ASSERT_EQ(f16[i], from_f16(to_f16(whole[i])));
  EXPECT_EQ(refusal(), "");
}

TEST_F(HfImport, MultipliesFp8WeightsByTheScaleOfTheirBlock) {
  config_.fp8_block_rows = config_.fp8_block_columns = 128;
  const Shape shape = blobs_[expert_].shape;  // [136, 24]: a ragged edge below
  std::string codes;
  for (std::int64_t i = 0; i < shape[0] * shape[1]; ++i)
    codes += static_cast<char>(i % 0x7f);  // every finite code
  const std::vector<float> scales = {0.25f, 3.0f};
  blobs_[expert_] = {Dtype::F8_E4M3, shape, codes};
  blobs_[expert_ + "_scale_inv"] = {
      Dtype::F32, {2, 1}, std::string(reinterpret_cast<const char*>(scales.data()), 8)};
  write();
  auto directory = open();
  ASSERT_TRUE(directory) << directory.error().message;
  std::vector<float> values(codes.size());
  ASSERT_TRUE(directory->read(expert_, values));
  for (std::size_t i = 0; i < values.size(); ++i)
    ASSERT_EQ(values[i],
              from_e4m3(static_cast<std::uint8_t>(i % 0x7f)) * (i / 24 < 128 ? 0.25f : 3.0f));
  EXPECT_EQ(refusal(), "");
  fs::remove_all(scratch_ / "ckpt");

  blobs_[expert_ + "_scale_inv"].shape = {1, 2};
  write();
  expect_refused({"model.safetensors", expert_ + "_scale_inv", "has shape [1, 2]", "have [2, 1]"});
  blobs_[expert_ + "_scale_inv"] = {Dtype::F32, {2, 1}, std::string("\0\0\0\0\0\0\xc0\x7f", 8)};
  write();
  expect_refused({expert_ + "_scale_inv", "element 1 is nan"});
  blobs_[expert_ + "_scale_inv"] = {Dtype::BF16, {2, 1}, std::string(4, '\0')};
  write();
  expect_refused({expert_ + "_scale_inv", "scales are F32"});
  blobs_.erase(expert_ + "_scale_inv");
  write();
  expect_refused({expert_, "there is no '" + expert_ + "_scale_inv'"});
}

TEST_F(HfImport, SaysEverythingThatContradictsTheConfig) {
  blobs_.erase("model.norm.weight");
  blobs_["model.layers.0.mlp.gate_proj.bias"] = blobs_["model.layers.0.input_layernorm.weight"];
  blobs_["lm_head.weight"].shape = {136, 270};
  blobs_[expert_].dtype = Dtype::I32;
  write();
  expect_refused({"tensor 'model.norm.weight' is missing",
                  "tensor 'model.layers.0.mlp.gate_proj.bias' is not part of the model",
                  "tensor 'lm_head.weight' has shape [136, 270], config.json makes it [270, 136]",
                  expert_ + "' is I32: weights are F32, BF16, F16 or F8_E4M3",
                  "model.safetensors"});
}

TEST_F(HfImport, ALongListOfProblemsIsCutWithItsLength) {
  std::erase_if(blobs_,
                [](const auto& blob) { return blob.first.find(".experts.") != std::string::npos; });
  blobs_.erase("model.norm.weight");
  for (int i = 0; i < 30; ++i) blobs_["stray." + std::to_string(i)] = {Dtype::U8, {0}, ""};
  write();
  expect_refused({"and 23 more"});
}

TEST_F(HfImport, NotANumberIsRefusedByName) {
  const float infinity = INFINITY;
  blobs_[expert_].bytes.replace(40, 4, reinterpret_cast<const char*>(&infinity), 4);
  write();
  expect_refused({"model.safetensors", expert_, "element 10 is inf"});
}

TEST_F(HfImport, NextTokenModulesAreKeptOrDropped) {
  config_.num_nextn_predict_layers = 1;
  MadeUpWeights all(config_);
  for (const Tensor& tensor : tensors_of(config_)) {
    if (tensor.layer < config_.num_hidden_layers || tensor.stored_again) continue;
    const std::vector<float> values = all.whole(tensor.name);
    blobs_[tensor.name] = {
        Dtype::F32, tensor.shape,
        std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float))};
  }
  blobs_["model.layers.2.embed_tokens.weight"] = blobs_["model.embed_tokens.weight"];
  write();
  EXPECT_EQ(refusal(), "");
  fs::remove_all(scratch_ / "ckpt");

  auto without = open(true);
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_EQ(without->config().num_nextn_predict_layers, 0);

  blobs_["model.layers.2.embed_tokens.weight"].bytes[3] ^= 1;
  write();
  expect_refused({"'model.layers.2.embed_tokens.weight' differs from 'model.embed_tokens.weight'",
                  "--drop-mtp"});
  blobs_.erase("model.layers.2.eh_proj.weight");
  write();
  expect_refused({"tensor 'model.layers.2.eh_proj.weight' is missing", "--drop-mtp"});
}

TEST_F(HfImport, AnIndexThatContradictsItsFilesIsRefused) {
  write_config_file();
  std::map<std::string, Blob> first, second;
  IndexFile index;
  for (const auto& [name, blob] : blobs_) {
    auto& half = name < "model.layers.1" ? first : second;
    half[name] = blob;
    index.weight_map[name] =
        &half == &first ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
    index.total_size += blob.bytes.size();
  }
  write_file("model-00001-of-00002.safetensors", first);
  write_file("model-00002-of-00002.safetensors", second);
  const auto put = [&](const std::string& text) {
    ASSERT_TRUE(write_file_atomically(scratch_ / "model" / kIndexFile, text));
  };
  put(format_index(index));
  EXPECT_EQ(refusal(), "");
  fs::remove_all(scratch_ / "ckpt");

  IndexFile wrong = index;
  std::swap(wrong.weight_map["lm_head.weight"], wrong.weight_map[expert_]);
  put(format_index(wrong));
  expect_refused({kIndexFile,
                  "tensor 'lm_head.weight' is in model-00001-of-00002.safetensors, the "
                  "index says model-00002"});
  wrong = index;
  wrong.weight_map.erase(expert_);
  wrong.weight_map["ghost"] = "model-00001-of-00002.safetensors";
  put(format_index(wrong));
  expect_refused(
      {"model-00001-of-00002.safetensors has no tensor 'ghost'",
       "model-00002-of-00002.safetensors: tensor '" + expert_ + "' is not in the index"});
  wrong.weight_map["ghost"] = "model-00003-of-00002.safetensors";
  put(format_index(wrong));
  expect_refused({"model-00003-of-00002.safetensors"});
  put(R"({"weight_map": {"a": "../../etc/passwd.safetensors"}})");
  expect_refused({"tensor 'a' is not in a file of this directory"});
  put(R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})");
  expect_refused({"'a'"});

  put(format_index(index));
  second["model.embed_tokens.weight"] = blobs_["model.embed_tokens.weight"];
  write_file("model-00002-of-00002.safetensors", second);
  expect_refused(
      {"model-00002-of-00002.safetensors: tensor 'model.embed_tokens.weight' is also in "
       "model-00001-of-00002.safetensors"});
}

/// Bytes of a safetensors file that says `header`, with `data` behind it.
std::string raw_file(const std::string& header, std::size_t data) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> 8 * i & 0xff);
  return out + header + std::string(data, '\0');
}

TEST_F(HfImport, DamagedFilesAreNamedWithTheTensorThatShowsIt) {
  write_config_file();
  const auto expect = [&](const std::string& bytes, const std::vector<std::string>& parts) {
    std::ofstream(scratch_ / "model/model.safetensors", std::ios::binary) << bytes;
    expect_refused(parts);
    expect_refused({"model.safetensors"});
  };
  const auto tensor = [](const std::string& name, const std::string& offsets,
                         const std::string& shape = "[2]") {
    return "\"" + name + "\":{\"dtype\":\"F32\",\"shape\":" + shape +
           ",\"data_offsets\":" + offsets + "}";
  };
  expect("", {"too short"});
  expect(std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8) + "{}", {"more than the 100000000"});
  expect(raw_file("{" + tensor("a", "[0,8]") + "}", 4), {"'a'", "truncated"});
  expect(raw_file("{" + tensor("a", "[0,8]") + "," + tensor("b", "[4,12]") + "}", 12), {"'b'"});
  expect(raw_file("{" + tensor("a", "[0,8]") + "," + tensor("b", "[12,20]") + "}", 20), {"'b'"});
  expect(raw_file("{" + tensor("a", "[0,8]") + "," + tensor("a", "[8,16]") + "}", 16), {"'a'"});
  expect(raw_file("{" + tensor("a", "[0,8]", "[4611686018427387904,4]") + "}", 8), {"'a'"});
  expect(raw_file("{" + tensor("a", "[0,18446744073709551615]") + "}", 8), {"'a'"});
  expect(raw_file("{" + tensor("a", "[-8,0]") + "}", 8), {"'a'"});
  write();
  const fs::path path = scratch_ / "model/model.safetensors";
  fs::resize_file(path, fs::file_size(path) - 5);
  expect_refused({"truncated"});
}

TEST_F(HfImport, DirectoriesWithoutWeightsOrConfigSaySo) {
  EXPECT_NE(refusal().find("config.json"), std::string::npos);
  write_config_file();
  EXPECT_NE(refusal().find("neither model.safetensors nor model.safetensors.index.json"),
            std::string::npos);
}

TEST_F(HfImport, ARunThatHasCheckpointsKeepsThem) {
  write();
  EXPECT_EQ(refusal(), "");
  EXPECT_NE(refusal().find("already holds step-000000000"), std::string::npos) << refusal();
}

TEST(IndexFile, ComesBackFromItsText) {
  IndexFile index{123, {{"a", "x.safetensors"}, {"b", "y.safetensors"}}};
  EXPECT_EQ(*parse_index(format_index(index)), index);
}

}  // namespace
}  // namespace weft::trainer::hf
