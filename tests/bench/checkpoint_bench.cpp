// What checkpoints cost, each against a limit measured in the same run:
//
//   checkpoint_bench io [MiB [DIR [rounds]]]   save and load bandwidth against plain sequential
//                                              writes and reads of the same bytes to the same disk;
//                                              the copy that training waits for against memcpy
//   checkpoint_bench metadata [DIR]            all but the tensors' bytes for DeepSeek-V3 on 2,048
//                                              ranks: plan, reports, coverage, manifest
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/reshard.h"
#include "trainer/checkpoint/saver.h"

namespace weft::trainer::checkpoint {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kPlainBytes = std::size_t{8} << 20;

template <class Work>
double timed(Work work) {
  const auto begin = SteadyClock::now();
  work();
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

double processor_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

template <class T>
T must(Expected<T> value, const char* what) {
  if (value) return std::move(*value);
  std::fprintf(stderr, "%s: %s\n", what, value.error().message.c_str());
  std::exit(1);
}

void must(bool fine, const char* what) {
  if (fine) return;
  std::perror(what);
  std::exit(1);
}

/// Clean pages of the file leave the page cache, so that the next read is the disk's.
void forget(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY);
  must(file >= 0, "open");
  ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  ::close(file);
}

void plain_write(const fs::path& path, std::span<const std::byte> bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  must(file >= 0, "create");
  for (std::size_t at = 0; at < bytes.size(); at += kPlainBytes) {
    const auto part = bytes.subspan(at, std::min(kPlainBytes, bytes.size() - at));
    must(::write(file, part.data(), part.size()) == static_cast<ssize_t>(part.size()), "write");
  }
  must(::fdatasync(file) == 0, "fdatasync");
  ::close(file);
}

void plain_read(const fs::path& path, std::span<std::byte> into) {
  const int file = ::open(path.c_str(), O_RDONLY);
  must(file >= 0, "open");
  for (std::size_t at = 0; at < into.size(); at += kPlainBytes) {
    const auto part = into.subspan(at, std::min(kPlainBytes, into.size() - at));
    must(::read(file, part.data(), part.size()) == static_cast<ssize_t>(part.size()), "read");
  }
  ::close(file);
}

/// A rank's tensors: of many sizes, as a mixture of experts has them.
struct State {
  explicit State(std::size_t bytes) : size(bytes), memory(new std::byte[bytes]) {
    std::uint64_t x = 88172645463325252u;
    for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17;
      std::memcpy(memory.get() + i, &x, 8);
    }
    constexpr std::size_t kSizes[] = {14 << 20, 14 << 20, 2 << 20, 28672, 7168 * 256 * 4, 6144};
    std::size_t at = 0;
    for (int i = 0; at + (16 << 20) < bytes; ++i) {
      const std::size_t n = kSizes[i % std::size(kSizes)];
      tensors.push_back({"model",
                         "layers." + std::to_string(i) + ".weight",
                         {static_cast<std::int64_t>(n / 4)},
                         memory.get() + at,
                         {},
                         {},
                         Dtype::F32});
      at += n;
    }
    size = at;
  }
  std::span<const std::byte> bytes() const { return {memory.get(), size}; }

  std::size_t size;
  std::unique_ptr<std::byte[]> memory;
  std::vector<TensorRef> tensors;
};

void commit_one(const fs::path& ckpt, const State& state, std::uint64_t step) {
  const fs::path partial = must(prepare(ckpt, step, 1), "prepare");
  const std::vector<ShardReport> reports = {
      must(write_shard(partial, 0, 1, state.tensors), "write_shard")};
  ManifestInfo info;
  info.run = "bench";
  info.attempt = 1;
  info.step = step;
  info.wall_time = "2026-01-01T00:00:00Z";
  info.state = "{}";
  info.keep = 1;
  for (const TensorRef& ref : state.tensors)
    info.expected.push_back({ref.item, ref.name, ref.shape});
  must(commit(ckpt, partial, info, reports), "commit");
}

void load_one(const fs::path& checkpoint, const State& state, std::span<std::byte> into) {
  Reader reader = must(Reader::open(checkpoint), "open");
  std::size_t at = 0;
  for (const TensorRef& ref : state.tensors) {
    const auto n = static_cast<std::size_t>(ref.shape[0]);
    const std::span<float> out(reinterpret_cast<float*>(into.data() + at), n);
    if (auto read = reader.read(ref.item, ref.name, out); !read) std::abort();
    at += 4 * n;
  }
}

