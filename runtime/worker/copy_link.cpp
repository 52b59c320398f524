#include "runtime/worker/copy_link.h"

#include <cstring>
#include <memory>
#include <optional>
#include <thread>

#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/hash.h"

namespace weft::runtime {

namespace checkpoint = trainer::checkpoint;
using checkpoint::Disk;
using checkpoint::FileEntry;

namespace {

constexpr comm::Tag kLength = 0xc0b1, kText = 0xc0b2, kChunk = 0xc0b3;
constexpr std::uint64_t kTextMax = checkpoint::kManifestBytesMax;
constexpr std::size_t kChunkBytes = std::size_t{2} << 20;
constexpr std::chrono::microseconds kPause{500};

/// The files of a list, chunk by chunk.
class Chunks {
 public:
  explicit Chunks(std::span<const FileEntry> files) : files_(files) { skip_empty(); }
  bool done() const { return file_ == files_.size(); }
  const FileEntry& file() const { return files_[file_]; }
  std::uint64_t offset() const { return offset_; }
  std::size_t size() const {
    return static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, file().bytes - offset_));
  }
  bool ends_file() const { return offset_ + size() == file().bytes; }
  void next() {
    offset_ += size();
    if (offset_ < file().bytes) return;
    ++file_;
    offset_ = 0;
    skip_empty();
  }

 private:
  void skip_empty() {
    while (file_ < files_.size() && files_[file_].bytes == 0) ++file_;
  }
  std::span<const FileEntry> files_;
  std::size_t file_ = 0;
  std::uint64_t offset_ = 0;
};

/// Sends one chunk at a time.
class Giver {
 public:
  Giver(comm::Communicator& group, const std::filesystem::path& directory, int to,
        std::span<const FileEntry> files)
      : group_(group), directory_(directory), to_(to), chunks_(files) {}
  bool done() const { return chunks_.done(); }
  /// Did anything move?
  Expected<bool> step() {
    if (done()) return false;
    if (!request_) {
      if (chunks_.offset() == 0) {
        WEFT_TRY_ASSIGN(file_, Disk::real().open(directory_ / chunks_.file().path));
      }
      buffer_.resize(chunks_.size());
      WEFT_TRY(file_->read_at(chunks_.offset(), buffer_));
      request_ = group_.start_send(to_, kChunk, buffer_);
      return true;
    }
    if (!group_.test(*request_)) return false;
    WEFT_TRY(group_.wait(*request_));
    request_.reset();
    chunks_.next();
    return true;
  }

 private:
  comm::Communicator& group_;
  const std::filesystem::path& directory_;
  int to_;
  Chunks chunks_;
  std::unique_ptr<checkpoint::File> file_;
  std::vector<std::byte> buffer_;
  std::optional<comm::Request> request_;
};

/// Receives one chunk at a time, and believes a file when its hash is right.
class Taker {
 public:
  Taker(comm::Communicator& group, const std::filesystem::path& directory, int from,
        std::span<const FileEntry> files)
      : group_(group), directory_(directory), from_(from), chunks_(files) {}
  bool done() const { return chunks_.done(); }
  Expected<bool> step() {
    if (done()) return false;
    if (!request_) {
      if (chunks_.offset() == 0) WEFT_TRY(begin_file());
      buffer_.resize(chunks_.size());
      request_ = group_.start_receive(from_, kChunk, buffer_);
      return true;
    }
    if (!group_.test(*request_)) return false;
    WEFT_TRY_ASSIGN(const std::size_t size, group_.wait(*request_));
    request_.reset();
    if (size != buffer_.size()) return fail(Code::Corrupt, "a piece of another size came");
    hasher_.add(buffer_);
    WEFT_TRY(file_->write_at(chunks_.offset(), buffer_));
    if (chunks_.ends_file() && hasher_.digest() != chunks_.file().hash)
      return fail(Code::Corrupt, chunks_.file().path + " did not arrive as it was written");
    chunks_.next();
    return true;
  }

 private:
  Expected<void> begin_file() {
    const std::filesystem::path path = directory_ / chunks_.file().path;
    WEFT_TRY(Disk::real().make_directories(path.parent_path()));
    WEFT_TRY_ASSIGN(file_, Disk::real().create(path));
    hasher_.reset();
    return {};
  }

  comm::Communicator& group_;
  const std::filesystem::path& directory_;
  int from_;
  Chunks chunks_;
  std::unique_ptr<checkpoint::File> file_;
  checkpoint::Hasher hasher_;
  std::vector<std::byte> buffer_;
  std::optional<comm::Request> request_;
};

}  // namespace

