// From source files to an index: each line becomes a record, each record tokens, one at a time.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "base/files.h"
#include "trainer/checkpoint/hash.h"
#include "trainer/corpus/index.h"
#include "trainer/corpus/line_reader.h"

namespace weft::trainer::corpus {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBuffered = std::size_t{1} << 20;
constexpr std::uint64_t kProgressBytes = std::uint64_t{1} << 24;
constexpr int kExamplesMax = 3;  // named in a warning
constexpr std::size_t kFilesMax = 1 << 16;

/// Appends to a new file.
class Writer {
 public:
  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() {
    if (fd_ >= 0) ::close(fd_);
  }

  Expected<void> open(const fs::path& path) {
    path_ = path;
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd_ < 0) return io_error("write the data's index", path, errno);
    return {};
  }
  Expected<void> add(const void* bytes, std::size_t size) {
    buffer_.append(static_cast<const char*>(bytes), size);
    return buffer_.size() < kBuffered ? Expected<void>() : flush();
  }
  Expected<void> close() {
    WEFT_TRY(flush());
    const int fd = std::exchange(fd_, -1);
    const bool synced = ::fsync(fd) == 0;
    const int error = errno;
    ::close(fd);
    return synced ? Expected<void>() : io_error("write the data's index", path_, error);
  }

 private:
  Expected<void> flush() {
    for (std::size_t done = 0; done < buffer_.size();) {
      const ssize_t put = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return io_error("write the data's index", path_, errno);
      done += static_cast<std::size_t>(put);
    }
    buffer_.clear();
    return {};
  }

  fs::path path_;
  int fd_ = -1;
  std::string buffer_;
};

/// A kind of oddity: how often it was met, and where first.
struct Oddity {
  std::uint64_t count = 0;
  std::string where;

  void met(const std::string& place) {
    if (++count <= kExamplesMax) where += (where.empty() ? "" : ", ") + place;
  }
};

class Builder {
 public:
  Builder(const IndexSpec& spec, const Coder& coder, const ProgressFunction& progress)
      : spec_(spec), coder_(coder), progress_(progress) {}

  Expected<void> build(const fs::path& directory) {
    if (spec_.answers == AnswerFormat::Think && coder_.ids().think_open < 0)
      return fail(Code::InvalidArgument,
                  "data.answer_format = think, but the tokenizer has no <think> token");
    WEFT_TRY_ASSIGN(manifest_.files, find_sources(spec_.pattern));
    if (manifest_.files.size() >= kFilesMax)
      return fail(Code::InvalidArgument, spec_.pattern + " names more than " +
                                             std::to_string(kFilesMax) + " files; join them");
    manifest_.pattern = spec_.pattern;
    manifest_.spec_text = spec_.text(coder_);
    manifest_.token_width = coder_.text_ids() <= 256 && spec_.answers == AnswerFormat::Plain ? 1
                            : coder_.vocab_size() <= 65536                                   ? 2
                                                                                             : 4;
    WEFT_TRY(tokens_file_.open(directory / "tokens"));
    WEFT_TRY(tables_[0].open(directory / "train"));
    WEFT_TRY(tables_[1].open(directory / "held"));
    for (const SourceFile& file : manifest_.files) total_bytes_ += file.size;
    for (file_ = 0; file_ < manifest_.files.size(); ++file_) WEFT_TRY(read_file());
    if (manifest_.train + manifest_.held == 0)
      return fail(Code::InvalidArgument,
                  spec_.pattern + " holds no usable document: " + std::to_string(counts().empty) +
                      " empty, " + std::to_string(counts().bad_lines) + " unusable lines");
    WEFT_TRY(tokens_file_.close());
    WEFT_TRY(tables_[0].close());
    WEFT_TRY(tables_[1].close());
    summarize();
    return write_file_atomically(directory / "index.json", manifest_.to_json());
  }

 private:
  IndexCounts& counts() { return manifest_.counts; }
  const std::string& path() const { return manifest_.files[file_].path; }
  std::string place(const Line& line) const { return path() + ":" + std::to_string(line.number); }