int bench_io(std::size_t mebibytes, const fs::path& parent, int rounds) {
  const fs::path directory = parent / ("weft-checkpoint-bench-" + std::to_string(::getpid()));
  fs::create_directories(directory);
  const State state(mebibytes << 20);
  std::vector<std::byte> into(state.size);
  std::vector<double> plain_w, save, plain_r, load, copy, plain_copy;
  double processor_plain = 0, processor_save = 0;  // seconds, the kernel's included
  Snapshot snapshot;
  for (int round = 0; round <= rounds; ++round) {  // the first one warms up
    // Each goes first in every other round: what a disk's caches and limits give the first one, or
    // take from the second, is then nobody's.
    const bool plain_first = round % 2 == 0;
    const auto step = static_cast<std::uint64_t>(round + 1);
    const fs::path checkpoint = directory / "ckpt" / directory_name(step);
    fs::remove(directory / "plain");
    fs::remove_all(directory / "ckpt");
    double pw = 0, s = 0, pr = 0, l = 0, used_plain = 0, used_save = 0;
    const auto write_plain = [&] {
      const double before = processor_seconds();
      pw = timed([&] { plain_write(directory / "plain", state.bytes()); });
      used_plain = processor_seconds() - before;
    };
    const auto write_own = [&] {
      const double before = processor_seconds();
      s = timed([&] { commit_one(directory / "ckpt", state, step); });
      used_save = processor_seconds() - before;
    };
    const auto forget_both = [&] {  // so that each finds the same free memory for its pages
      forget(directory / "plain");
      forget(checkpoint / shard_file("model", 0));
    };
    const auto read_plain = [&] {
      forget_both();
      pr = timed([&] { plain_read(directory / "plain", into); });
    };
    const auto read_own = [&] {
      forget_both();
      l = timed([&] { load_one(checkpoint, state, into); });
      if (std::memcmp(into.data(), state.memory.get(), state.size) != 0) std::abort();
    };
    if (plain_first) {
      write_plain(), write_own(), read_plain(), read_own();
    } else {
      write_own(), write_plain(), read_own(), read_plain();
    }
    const double c = timed([&] {
      snapshot.clear(state.size);
      for (const TensorRef& ref : state.tensors)
        snapshot.add(ref, {static_cast<const std::byte*>(ref.data),
                           static_cast<std::size_t>(ref.shape[0]) * 4});
    });
    const double pc = timed([&] { std::memcpy(into.data(), state.memory.get(), state.size); });
    if (round == 0) continue;
    processor_plain += used_plain / rounds, processor_save += used_save / rounds;
    plain_w.push_back(pw), save.push_back(s), plain_r.push_back(pr), load.push_back(l);
    copy.push_back(c), plain_copy.push_back(pc);
  }
  fs::remove_all(directory);
  const double mb = static_cast<double>(state.size) / 1e6;
  const auto line = [&](const char* what, const std::vector<double>& own,
                        const std::vector<double>& plain, const char* limit) {
    const auto best = [](const std::vector<double>& times) {
      return *std::ranges::min_element(times);
    };
    std::printf(
        "%-5s %6.0f MB/s  %-25s %6.0f MB/s  ratio %4.0f %%  (fastest %.0f and %.0f: %.0f %%)\n",
        what, mb / median(own), limit, mb / median(plain), 100 * median(plain) / median(own),
        mb / best(own), mb / best(plain), 100 * best(plain) / best(own));
  };
  std::printf("%.0f MB in %zu tensors, median of %d rounds\n", mb, state.tensors.size(), rounds);
  line("save", save, plain_w, "plain write and fdatasync");
  line("load", load, plain_r, "plain read, cold cache");
  line("copy", copy, plain_copy, "memcpy");
  std::printf("processor seconds of a save %.2f, of the plain write %.2f\n", processor_save,
              processor_plain);
  return 0;
}

/// DeepSeek-V3: 61 layers and the multi-token prediction module; weights and one moment, so that
/// there are as many tensors as a manifest of 92,000 has.
Manifest deepseek_v3() {
  Manifest manifest;
  const auto add = [&](const std::string& name, Shape shape) {
    for (const char* const item : {"model", "optim"})
      manifest.tensors.push_back({item, name, shape, Dtype::F32, {}});
  };
  add("model.embed_tokens.weight", {129280, 7168});
  add("lm_head.weight", {129280, 7168});
  add("model.norm.weight", {7168});
  for (int layer = 0; layer < 62; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    add(at + "input_layernorm.weight", {7168});
    add(at + "post_attention_layernorm.weight", {7168});
    add(at + "self_attn.q_a_proj.weight", {1536, 7168});
    add(at + "self_attn.q_a_layernorm.weight", {1536});
    add(at + "self_attn.q_b_proj.weight", {24576, 1536});
    add(at + "self_attn.kv_a_proj_with_mqa.weight", {576, 7168});
    add(at + "self_attn.kv_a_layernorm.weight", {512});
    add(at + "self_attn.kv_b_proj.weight", {32768, 512});
    add(at + "self_attn.o_proj.weight", {7168, 16384});
    const auto mlp = [&](const std::string& where, std::int64_t width) {
      add(where + "gate_proj.weight", {width, 7168});
      add(where + "up_proj.weight", {width, 7168});
      add(where + "down_proj.weight", {7168, width});
    };
    if (layer < 3) {
      mlp(at + "mlp.", 18432);
      continue;
    }
    add(at + "mlp.gate.weight", {256, 7168});
    add(at + "mlp.gate.e_score_correction_bias", {256});
    mlp(at + "mlp.shared_experts.", 2048);
    for (int expert = 0; expert < 256; ++expert)
      mlp(at + "mlp.experts." + std::to_string(expert) + ".", 2048);
  }
  std::ranges::sort(manifest.tensors, {},
                    [](const TensorEntry& t) { return std::pair(t.item, t.name); });
  return manifest;
}

