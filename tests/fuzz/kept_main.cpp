// usage: fuzz_kept pack DIRECTORY            print the files there as a kept corpus
//        fuzz_kept unpack FILE DIRECTORY     write a kept corpus there, a file an input
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/files.h"
#include "tests/fuzz/kept_inputs.h"

namespace weft::fuzz {
namespace {

int pack(const std::string& directory) {
  std::vector<std::string> lines;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (const auto input = read_file(entry.path().string())) lines.push_back(escaped(*input));
  std::ranges::sort(lines);
  for (const std::string& line : lines) std::printf("%s\n", line.c_str());
  return 0;
}

int unpack(const std::string& path, const std::string& directory) {
  const auto inputs = kept_inputs(path);
  if (!inputs) {
    std::fprintf(stderr, "%s\n", inputs.error().message.c_str());
    return 2;
  }
  for (std::size_t i = 0; i < inputs->size(); ++i)
    std::ofstream(directory + "/kept-" + std::to_string(i), std::ios::binary) << (*inputs)[i];
  return 0;
}

}  // namespace
}  // namespace weft::fuzz

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "pack" && argc == 3) return weft::fuzz::pack(argv[2]);
  if (what == "unpack" && argc == 4) return weft::fuzz::unpack(argv[2], argv[3]);
  std::fprintf(stderr, "usage: fuzz_kept pack DIRECTORY | unpack FILE DIRECTORY\n");
  return 2;
}
