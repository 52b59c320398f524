#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>

#include "trainer/corpus/packer.h"
#include "trainer/corpus/permutation.h"

namespace weft::trainer::corpus {
namespace {

/// Neighbours in the index that are packed together.
constexpr std::uint64_t kBlock = 1024;
constexpr std::size_t kBlocksKept = 8;

/// Tokens begin .. end of a document with its begin and end tokens.
struct Piece {
  std::uint32_t document = 0;  // inside its block
  std::uint32_t begin = 0, end = 0;
  int prompt_length = 1;

  int inputs() const { return static_cast<int>(end - begin) - 1; }
};

struct Block {
  std::vector<Entry> entries;
  std::vector<std::vector<Piece>> windows;
  std::uint64_t left_out = 0, truncated = 0;
};

/// Best fit, longest first: each piece goes where it leaves the least room. Ties: the older window.
std::vector<std::vector<Piece>> best_fit(const std::vector<Piece>& pieces, int context) {
  std::vector<std::size_t> order(pieces.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return pieces[a].inputs() > pieces[b].inputs(); });
  std::vector<std::vector<Piece>> windows;
  std::multimap<int, std::size_t> room;
  for (const std::size_t i : order) {
    const int inputs = pieces[i].inputs();
    auto place = room.lower_bound(inputs);
    if (place == room.end()) {
      place = room.emplace(context, windows.size());
      windows.emplace_back();
    }
    const auto [left, window] = *place;
    room.erase(place);
    windows[window].push_back(pieces[i]);
    if (left > inputs) room.emplace(left - inputs, window);
  }
  return windows;
}

class SamplePacker final : public Packer {
 public:
  SamplePacker(std::shared_ptr<const Index> index, Part part, const Coder& coder,
               const PackOptions& options)
      : index_(std::move(index)), part_(part), ids_(coder.ids()), options_(options) {}

  /// Counts every block's windows.
  Expected<void> open() {
    const std::uint64_t documents = index_->documents(part_);
    first_window_.push_back(0);
    for (std::uint64_t block = 0; block * kBlock < documents; ++block) {
      WEFT_TRY_ASSIGN(const Block made, make(block));
      first_window_.push_back(first_window_.back() + made.windows.size());
      left_out_ += made.left_out;
      truncated_ += made.truncated;
    }
    return {};
  }

  std::uint64_t windows() const override { return first_window_.back(); }
  std::uint64_t left_out() const override { return left_out_; }
  std::uint64_t truncated() const override { return truncated_; }

  Expected<std::vector<Shape>> shape(std::uint64_t epoch, std::uint64_t window) const override {
    WEFT_TRY_ASSIGN(const Found found, find(epoch, window));
    std::vector<Shape> out;
    for (const Piece& piece : found.pieces())
      out.push_back({piece.inputs() + 1, piece.prompt_length});
    return out;
  }

  Expected<data::Example> read(std::uint64_t epoch, std::uint64_t window, int part) const override {
    WEFT_TRY_ASSIGN(const Found found, find(epoch, window));
    const Piece& piece = found.pieces().at(static_cast<std::size_t>(part));
    const Entry& entry = found.block->entries[piece.document];
    const std::uint32_t bos = options_.bos ? 1 : 0;
    data::Example out;
    out.prompt_length = piece.prompt_length;
    if (bos > piece.begin) out.tokens.push_back(ids_.bos);
    const std::uint32_t from = std::max(piece.begin, bos) - bos,
                        to = std::min(piece.end - bos, entry.tokens);
    WEFT_TRY(index_->tokens(entry, from, to - from, out.tokens));
    if (piece.end > bos + entry.tokens) out.tokens.push_back(ids_.eos);
    return out;
  }

 private:
  struct Found {
    std::shared_ptr<const Block> block;
    std::size_t window = 0;
    const std::vector<Piece>& pieces() const { return block->windows[window]; }
  };

  Expected<Found> find(std::uint64_t epoch, std::uint64_t window) const {
    const std::uint64_t at = Permutation(windows(), options_.shuffle, options_.seed,
                                         "corpus/window", options_.stream, epoch)(window);
    const auto next = std::upper_bound(first_window_.begin(), first_window_.end(), at);
    const auto block = static_cast<std::uint64_t>(next - first_window_.begin()) - 1;
    WEFT_TRY_ASSIGN(std::shared_ptr<const Block> made, block_of(block));
    return Found{std::move(made), static_cast<std::size_t>(at - first_window_[block])};
  }

  Expected<std::shared_ptr<const Block>> block_of(std::uint64_t number) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [known, block] : blocks_)
      if (known == number) return block;
    WEFT_TRY_ASSIGN(Block made, make(number));
    if (blocks_.size() == kBlocksKept) blocks_.erase(blocks_.begin());
    blocks_.emplace_back(number, std::make_shared<const Block>(std::move(made)));
    return blocks_.back().second;
  }

  Expected<Block> make(std::uint64_t number) const {
    Block block;
    const std::uint64_t first = number * kBlock;
    block.entries.resize(std::min(kBlock, index_->documents(part_) - first));
    WEFT_TRY(index_->entries(part_, first, block.entries));
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < block.entries.size(); ++i)
      cut(block.entries[i], static_cast<std::uint32_t>(i), pieces, block);
    block.windows = best_fit(pieces, options_.context);
    return block;
  }

  void cut(const Entry& entry, std::uint32_t document, std::vector<Piece>& out,
           Block& block) const {
    const auto context = static_cast<std::uint32_t>(options_.context);
    const std::uint64_t all = std::uint64_t{entry.tokens} + options_.bos + options_.eos;
    if (all < 2) return;
    const auto length = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(all, std::numeric_limits<std::uint32_t>::max()));
    if (entry.prompt_tokens > 0 && !options_.whole) {
      const std::uint32_t prompt = entry.prompt_tokens + (options_.bos ? 1 : 0);
      const std::uint32_t end = std::min(length, context + 1);
      block.truncated += end < length;
      if (prompt >= end)
        ++block.left_out;
      else
        out.push_back({document, 0, end, static_cast<int>(prompt)});
      return;
    }
    for (std::uint32_t begin = 0; begin + 1 < length; begin += context)
      out.push_back({document, begin, std::min(length - begin, context + 1) + begin, 1});
  }

  std::shared_ptr<const Index> index_;
  Part part_;
  Coder::Ids ids_;
  PackOptions options_;
  std::vector<std::uint64_t> first_window_;  // of each block, and the number of all
  std::uint64_t left_out_ = 0, truncated_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::pair<std::uint64_t, std::shared_ptr<const Block>>> blocks_;
};

}  // namespace

Expected<std::unique_ptr<Packer>> make_sample_packer(std::shared_ptr<const Index> index, Part part,
                                                     const Coder& coder,
                                                     const PackOptions& options) {
  const std::string pattern = index->pattern();
  auto packer = std::make_unique<SamplePacker>(std::move(index), part, coder, options);
  WEFT_TRY(packer->open());
  if (packer->windows() == 0)
    return fail(
        Code::InvalidArgument,
        pattern + " has no document " + (part == Part::Held ? "that is held out" : "to train on") +
            (packer->left_out() > 0 ? ": every prompt is longer than data.context"
                                    : ": give more data, or another data.validation_fraction"));
  return packer;
}

}  // namespace weft::trainer::corpus