double peak_mebibytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

int bench_metadata(const fs::path& parent) {
  constexpr int kRanks = 2048;
  const fs::path directory = parent / ("weft-checkpoint-bench-" + std::to_string(::getpid()));
  fs::create_directories(directory);
  const Manifest model = deepseek_v3();
  const std::size_t tensors = model.tensors.size();
  const double processor = processor_seconds();
  std::vector<Share> shares;
  const double plan = timed([&] { shares = share_evenly(model, kRanks); });

  // Each rank's report, as text; a rank makes its own, so this is what one of them takes.
  std::vector<std::string> texts;
  double report = 0;
  auto share = shares.begin();
  for (int rank = 0; rank < kRanks; ++rank) {
    report += timed([&] {
      ShardReport one{rank, kRanks, {}, {}};
      std::map<std::string, std::uint64_t> bytes;
      for (; share != shares.end() && share->rank == rank; ++share) {
        const TensorEntry& of = model.tensors[share->tensor];
        TensorEntry entry{of.item, of.name, of.shape, of.dtype, {}};
        const std::uint64_t size = *num_elements(share->box.shape) * 4;
        bytes[of.item] += size;
        entry.pieces.push_back({shard_file(of.item, rank),
                                share->box,
                                size,
                                {share->tensor * 0x9E3779B97F4A7C15u, size}});
        one.tensors.push_back(std::move(entry));
      }
      for (const auto& [item, size] : bytes)
        one.files.push_back({shard_file(item, rank), size + 4096, {size, 7}});
      texts.push_back(one.to_json());
    });
  }
  ManifestInfo info;
  info.run = "deepseek-v3";
  info.step = 118000;
  info.wall_time = "2026-01-01T00:00:00Z";
  info.writer = "bench";
  info.layout = {16, 128, 64, "dualpipe"};
  info.state = "{}";
  for (const TensorEntry& t : model.tensors) info.expected.push_back({t.item, t.name, t.shape});

  std::vector<ShardReport> reports;
  const double parse = timed([&] {
    for (const std::string& text : texts)
      reports.push_back(must(ShardReport::from_json(text), "report"));
  });
  texts.clear();
  Manifest manifest;
  const double merge = timed([&] { manifest = must(assemble(info, reports), "assemble"); });
  reports.clear();
  std::string text;
  const double format = timed([&] { text = must(to_json(manifest), "to_json"); });
  const double write = timed([&] {
    if (!write_text(Disk::real(), directory / kManifestFile, text)) std::abort();
  });
  const std::size_t text_bytes = text.size();
  text = {};
  Manifest back;
  const double read = timed([&] { back = must(load_manifest(directory), "load_manifest"); });
  const bool same = back == manifest;
  fs::remove_all(directory);
  if (!same) std::abort();
  const double used = processor_seconds() - processor;
  const double commit = parse + merge + format + write;
  std::printf("%zu tensors in %zu pieces on %d ranks; manifest of %.1f MB\n", tensors,
              shares.size(), kRanks, static_cast<double>(text_bytes) / 1e6);
  std::printf("plan %.3f s  reports written %.3f s (all ranks; %.2f ms a rank)\n", plan, report,
              1e3 * report / kRanks);
  std::printf(
      "reports read %.3f s  merged, covered %.3f s  manifest made %.3f s, written %.3f s, "
      "read %.3f s\n",
      parse, merge, format, write, read);
  std::printf(
      "in all %.2f s, %.2f s of them the reports of 2,047 other ranks, which are not this one's\n"
      "work: %.2f s (limit 2 s); processor %.2f s; peak memory %.0f MiB (limit 1024)\n",
      plan + report + commit + read, report * (kRanks - 1) / kRanks,
      plan + report / kRanks + commit + read, used, peak_mebibytes());
  return 0;
}

}  // namespace
}  // namespace weft::trainer::checkpoint

int main(int argc, char** argv) {
  using namespace weft::trainer::checkpoint;
  const std::string what = argc > 1 ? argv[1] : "";
  const auto word = [&](int i, const char* fallback) { return argc > i ? argv[i] : fallback; };
  if (what == "io")
    return bench_io(std::strtoul(word(2, "1024"), nullptr, 10), word(3, "."),
                    std::atoi(word(4, "5")));
  if (what == "metadata") return bench_metadata(word(2, "."));
  std::fprintf(stderr, "usage: checkpoint_bench io [MiB [DIR [rounds]]] | metadata [DIR]\n");
  return 2;
}
