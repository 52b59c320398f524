#include "trainer/checkpoint/sequential_writer.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace weft::trainer::checkpoint {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{8} << 20;
constexpr std::size_t kCacheBytes = std::size_t{128} << 10;  // hashed twice and copied at a time

}  // namespace

void SequentialWriter::Free::operator()(std::byte* memory) const {
  ::operator delete[](memory, std::align_val_t{kDirectAlignment});
}

SequentialWriter::Block SequentialWriter::make_block(std::size_t bytes) {
  void* const memory = ::operator new[](bytes, std::align_val_t{kDirectAlignment});
  return Block(static_cast<std::byte*>(memory));
}

SequentialWriter::SequentialWriter(File& file, std::uint64_t total)
    : file_(file),
      block_bytes_(static_cast<std::size_t>(std::min<std::uint64_t>(kBlockBytes, total))),
      filling_(make_block(block_bytes_)) {
  if (total > block_bytes_) writing_ = make_block(block_bytes_);
}

SequentialWriter::~SequentialWriter() {
  if (under_way_.valid()) under_way_.wait();
}

Expected<Hash128> SequentialWriter::add(std::span<const std::byte> bytes) {
  Hasher own;
  while (!bytes.empty()) {
    if (used_ == block_bytes_) WEFT_TRY(begin_write());
    const auto part = bytes.first(std::min({kCacheBytes, bytes.size(), block_bytes_ - used_}));
    own.add(part);
    hasher_.add(part);
    std::memcpy(filling_.get() + used_, part.data(), part.size());
    used_ += part.size();
    size_ += part.size();
    bytes = bytes.subspan(part.size());
  }
  return own.digest();
}

Expected<void> SequentialWriter::begin_write() {
  WEFT_TRY(wait());
  std::swap(filling_, writing_);
  const std::span<const std::byte> block(writing_.get(), used_);
  // Deferred, where no thread is to be had: then wait() writes it.
  under_way_ = std::async(std::launch::async | std::launch::deferred,
                          [this, block, at = size_ - used_] { return file_.write_at(at, block); });
  used_ = 0;
  return {};
}

Expected<void> SequentialWriter::wait() {
  return under_way_.valid() ? under_way_.get() : Expected<void>{};
}

Expected<void> SequentialWriter::finish() {
  WEFT_TRY(wait());
  // What is no multiple of the disk's blocks goes through the page cache.
  const std::span<const std::byte> rest(filling_.get(), used_);
  const auto whole = rest.first(used_ < kDirectBytes ? 0 : used_ - used_ % kDirectAlignment);
  if (!whole.empty()) WEFT_TRY(file_.write_at(size_ - used_, whole));
  const auto tail = rest.subspan(whole.size());
  if (!tail.empty()) WEFT_TRY(file_.write_at(size_ - tail.size(), tail));
  used_ = 0;
  return file_.sync();
}

}  // namespace weft::trainer::checkpoint