std::string pack(std::span<const std::string> texts) {
  std::string packed;
  for (const std::string& text : texts) {
    const std::uint64_t size = text.size();
    packed.append(reinterpret_cast<const char*>(&size), sizeof size);
    packed += text;
  }
  return packed;
}

Expected<std::vector<std::string>> unpack(std::string_view packed) {
  std::vector<std::string> texts;
  while (!packed.empty()) {
    std::uint64_t size = 0;
    if (packed.size() < sizeof size) return fail(Code::Corrupt, "a text without its length");
    std::memcpy(&size, packed.data(), sizeof size);
    packed.remove_prefix(sizeof size);
    if (size > packed.size()) return fail(Code::Corrupt, "a text that ends too early");
    texts.emplace_back(packed.substr(0, static_cast<std::size_t>(size)));
    packed.remove_prefix(static_cast<std::size_t>(size));
  }
  return texts;
}

/// Declared after the buffers of messages: what is still under way after an error is dropped before
/// its memory goes.
class CopyLink::Use {
 public:
  explicit Use(CopyLink& link) : link_(link) {}
  ~Use() {
    if (!good_) link_.group_.reset();
  }
  void good() { good_ = true; }

 private:
  CopyLink& link_;
  bool good_ = false;
};

Expected<void> CopyLink::open() const {
  if (group_) return {};
  return fail(Code::Unavailable, "this node gave up its copies before");
}

Expected<std::size_t> CopyLink::finish(comm::Request request) {
  const auto end = std::chrono::steady_clock::now() + bound_;
  while (!group_->test(request)) {
    if (stop_) return fail(Code::Unavailable, "the copy was abandoned");
    if (std::chrono::steady_clock::now() > end)
      return fail(Code::DeadlineExceeded, "another node did not go on with the copy");
    std::this_thread::sleep_for(kPause);
  }
  return group_->wait(request);
}

Expected<void> CopyLink::send_text(int to, std::string_view text) {
  WEFT_TRY(open());
  const std::uint64_t size = text.size();
  Use use(*this);
  WEFT_TRY(finish(group_->start_send(to, kLength, std::as_bytes(std::span(&size, 1)))));
  if (size > 0) WEFT_TRY(finish(group_->start_send(to, kText, std::as_bytes(std::span(text)))));
  use.good();
  return {};
}

Expected<std::string> CopyLink::receive_text(int from) {
  WEFT_TRY(open());
  std::uint64_t size = 0;
  std::string text;
  Use use(*this);
  const auto into = [](auto& values) { return std::as_writable_bytes(std::span(values)); };
  WEFT_TRY(
      finish(group_->start_receive(from, kLength, std::as_writable_bytes(std::span(&size, 1)))));
  if (size > kTextMax) return fail(Code::Corrupt, "a text of an impossible size came");
  text.resize(static_cast<std::size_t>(size));
  if (size > 0) {
    WEFT_TRY_ASSIGN(const std::size_t came, finish(group_->start_receive(from, kText, into(text))));
    if (came != text.size()) return fail(Code::Corrupt, "a text of another size came");
  }
  use.good();
  return text;
}

Expected<std::string> CopyLink::trade_texts(int to, std::string_view out, int from) {
  WEFT_TRY(open());
  const std::uint64_t size = out.size();
  Use use(*this);
  const comm::Request length = group_->start_send(to, kLength, std::as_bytes(std::span(&size, 1)));
  std::optional<comm::Request> body;
  if (size > 0) body = group_->start_send(to, kText, std::as_bytes(std::span(out)));
  WEFT_TRY_ASSIGN(std::string in, receive_text(from));
  WEFT_TRY(finish(length));
  if (body) WEFT_TRY(finish(*body));
  use.good();
  return in;
}

Expected<void> CopyLink::trade_files(const std::filesystem::path& directory, int to,
                                     std::span<const FileEntry> give, int from,
                                     std::span<const FileEntry> take) {
  WEFT_TRY(open());
  Giver giver(*group_, directory, to, give);
  Taker taker(*group_, directory, from, take);
  Use use(*this);
  auto end = std::chrono::steady_clock::now() + bound_;
  while (!giver.done() || !taker.done()) {
    WEFT_TRY_ASSIGN(const bool gave, giver.step());
    WEFT_TRY_ASSIGN(const bool took, taker.step());
    const auto now = std::chrono::steady_clock::now();
    if (gave || took) {
      end = now + bound_;
      continue;
    }
    if (stop_) return fail(Code::Unavailable, "the copy was abandoned");
    if (now > end) return fail(Code::DeadlineExceeded, "another node did not go on with the copy");
    std::this_thread::sleep_for(kPause);
  }
  use.good();
  return {};
}

}  // namespace weft::runtime
