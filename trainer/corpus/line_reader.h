// Lines of a file of any size in bounded memory, packed with gzip or not.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/corpus/sources.h"

namespace weft::trainer::corpus {

/// What becomes of a line that is longer than the bound.
enum class LongLine {
  Skip,   // it comes once, empty, with too_long set
  Split,  // it comes in pieces, cut between characters; all but the last have no end
};

struct Line {
  std::string_view text;     // without its line feed; valid until the next call
  std::uint64_t number = 0;  // from 1
  std::uint64_t offset = 0;  // of its first byte, unpacked
  bool too_long = false;
  bool ended = false;  // a line feed follows
};

/// Threads: one.
class LineReader {
 public:
  /// Errors: NotFound, Io.
  static Expected<LineReader> open(const SourceFile& file, std::size_t max_line, LongLine policy);
  ~LineReader();
  LineReader(LineReader&&) noexcept;
  LineReader& operator=(LineReader&&) noexcept;

  /// False at the end. Errors: Io; Corrupt for a broken gzip stream.
  Expected<bool> next(Line& line);

  /// The file as it was read, with its hash; to be called after the last line.
  /// Errors: InvalidArgument when it changed meanwhile.
  Expected<SourceFile> finish();
  /// Bytes read from the disk so far, for progress.
  std::uint64_t bytes_read() const;

 private:
  struct Bytes;
  LineReader(std::unique_ptr<Bytes> bytes, std::size_t max_line, LongLine policy);
  Expected<void> fill();
  std::size_t cut_between_characters(std::size_t wanted) const;

  std::unique_ptr<Bytes> bytes_;
  std::size_t max_line_;
  LongLine policy_;
  std::string buffer_;
  std::size_t begin_ = 0;    // of what was not handed out yet
  std::size_t scanned_ = 0;  // no line feed before this
  std::uint64_t offset_ = 0, number_ = 1;
  bool at_end_ = false;
  bool dropping_ = false;  // inside a line that is skipped
};

}  // namespace weft::trainer::corpus