  Expected<void> read_file() {
    const bool jsonl = kind_of(path()) == FileKind::Jsonl;
    WEFT_TRY_ASSIGN(
        LineReader reader,
        LineReader::open(manifest_.files[file_], jsonl ? spec_.max_line : spec_.document_bytes,
                         jsonl ? LongLine::Skip : LongLine::Split));
    Line line;
    std::uint64_t shown = 0, last_number = 0;
    for (;;) {
      WEFT_TRY_ASSIGN(const bool more, reader.next(line));
      if (!more) break;
      counts().lines += line.number != last_number;
      last_number = line.number;
      WEFT_TRY(jsonl ? add_json(line) : add_text(line));
      if (progress_ && reader.bytes_read() >= shown + kProgressBytes) {
        shown = reader.bytes_read();
        progress_({path(), done_bytes_ + shown, total_bytes_});
      }
    }
    if (!jsonl) WEFT_TRY(end_of_document());
    WEFT_TRY_ASSIGN(manifest_.files[file_], reader.finish());
    done_bytes_ += manifest_.files[file_].size;
    if (progress_) progress_({path(), done_bytes_, total_bytes_});
    return {};
  }

  Expected<void> add_json(const Line& line) {
    if (line.too_long)
      return bad_line(line, {Code::InvalidArgument, "the line is longer than " +
                                                        std::to_string(spec_.max_line) + " bytes"});
    if (line.text.find_first_not_of(" \t\r") == std::string_view::npos) {
      ++counts().empty;
      return {};
    }
    const auto record = parse_record(line.text, spec_.text_key);
    if (!record) return bad_line(line, record.error());
    return add(*record, place(line), line.offset);
  }

  Expected<void> bad_line(const Line& line, const Error& why) {
    if (!spec_.skip_bad_lines)
      return fail(Code::InvalidArgument, place(line) + ": " + why.message +
                                             " (data.bad_lines: skip leaves such lines out)");
    ++counts().bad_lines;
    bad_.met(place(line));
    if (bad_.count == 1) first_bad_ = why.message;
    return {};
  }

  /// Lines of plain text gather until the document ends.
  Expected<void> add_text(const Line& line) {
    const bool blank = line.text.empty() || line.text == "\r";
    if (spec_.unit == Unit::Paragraph && blank && line_start_) return end_of_document();
    if (!document_.empty() && document_.size() + line.text.size() + 1 > spec_.document_bytes) {
      ++counts().cut;
      WEFT_TRY(end_of_document());
    }
    if (document_.empty()) document_at_ = line;
    document_.append(line.text);
    if (line.ended) document_ += '\n';
    line_start_ = line.ended;
    return spec_.unit == Unit::Line && line.ended ? end_of_document() : Expected<void>();
  }

  Expected<void> end_of_document() {
    line_start_ = true;
    if (document_.empty()) return {};
    Record record;
    record.completion = std::move(document_);
    document_.clear();
    // The line feed that ends a paragraph or a line is not of it; a file's is.
    if (spec_.unit != Unit::File && record.completion.ends_with('\n')) record.completion.pop_back();
    return add(record, place(document_at_), document_at_.offset);
  }

  Expected<void> add(const Record& record, const std::string& where, std::uint64_t offset) {
    if (record.completion.find_first_not_of(" \t\r\n") == std::string::npos) {
      ++counts().empty;
      return {};
    }
    look_for_oddities(record.prompt, record.completion, where);
    encode(record);
    if (ids_.size() > std::numeric_limits<std::uint32_t>::max())
      return fail(Code::InvalidArgument, where + ": the document has more than 2^32 tokens");
    const bool held = is_held(record);
    Entry entry;
    entry.first_token = counts().tokens;
    entry.tokens = static_cast<std::uint32_t>(ids_.size());
    entry.prompt_tokens = prompt_tokens_;
    entry.where = std::uint64_t{file_} << 48 | offset;
    WEFT_TRY(write_tokens());
    WEFT_TRY(tables_[held ? 1 : 0].add(&entry, sizeof entry));
    ++(held ? manifest_.held : manifest_.train);
    count(record, held);
    return {};
  }

