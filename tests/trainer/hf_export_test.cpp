#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <set>

#include "base/files.h"
#include "base/small_floats.h"
#include "tests/trainer/checkpoint_testing.h"
#include "tests/trainer/exchange_testing.h"
#include "trainer/hf/directory.h"
#include "trainer/hf/export.h"
#include "trainer/hf/import.h"
#include "trainer/hf/index_file.h"
#include "trainer/hf/number_formats.h"

namespace weft::trainer::hf {
namespace {

using checkpoint::testing_::Scratch;
using namespace testing_;

/// Every tensor file of a directory, by a reader that is not ours.
std::map<std::string, PlainTensor> read_all_plainly(const fs::path& directory) {
  std::map<std::string, PlainTensor> all;
  for (const fs::path& path : checkpoint::testing_::files_below(directory))
    if (path.extension() == ".safetensors") all.merge(read_plainly(path.string()));
  return all;
}

std::vector<float> floats(const PlainTensor& tensor) {
  std::vector<float> out(tensor.bytes.size() / sizeof(float));
  std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

struct HfExport : ::testing::Test {
  ExportReport write(const std::string& name, ExportOptions options) {
    auto report = export_directory(weights, config, scratch / name, options);
    EXPECT_TRUE(report) << report.error().message;
    return report.value_or(ExportReport{});
  }

  Scratch scratch;
  ModelConfig config = small_deepseek();
  MadeUpWeights weights{config};
};

TEST_F(HfExport, F32IsBitEqualThroughAPlainReaderAndBackIntoACheckpoint) {
  ExportOptions options;
  options.precision = Precision::F32;
  options.shard_bytes = 200'000;
  write("model", options);
  const auto plain = read_all_plainly(scratch / "model");
  ASSERT_EQ(plain.size(), tensors_of(config).size());
  for (const auto& [name, shape] : weights.shapes_) {
    EXPECT_EQ(plain.at(name).dtype, "F32");
    EXPECT_EQ(floats(plain.at(name)), weights.whole(name)) << name;
  }
  // The next-token module's copies of embedding and head are there for other programs.
  EXPECT_EQ(plain.at("model.layers.2.embed_tokens.weight").bytes,
            plain.at("model.embed_tokens.weight").bytes);
  EXPECT_EQ(plain.at("model.layers.2.shared_head.head.weight").bytes,
            plain.at("lm_head.weight").bytes);

  auto directory = Directory::open(scratch / "model");
  ASSERT_TRUE(directory) << directory.error().message;
  EXPECT_EQ(directory->config(), config);
  EXPECT_TRUE(directory->warnings().empty()) << directory->warnings()[0];
  ImportOptions import;
  import.shard_bytes = 150'000;
  import.state = "{\"begin\": true}";
  import.wall_time = "2026-01-31T12:00:00.123Z";
  const auto imported =
      import_checkpoint(*directory, directory->config(), scratch / "ckpt", import);
  ASSERT_TRUE(imported) << imported.error().message;
  auto reader = checkpoint::Reader::open(imported->committed.directory, checkpoint::Mode::Full);
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ(reader->names("model").size(), weights.shapes_.size()) << "copies are not stored";
  EXPECT_GT(reader->manifest().files.size(), 5u) << "one file a shard, and the state";
  for (const auto& [name, shape] : weights.shapes_) {
    std::vector<float> back(*checkpoint::num_elements(shape));
    ASSERT_TRUE(reader->read("model", name, back));
    EXPECT_EQ(back, weights.whole(name)) << name;
  }
  EXPECT_EQ(reader->state().value_or(""), import.state);
}

TEST_F(HfExport, Bf16RoundsEachWeightToNearestAndKeepsTheSelectionBiasWhole) {
  write("model", {});
  for (const auto& [name, tensor] : read_plainly((scratch / "model/model.safetensors").string())) {
    if (!weights.shapes_.contains(name)) continue;
    const std::vector<float> whole = weights.whole(name);
    if (name.ends_with("e_score_correction_bias")) {
      EXPECT_EQ(tensor.dtype, "F32");
      EXPECT_EQ(floats(tensor), whole);
      continue;
    }
    ASSERT_EQ(tensor.dtype, "BF16") << name;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      std::uint16_t code = 0;
      std::memcpy(&code, tensor.bytes.data() + 2 * i, 2);
      ASSERT_EQ(code, to_bf16(whole[i])) << name;
    }
  }
  auto directory = Directory::open(scratch / "model");
  ASSERT_TRUE(directory) << directory.error().message;
  EXPECT_EQ(directory->config().dtype, "bfloat16");
}

TEST_F(HfExport, Fp8IsTheNearestCodeTimesTheBlocksScale) {
  ExportOptions options;
  options.precision = Precision::Fp8;
  write("model", options);
  const auto plain = read_plainly((scratch / "model/model.safetensors").string());
  auto directory = Directory::open(scratch / "model");
  ASSERT_TRUE(directory) << directory.error().message;
  int quantized = 0;
  for (const Tensor& tensor : tensors_of(directory->config())) {
    if (!tensor.quantized) {
      EXPECT_FALSE(plain.contains(tensor.name + "_scale_inv")) << tensor.name;
      continue;
    }
    ++quantized;
    const PlainTensor& codes = plain.at(tensor.name);
    const PlainTensor& scale = plain.at(tensor.name + "_scale_inv");
    ASSERT_EQ(codes.dtype, "F8_E4M3");
    ASSERT_EQ(scale.dtype, "F32");
    const auto rows = tensor.shape[0], columns = tensor.shape[1];
    ASSERT_EQ(scale.shape, (std::vector<long long>{(rows + 127) / 128, (columns + 127) / 128}));
    const std::vector<float> scales = floats(scale), whole = weights.whole(tensor.name);
    std::vector<float> back(whole.size());
    ASSERT_TRUE(directory->read(tensor.name, back));
    // A slow second opinion: no other code of the block's scale lies nearer.
    std::vector<float> largest(scales.size());
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < columns; ++c) {
        const auto i = static_cast<std::size_t>(r * columns + c);
        const auto block = static_cast<std::size_t>(r / 128 * ((columns + 127) / 128) + c / 128);
        largest[block] = std::max(largest[block], std::fabs(whole[i]));
        const auto code = static_cast<std::uint8_t>(codes.bytes[i]);
        ASSERT_EQ(back[i], from_e4m3(code) * scales[block]);
        for (const int near : {code - 1, code + 1}) {
          if (near < 0 || (near & 0x7f) == 0x7f || ((near ^ code) & 0x80) != 0) continue;
          const float other = from_e4m3(static_cast<std::uint8_t>(near)) * scales[block];
          ASSERT_LE(std::fabs(back[i] - whole[i]), std::fabs(other - whole[i]) * 1.000001f)
              << tensor.name << " " << i;
        }
      }
    for (std::size_t b = 0; b < scales.size(); ++b)
      EXPECT_FLOAT_EQ(scales[b], largest[b] / 448.0f) << tensor.name;
  }
  EXPECT_GT(quantized, 20);
  EXPECT_EQ(plain.at("model.embed_tokens.weight").dtype, "BF16");
  EXPECT_EQ(plain.at("model.layers.1.mlp.gate.weight").dtype, "BF16");
}

TEST_F(HfExport, CutsFilesAtTheWantedSizeAndAnIndexFindsEveryTensor) {
  ExportOptions options;
  options.precision = Precision::Fp8;
  options.shard_bytes = 60'000;
  const ExportReport report = write("model", options);
  const auto index = parse_index(*read_file(scratch / "model" / kIndexFile));
  ASSERT_TRUE(index) << index.error().message;
  std::set<std::string> files;
  std::uint64_t bytes = 0;
  for (const auto& [tensor, file] : index->weight_map) {
    files.insert(file);
    const auto plain = read_plainly((scratch / "model" / file).string());
    ASSERT_TRUE(plain.contains(tensor)) << tensor;
    bytes += plain.at(tensor).bytes.size();
  }
  EXPECT_EQ(index->total_size, bytes);
  EXPECT_EQ(report.bytes, bytes);
  EXPECT_EQ(report.tensors, index->weight_map.size());
  ASSERT_GT(files.size(), 4u);
  const std::string count = std::to_string(100'000 + files.size()).substr(1);
  EXPECT_EQ(*files.begin(), "model-00001-of-" + count + ".safetensors");
  for (const std::string& file : files) {
    const auto plain = read_plainly((scratch / "model" / file).string());
    std::uint64_t held = 0;
    for (const auto& [name, tensor] : plain) held += tensor.bytes.size();
    EXPECT_TRUE(held <= options.shard_bytes || plain.size() <= 2) << file << " " << held;
  }
}

TEST_F(HfExport, DropsNextTokenModulesWhenAsked) {
  ExportOptions options;
  options.drop_next_token = true;
  write("model", options);
  auto directory = Directory::open(scratch / "model");
  ASSERT_TRUE(directory) << directory.error().message;
  EXPECT_EQ(directory->config().num_nextn_predict_layers, 0);
  EXPECT_FALSE(directory->has("model.layers.2.eh_proj.weight"));
}

TEST_F(HfExport, SideFilesArriveByteForByteAndSha256sumAgrees) {
  ExportOptions options;
  options.sha256 = true;
  options.files = {{"tokenizer.json", std::string("{\0\xff\r\n}", 6)}};
  write("model", options);
  EXPECT_EQ(*read_file(scratch / "model/tokenizer.json"), options.files[0].content);
  const std::string command =
      "cd '" + (scratch / "model").string() + "' && sha256sum --quiet -c SHA256SUMS";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST_F(HfExport, NothingIsLeftOfAnExportThatFails) {
  weights.on_read = [](std::string_view tensor, std::span<float> out) {
    if (tensor == "model.layers.1.mlp.experts.2.up_proj.weight") out[5] = std::nanf("");
  };
  const auto report = export_directory(weights, config, scratch / "model", {});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::Corrupt);
  EXPECT_NE(report.error().message.find(
                "tensor 'model.layers.1.mlp.experts.2.up_proj.weight': element 5 is nan"),
            std::string::npos)
      << report.error().message;
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

TEST_F(HfExport, WhatIsThereAlreadyIsNotWrittenOver) {
  ASSERT_TRUE(write_file_atomically(scratch / "model", "precious"));
  const auto report = export_directory(weights, config, scratch / "model", {});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::InvalidArgument);
  EXPECT_EQ(*read_file(scratch / "model"), "precious");
}

TEST_F(HfExport, DenseModelsWithGroupedQueriesAreWrittenToo) {
  ModelConfig dense;
  dense.model_type = "qwen2";
  dense.kv_lora_rank = dense.q_lora_rank = 0;
  dense.qk_nope_head_dim = dense.qk_rope_head_dim = dense.v_head_dim = 0;
  dense.n_routed_experts = dense.n_shared_experts = dense.num_experts_per_tok = 0;
  dense.moe_intermediate_size = dense.first_k_dense_replace = 0;
  dense.n_group = dense.topk_group = 1;
  dense.num_key_value_heads = 2;
  dense.head_dim = 16;
  dense.attention_bias = true;
  dense.tie_word_embeddings = true;
  MadeUpWeights made(dense);
  ASSERT_TRUE(export_directory(made, dense, scratch / "dense", {}));
  auto directory = Directory::open(scratch / "dense");
  ASSERT_TRUE(directory) << directory.error().message;
  EXPECT_TRUE(directory->has("model.layers.1.self_attn.q_proj.bias"));
  EXPECT_FALSE(directory->has("lm_head.weight"));
}

}  // namespace
}  // namespace weft::trainer::hf
