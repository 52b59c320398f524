// A tokenizer.json as bytes: read in one pass, its two large members into flat arrays, the rest as
// JSON. What the members mean is in hf.h.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::tokenizer {

inline constexpr std::size_t kFileBytesMax = 256 << 20;
inline constexpr std::size_t kTokenBytesMax = 64 << 10;
inline constexpr std::size_t kTokensMax = 4 << 20;

class HfFile {
 public:
  /// A text inside arena.
  struct Slice {
    std::uint32_t begin = 0, length = 0;
  };
  struct Entry {
    Slice token;
    std::int64_t id = 0;
  };
  struct Merge {
    Slice left, right;
  };

  HfFile();
  HfFile(HfFile&&) noexcept;
  ~HfFile();

  std::string name;  // for messages
  std::string arena;
  std::vector<Entry> vocabulary;  // model.vocab, as written
  std::vector<Merge> merges;      // model.merges, in either form
  bool has_vocabulary = false, has_merges = false;
  /// Everything but model.vocab and model.merges.
  std::unique_ptr<nlohmann::json> rest;

  std::string_view text(Slice slice) const {
    return std::string_view(arena).substr(slice.begin, slice.length);
  }
};

/// Errors: Corrupt, with `name` and the place: no JSON, broken UTF-8, a key twice, nested too deep,
/// a token or a file over the limits above, a vocab or merges of another shape.
Expected<HfFile> read_hf_file(std::string_view text, std::string_view name);

}  // namespace weft::trainer::tokenizer
