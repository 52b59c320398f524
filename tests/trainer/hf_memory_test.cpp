// Export and import hold one tensor at a time, whatever the model's size. This binary counts what
// operator new has given out.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/trainer/checkpoint_testing.h"
#include "tests/trainer/exchange_testing.h"
#include "trainer/gguf/export.h"
#include "trainer/hf/export.h"
#include "trainer/hf/import.h"

namespace {
std::atomic<std::size_t> live = 0, peak = 0;

void* counted(void* memory) {
  if (memory == nullptr) std::abort();
  const std::size_t now = live += malloc_usable_size(memory);
  for (std::size_t most = peak; now > most && !peak.compare_exchange_weak(most, now);) {
  }
  return memory;
}
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t n) { return counted(std::malloc(n)); }
[[gnu::noinline]] void* operator new[](std::size_t n) { return counted(std::malloc(n)); }
[[gnu::noinline]] void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return counted(std::malloc(n));
}
[[gnu::noinline]] void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
  return counted(std::malloc(n));
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  live -= malloc_usable_size(p);
  std::free(p);
}
[[gnu::noinline]] void operator delete[](void* p) noexcept { operator delete(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { operator delete(p); }

namespace weft::trainer {
namespace {

/// Files that keep only their size and text: a large model costs no disk.
class Sink final : public checkpoint::Disk {
 public:
  struct Hole final : checkpoint::File {
    explicit Hole(std::uint64_t& length) : end(length) {}
    Expected<std::uint64_t> size() override { return end; }
    Expected<void> read_at(std::uint64_t, std::span<std::byte> out) override {
      std::ranges::fill(out, std::byte{});
      return {};
    }
    Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      end = std::max(end, offset + bytes.size());
      return {};
    }
    Expected<void> sync() override { return {}; }
    std::uint64_t& end;
  };
  Expected<std::unique_ptr<checkpoint::File>> create(const std::filesystem::path& path) override {
    return std::make_unique<Hole>(sizes[path.string()]);
  }
  Expected<std::unique_ptr<checkpoint::File>> open(const std::filesystem::path& path) override {
    return std::make_unique<Hole>(sizes[path.string()]);
  }
  Expected<void> make_directories(const std::filesystem::path&) override { return {}; }
  Expected<void> rename(const std::filesystem::path& from,
                        const std::filesystem::path& to) override {
    std::map<std::string, std::uint64_t> renamed;
    for (const auto& [path, size] : sizes)
      renamed[path.starts_with(from.string()) ? to.string() + path.substr(from.string().size())
                                              : path] = size;
    sizes = std::move(renamed);
    return {};
  }
  Expected<void> exchange(const std::filesystem::path&, const std::filesystem::path&) override {
    return {};
  }
  Expected<void> symlink(const std::string&, const std::filesystem::path&) override { return {}; }
  Expected<void> remove_tree(const std::filesystem::path&) override { return {}; }
  Expected<void> sync_directory(const std::filesystem::path&) override { return {}; }
  Expected<std::vector<std::string>> names_in(const std::filesystem::path&) override {
    return std::vector<std::string>{};
  }

  std::map<std::string, std::uint64_t> sizes;
};

/// The weights are all one number: making them costs nothing.
class Constant final : public hf::TensorSource {
 public:
  explicit Constant(const ModelConfig& config) {
    for (const hf::Tensor& tensor : hf::tensors_of(config)) shapes_[tensor.name] = tensor.shape;
  }
  std::string name() const override { return "constant"; }
  bool has(std::string_view tensor) const override { return shapes_.contains(tensor); }
  Expected<checkpoint::Shape> shape(std::string_view tensor) override {
    return shapes_.find(tensor)->second;
  }
  Expected<void> read(std::string_view, std::span<float> out) override {
    std::ranges::fill(out, 0.5f);
    return {};
  }

 private:
  std::map<std::string, checkpoint::Shape, std::less<>> shapes_;
};

constexpr std::size_t kTensorBytes = 512 * 512 * 4;  // the largest tensors

/// 100 MB of weights in 1 MB tensors.
ModelConfig wide_model() {
  ModelConfig c;
  c.vocab_size = 512;
  c.hidden_size = 512;
  c.intermediate_size = 512;
  c.moe_intermediate_size = 512;
  c.num_hidden_layers = 4;
  c.n_routed_experts = 8;
  c.num_experts_per_tok = 2;
  return c;
}

/// The most that `body` holds beyond what was there before.
template <class Body>
std::size_t most_held(Body body) {
  const std::size_t before = live;
  peak = before;
  body();
  return peak - before;
}

struct Memory : ::testing::Test {
  ModelConfig config = wide_model();
  Constant source{config};
  Sink disk;
  // A tensor as F32 and as it is stored; beside it names, plans and headers.
  static constexpr std::size_t kTwoTensors = 2 * kTensorBytes + 800'000;
};

TEST_F(Memory, OfAHuggingFaceExportIsOneTensorTwice) {
  for (const hf::Precision precision : {hf::Precision::Bf16, hf::Precision::Fp8}) {
    hf::ExportOptions options;
    options.precision = precision;
    hf::ExportReport report;
    EXPECT_LT(most_held([&] {
                const auto done = hf::export_directory(source, config, "out", options, disk);
                ASSERT_TRUE(done) << done.error().message;
                report = *done;
              }),
              kTwoTensors);
    EXPECT_GT(report.bytes, 20 * kTensorBytes);
  }
}

TEST_F(Memory, OfAGgufExportDoesNotGrowWithTheExpertsOfALayer) {
  gguf::ExportOptions options;
  options.vocabulary = *gguf::byte_vocabulary(tokenizer::ByteVocabulary{0}, config.vocab_size);
  EXPECT_LT(most_held([&] {
              const auto done = gguf::export_file(source, config, "out.gguf", options, disk);
              ASSERT_TRUE(done) << done.error().message;
            }),
            3 * kTensorBytes);  // kv_b_proj is turned over
}

TEST_F(Memory, OfAnImportIsOneTensorAndAPieceReadBack) {
  hf::ImportOptions options;
  options.shard_bytes = 40'000'000;
  checkpoint::testing_::Scratch scratch;
  EXPECT_LT(most_held([&] {
              // What commit checks needs real files; 100 MB of them are bearable.
              const auto done = hf::import_checkpoint(source, config, scratch / "ckpt", options);
              ASSERT_TRUE(done) << done.error().message;
            }),
            kTwoTensors + (1 << 20));
}

}  // namespace
}  // namespace weft::trainer
