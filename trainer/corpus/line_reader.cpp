#include "trainer/corpus/line_reader.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/files.h"
#include "trainer/checkpoint/hash.h"

namespace weft::trainer::corpus {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 18;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

/// The file's bytes, unpacked; what is read from the disk is hashed on its way.
struct LineReader::Bytes {
  Bytes() = default;
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  ~Bytes() {
    if (unpacks) ::inflateEnd(&stream);
    if (fd >= 0) ::close(fd);
  }

  Expected<void> open(const SourceFile& given) {
    WEFT_TRY_ASSIGN(file, look_at(given.path));
    fd = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_error("read the data", file.path, errno);
    if (!is_gzip(file.path)) return {};
    packed.resize(kChunk);
    if (::inflateInit2(&stream, 15 + 16) != Z_OK)
      return fail(Code::Internal, "zlib cannot be started");
    unpacks = true;
    return {};
  }

  Expected<std::size_t> from_disk(char* to, std::size_t room) {
    for (;;) {
      const ssize_t got = ::read(fd, to, room);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return io_error("read the data", file.path, errno);
      const auto count = static_cast<std::size_t>(got);
      read_so_far += count;
      hasher.add(std::as_bytes(std::span(to, count)));
      return count;
    }
  }

  /// 0 at the end.
  Expected<std::size_t> read(char* to, std::size_t room) {
    if (!unpacks) return from_disk(to, room);
    stream.next_out = reinterpret_cast<Bytef*>(to);
    stream.avail_out = static_cast<uInt>(room);
    while (stream.avail_out == room) {
      if (stream.avail_in == 0) {
        WEFT_TRY_ASSIGN(const std::size_t got, from_disk(packed.data(), packed.size()));
        if (got == 0) {
          if (member_open)
            return fail(Code::Corrupt, file.path + " ends inside its gzip stream: it was cut off");
          return std::size_t{0};
        }
        stream.next_in = reinterpret_cast<Bytef*>(packed.data());
        stream.avail_in = static_cast<uInt>(got);
      }
      member_open = true;
      const int outcome = ::inflate(&stream, Z_NO_FLUSH);
      if (outcome == Z_STREAM_END) {
        member_open = false;
        if (::inflateReset(&stream) != Z_OK) return fail(Code::Internal, "zlib cannot go on");
      } else if (outcome != Z_OK && outcome != Z_BUF_ERROR) {
        return fail(Code::Corrupt, file.path + " is no gzip file, or a damaged one: " +
                                       (stream.msg != nullptr ? stream.msg : "bad stream"));
      }
    }
    return room - stream.avail_out;
  }

  SourceFile file;
  int fd = -1;
  std::uint64_t read_so_far = 0;
  checkpoint::Hasher hasher;
  bool unpacks = false, member_open = false;
  z_stream stream{};
  std::vector<char> packed;
};

LineReader::LineReader(std::unique_ptr<Bytes> bytes, std::size_t max_line, LongLine policy)
    : bytes_(std::move(bytes)), max_line_(max_line), policy_(policy) {}
LineReader::~LineReader() = default;
LineReader::LineReader(LineReader&&) noexcept = default;
LineReader& LineReader::operator=(LineReader&&) noexcept = default;

std::uint64_t LineReader::bytes_read() const { return bytes_->read_so_far; }

Expected<LineReader> LineReader::open(const SourceFile& file, std::size_t max_line,
                                      LongLine policy) {
  auto bytes = std::make_unique<Bytes>();
  WEFT_TRY(bytes->open(file));
  LineReader reader(std::move(bytes), std::max<std::size_t>(max_line, 8), policy);
  WEFT_TRY(reader.fill());
  // A byte order mark at the start is no text.
  if (std::string_view(reader.buffer_).starts_with(kByteOrderMark)) {
    reader.begin_ = reader.scanned_ = kByteOrderMark.size();
    reader.offset_ = kByteOrderMark.size();
  }
  return reader;
}

/// Adds one chunk behind what was not handed out yet.
Expected<void> LineReader::fill() {
  buffer_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  const std::size_t had = buffer_.size();
  buffer_.resize(had + kChunk);
  WEFT_TRY_ASSIGN(const std::size_t got, bytes_->read(buffer_.data() + had, kChunk));
  buffer_.resize(had + got);
  at_end_ = got == 0;
  return {};
}

/// At most three bytes back, to where a UTF-8 character begins.
std::size_t LineReader::cut_between_characters(std::size_t wanted) const {
  const auto inside = [&](std::size_t length) {
    return (static_cast<unsigned char>(buffer_[begin_ + length]) & 0xC0) == 0x80;
  };
  std::size_t length = wanted;
  while (length > wanted - 3 && inside(length)) --length;
  return inside(length) ? wanted : length;
}

Expected<bool> LineReader::next(Line& line) {
  for (;;) {
    const void* feed = scanned_ < buffer_.size()
                           ? std::memchr(buffer_.data() + scanned_, '\n', buffer_.size() - scanned_)
                           : nullptr;
    const std::size_t end =
        feed != nullptr ? static_cast<std::size_t>(static_cast<const char*>(feed) - buffer_.data())
                        : buffer_.size();
    std::size_t length = end - begin_;
    const bool too_long = length > max_line_;
    if (feed == nullptr && !at_end_ && !too_long) {
      scanned_ = end;
      WEFT_TRY(fill());
      continue;
    }
    if (feed == nullptr && length == 0 && !dropping_) return false;  // the end

    if (too_long && policy_ == LongLine::Skip && feed == nullptr && !at_end_) {
      dropping_ = true;  // forget these bytes; the line goes on
      offset_ += length;
      begin_ = scanned_ = end;
      WEFT_TRY(fill());
      continue;
    }
    bool ended = feed != nullptr;
    if (too_long && policy_ == LongLine::Split) {
      length = cut_between_characters(max_line_);
      ended = false;
    }
    line.too_long = policy_ == LongLine::Skip && (too_long || dropping_);
    line.text =
        line.too_long ? std::string_view() : std::string_view(buffer_).substr(begin_, length);
    line.number = number_;
    line.offset = offset_;
    line.ended = ended;
    dropping_ = false;
    const std::size_t taken = length + (ended ? 1 : 0);
    begin_ += taken;
    offset_ += taken;
    scanned_ = begin_;
    if (ended) ++number_;
    return true;
  }
}

Expected<SourceFile> LineReader::finish() {
  const SourceFile& before = bytes_->file;
  WEFT_TRY_ASSIGN(SourceFile now, look_at(before.path));
  if (now != before || bytes_->read_so_far != before.size)
    return fail(Code::InvalidArgument,
                before.path + " changed while it was read (it had " + std::to_string(before.size) +
                    " bytes, " + std::to_string(bytes_->read_so_far) +
                    " were read); let whoever writes it finish, then start again");
  now.hash = checkpoint::to_hex(bytes_->hasher.digest());
  return now;
}

}  // namespace weft::trainer::corpus
