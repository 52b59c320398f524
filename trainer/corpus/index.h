// A source's documents as tokens on the disk, and a table of where each is: built once, then read
// by any rank in any order. Memory does not grow with the data.
//
// A directory DIR/<key>/ with
//   tokens      every document's tokens one after another, 1, 2 or 4 bytes each, little-endian
//   train, held tables of Entry: the documents to learn from and those held out
//   index.json  what it was made from; the index exists when this file does
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/corpus/coder.h"
#include "trainer/corpus/record.h"
#include "trainer/corpus/sources.h"

namespace weft::trainer::corpus {

/// What one document of a plain text file is.
enum class Unit {
  File,       // the whole file, in pieces of at most document_bytes cut at line ends
  Paragraph,  // what stands between blank lines
  Line,
};

struct IndexSpec {
  std::string pattern;  // a path or a glob
  std::string text_key = "text";
  Unit unit = Unit::File;
  AnswerFormat answers = AnswerFormat::Plain;
  double held_out = 0;          // share of the documents, told by a hash of their text
  bool skip_bad_lines = false;  // else a line that cannot be used is an error
  std::size_t document_bytes = std::size_t{1} << 16;  // of plain text; longer ones are cut
  std::size_t max_line = std::size_t{1} << 26;        // of JSONL; longer ones are bad lines

  /// Two specs of the same text and coder make the same index of the same files.
  std::string text(const Coder& coder) const;
};

/// One document. On the disk as it stands here, little-endian.
struct Entry {
  std::uint64_t first_token = 0;
  std::uint32_t tokens = 0;
  std::uint32_t prompt_tokens = 0;  // of those, the first so many; 0: a document without a prompt
  std::uint64_t where = 0;          // source file << 48 | offset of its line, unpacked

  std::size_t file() const { return static_cast<std::size_t>(where >> 48); }
  std::uint64_t offset() const { return where & ((std::uint64_t{1} << 48) - 1); }
};
static_assert(sizeof(Entry) == 24);

enum class Part { Train, Held };

/// Counts of one build; all of them documents unless said otherwise.
struct IndexCounts {
  std::uint64_t lines = 0;       // read
  std::uint64_t text_bytes = 0;  // of the documents kept
  std::uint64_t held_bytes = 0;  // of those, held out
  std::uint64_t tokens = 0;      // without begin and end
  std::uint64_t held_tokens = 0;
  std::uint64_t empty = 0;                  // left out
  std::uint64_t bad_lines = 0;              // left out, with skip_bad_lines
  std::uint64_t invalid_utf8 = 0;           // kept, byte for byte
  std::uint64_t with_nul = 0;               // kept
  std::uint64_t with_crlf = 0;              // kept
  std::uint64_t cut = 0;                    // longer than document_bytes: pieces made of them
  std::uint64_t longest = 0;                // tokens
  std::array<std::uint64_t, 33> lengths{};  // [b]: tokens in 2^(b-1) .. 2^b - 1
  std::array<std::uint64_t, kNumDialects> dialects{};
};

struct BuildProgress {
  std::string file;
  std::uint64_t bytes = 0, total_bytes = 0;  // on the disk
};
using ProgressFunction = std::function<void(const BuildProgress&)>;

/// Threads: any; never changes.
class Index {
 public:
  /// Opens the index below `directory`, or makes it when there is none; others that want the same
  /// one wait for that. What it was made from is looked at again.
  /// Errors: NotFound and Io for sources and index; InvalidArgument for a source that has changed
  /// (named), for a bad line (file:line) and when nothing usable is left; Corrupt for an index that
  /// does not fit its own description.
  static Expected<std::shared_ptr<const Index>> open(const IndexSpec& spec,
                                                     const std::filesystem::path& directory,
                                                     const Coder& coder,
                                                     const ProgressFunction& progress = {});
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  std::uint64_t documents(Part part) const;
  /// Entries first .. first + out.size(). Errors: Io, Corrupt.
  Expected<void> entries(Part part, std::uint64_t first, std::span<Entry> out) const;
  /// Appends tokens first .. first + count of a document. Errors: Io, Corrupt.
  Expected<void> tokens(const Entry& entry, std::uint32_t first, std::uint32_t count,
                        std::vector<std::int32_t>& out) const;

  const std::string& pattern() const { return pattern_; }
  const std::vector<SourceFile>& files() const { return files_; }
  const IndexCounts& counts() const { return counts_; }
  /// What a person should know about the sources, one sentence each.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Of the sources' content and the spec: 32 hexadecimal digits.
  const std::string& fingerprint() const { return fingerprint_; }
  /// Bytes of one token in the file.
  int token_width() const { return token_width_; }

 private:
  friend struct Manifest;
  Index() = default;
  static Expected<std::shared_ptr<const Index>> open_made(const std::filesystem::path& directory,
                                                          const std::string& spec_text);
  Expected<void> open_files(const std::filesystem::path& directory);

  std::string pattern_, fingerprint_;
  std::vector<SourceFile> files_;
  IndexCounts counts_;
  std::vector<std::string> warnings_;
  int token_width_ = 0;
  std::array<std::uint64_t, 2> documents_{};
  std::array<int, 2> tables_ = {-1, -1};
  int tokens_ = -1;
};

/// What index.json holds. `Index` reads and writes it.
struct Manifest {
  std::string pattern, spec_text;
  std::vector<SourceFile> files;
  IndexCounts counts;
  std::vector<std::string> warnings;
  int token_width = 0;
  std::uint64_t train = 0, held = 0;

  std::string to_json() const;
  /// Errors: Corrupt.
  static Expected<Manifest> parse(std::string_view text);
  std::string fingerprint() const;
};

/// Makes the index in `directory`, which is empty. Errors: as Index::open.
Expected<void> build_index(const IndexSpec& spec, const std::filesystem::path& directory,
                           const Coder& coder, const ProgressFunction& progress);

/// Is `text` UTF-8 throughout?
bool is_utf8(std::string_view text);

}  // namespace weft::trainer::corpus
