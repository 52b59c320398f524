// How fast files become an index and an index becomes batches, against reading the same file once
// from start to end, and how much memory that takes. usage: corpus_bench [MB [DIRECTORY]]
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/rng.h"
#include "trainer/corpus/dataset.h"

namespace {

namespace fs = std::filesystem;
using namespace weft;
using namespace weft::trainer;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The most memory that this process ever held, in MB.
double peak_mb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

/// JSONL of documents of 0.2 to 8 KB of words.
void generate(const fs::path& path, double bytes) {
  std::ofstream out(path, std::ios::binary);
  Rng rng(1, "corpus_bench");
  std::string block;
  for (double written = 0; written < bytes; written += static_cast<double>(block.size())) {
    block.clear();
    for (int document = 0; document < 64; ++document) {
      block += "{\"id\": " + std::to_string(document) + ", \"text\": \"";
      for (std::uint32_t words = 40 + rng.below(1500); words > 0; --words) {
        for (std::uint32_t letters = 1 + rng.below(9); letters > 0; --letters)
          block += static_cast<char>('a' + rng.below(26));
        block += words % 12 == 0 ? "\\n" : " ";
      }
      block += "\"}\n";
    }
    out << block;
  }
}

double sequential_read(const fs::path& path) {
  const double begin = now();
  const int fd = ::open(path.c_str(), O_RDONLY);
  std::vector<char> chunk(1 << 20);
  while (::read(fd, chunk.data(), chunk.size()) > 0) {
  }
  ::close(fd);
  return now() - begin;
}

void deliver(const char* what, const std::shared_ptr<const corpus::Index>& index,
             const corpus::Coder& coder, corpus::Packing packing) {
  corpus::PackOptions options;
  options.packing = packing;
  options.context = 4096;
  options.fim_rate = packing == corpus::Packing::Stream ? 0.1 : 0;
  double begin = now();
  const auto set = corpus::Dataset::open({index}, corpus::Part::Train, {}, coder, options);
  if (!set) return;
  if (const auto first = (*set)->plan(0, 1); first) (void)(*set)->read(first->front());
  std::printf("%-8s opened, first window in %.2f s\n", what, now() - begin);
  begin = now();
  double tokens = 0;
  for (std::uint64_t sample = 0; now() - begin < 3; sample += 16) {
    const auto plan = (*set)->plan(sample, 16);
    if (!plan) break;
    const auto batch = (*set)->batch(*plan, 4, Mode::Train, [](int) { return true; });
    if (!batch) break;
    for (const MicroBatch& part : *batch) tokens += part.num_tokens();
  }
  std::printf("%-8s %.2f M tokens/s as micro-batches of 4 x 4096, peak %.0f MB\n", what,
              tokens / (now() - begin) / 1e6, peak_mb());
}

}  // namespace

int main(int argc, char** argv) {
  const double mb = argc > 1 ? std::atof(argv[1]) : 256;
  const fs::path root = fs::path(argc > 2 ? argv[2] : fs::temp_directory_path().c_str()) /
                        ("corpus_bench." + std::to_string(::getpid()));
  fs::create_directories(root);
  const fs::path file = root / "data.jsonl";
  generate(file, mb * 1e6);
  const double size = static_cast<double>(fs::file_size(file)) / 1e6;
  const auto coder = *corpus::Coder::make(*tokenizer::Tokenizer::byte_level(0));
  std::printf("%.0f MB of JSONL, peak %.0f MB before\n", size, peak_mb());
  const double read = sequential_read(file), again = sequential_read(file);
  const double limit = std::min(read, again);
  corpus::IndexSpec spec;
  spec.pattern = file.string();
  const double begin = now();
  const auto index = corpus::Index::open(spec, root / "index", *coder);
  const double built = now() - begin;
  if (!index) {
    std::fprintf(stderr, "%s\n", index.error().message.c_str());
    return 1;
  }
  std::printf("read     %.0f MB/s from start to end (the better of two)\n", size / limit);
  std::printf("index    %.0f MB/s, %.2f of plain reading, peak %.0f MB\n", size / built,
              limit / built, peak_mb());
  deliver("stream", *index, *coder, corpus::Packing::Stream);
  deliver("sample", *index, *coder, corpus::Packing::Sample);
  fs::remove_all(root);
  return 0;
}