  void encode(const Record& record) {
    const Coder::Ids& special = coder_.ids();
    ids_.clear();
    coder_.encode(record.prompt, ids_);
    prompt_tokens_ = static_cast<std::uint32_t>(ids_.size());
    if (spec_.answers == AnswerFormat::Plain || record.prompt.empty() || record.gold.empty()) {
      coder_.encode(record.completion, ids_);
      return;
    }
    ids_.push_back(special.think_open);
    coder_.encode(record.reasoning, ids_);
    ids_.push_back(special.think_close);
    ids_.push_back(special.answer_open);
    coder_.encode(record.gold, ids_);
    ids_.push_back(special.answer_close);
  }

  /// By the prompt where there is one: a question asked twice is on the same side both times.
  bool is_held(const Record& record) const {
    if (spec_.held_out <= 0) return false;
    const auto hash = checkpoint::hash_of(
        std::string_view(record.prompt.empty() ? record.completion : record.prompt));
    return static_cast<double>(hash.low >> 11) * 0x1p-53 < spec_.held_out;
  }

  Expected<void> write_tokens() {
    const auto width = static_cast<std::size_t>(manifest_.token_width);
    bytes_.resize(ids_.size() * width);
    if (width == 1)
      for (std::size_t i = 0; i < ids_.size(); ++i) bytes_[i] = static_cast<char>(ids_[i]);
    else
      for (std::size_t i = 0; i < ids_.size(); ++i)
        std::memcpy(bytes_.data() + i * width, &ids_[i], width);  // little-endian
    return tokens_file_.add(bytes_.data(), bytes_.size());
  }

  void count(const Record& record, bool held) {
    IndexCounts& c = counts();
    const std::uint64_t tokens = ids_.size(),
                        bytes = record.prompt.size() + record.completion.size();
    c.tokens += tokens;
    c.text_bytes += bytes;
    if (held) c.held_tokens += tokens, c.held_bytes += bytes;
    c.longest = std::max(c.longest, tokens);
    ++c.lengths[static_cast<std::size_t>(std::bit_width(tokens))];
    ++c.dialects[static_cast<std::size_t>(record.dialect)];
  }

  void look_for_oddities(const std::string& prompt, const std::string& text,
                         const std::string& where) {
    if (!is_utf8(prompt) || !is_utf8(text)) ++counts().invalid_utf8, no_utf8_.met(where);
    if (text.find('\0') != std::string::npos || prompt.find('\0') != std::string::npos)
      ++counts().with_nul, nul_.met(where);
    if (text.find("\r\n") != std::string::npos) ++counts().with_crlf, crlf_.met(where);
  }

  void summarize() {
    const auto say = [&](const Oddity& oddity, const std::string& what) {
      if (oddity.count > 0)
        manifest_.warnings.push_back(std::to_string(oddity.count) + " " + what + " (" +
                                     oddity.where + (oddity.count > kExamplesMax ? ", …" : "") +
                                     ")");
    };
    say(bad_, "unusable lines left out, the first one because: " + first_bad_);
    say(no_utf8_, "documents are not valid UTF-8; their bytes are kept as they are");
    say(nul_, "documents hold NUL bytes, kept as they are");
    say(crlf_, "documents have CRLF line ends, kept as they are");
    if (counts().empty > 0)
      manifest_.warnings.push_back(std::to_string(counts().empty) +
                                   " empty lines or documents left out");
  }

  const IndexSpec& spec_;
  const Coder& coder_;
  const ProgressFunction& progress_;
  Manifest manifest_;
  Writer tokens_file_, tables_[2];
  std::size_t file_ = 0;
  std::uint64_t total_bytes_ = 0, done_bytes_ = 0;
  std::string document_, bytes_, first_bad_;
  Line document_at_;
  bool line_start_ = true;
  std::vector<std::int32_t> ids_;
  std::uint32_t prompt_tokens_ = 0;
  Oddity bad_, no_utf8_, nul_, crlf_;
};

}  // namespace

bool is_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  std::size_t i = 0;
  while (i < text.size()) {
    std::uint64_t eight = 0;
    if (i + 8 <= text.size()) {
      std::memcpy(&eight, text.data() + i, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const unsigned lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k)
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    const unsigned second = byte(i + 1);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F))
      return false;
    i += length;
  }
  return true;
}

Expected<void> build_index(const IndexSpec& spec, const fs::path& directory, const Coder& coder,
                           const ProgressFunction& progress) {
  return Builder(spec, coder, progress).build(directory);
}

}  // namespace weft::trainer::corpus
