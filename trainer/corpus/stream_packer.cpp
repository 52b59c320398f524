#include <algorithm>
#include <array>
#include <mutex>

#include "base/rng.h"
#include "trainer/corpus/packer.h"
#include "trainer/corpus/permutation.h"

namespace weft::trainer::corpus {
namespace {

/// Documents of the epoch's order between two remembered positions.
constexpr std::uint64_t kBlock = 256;
constexpr std::size_t kEpochsKept = 2;
constexpr std::uint64_t kSentinels = 3;

/// A stretch of a document as it is written out: one special token, or tokens of the text.
struct Stretch {
  std::int32_t special = -1;
  std::uint32_t begin = 0, end = 0;
  std::uint64_t length() const { return special >= 0 ? 1 : end - begin; }
};

class StreamPacker final : public Packer {
 public:
  StreamPacker(std::shared_ptr<const Index> index, Part part, const Coder& coder,
               const PackOptions& options)
      : index_(std::move(index)),
        part_(part),
        ids_(coder.ids()),
        options_(options),
        documents_(index_->documents(part)),
        fim_key_(Rng(options.seed, "corpus/fim", options.stream).next_u64()) {
    const IndexCounts& c = index_->counts();
    const std::uint64_t ends = std::uint64_t{options_.bos} + std::uint64_t{options_.eos};
    tokens_ = (part == Part::Held ? c.held_tokens : c.tokens - c.held_tokens) + documents_ * ends;
    if (options_.fim_rate > 0)
      for (std::uint64_t at = 0; at < documents_; ++at)
        if (is_fim(at)) tokens_ += kSentinels;
  }

  std::uint64_t tokens() const { return tokens_; }

  std::uint64_t windows() const override {
    const auto context = static_cast<std::uint64_t>(options_.context);
    return (tokens_ - 1 + context - 1) / context;
  }

  Expected<std::vector<Shape>> shape(std::uint64_t epoch, std::uint64_t window) const override {
    const auto [begin, end] = range(Permutation(windows(), options_.shuffle, options_.seed,
                                                "corpus/window", options_.stream, epoch)(window));
    return std::vector<Shape>{{static_cast<int>(end - begin), 1}};
  }

  Expected<data::Example> read(std::uint64_t epoch, std::uint64_t window, int) const override {
    const auto [begin, end] = range(Permutation(windows(), options_.shuffle, options_.seed,
                                                "corpus/window", options_.stream, epoch)(window));
    WEFT_TRY_ASSIGN(const auto starts, starts_of(epoch));
    const Permutation order = order_of(epoch);
    const auto block = std::upper_bound(starts->begin(), starts->end(), begin) - 1;
    std::uint64_t start = *block;
    data::Example out;
    out.prompt_length = 1;
    for (std::uint64_t at = static_cast<std::uint64_t>(block - starts->begin()) * kBlock;
         start < end && at < documents_; ++at) {
      Entry entry;
      WEFT_TRY(index_->entries(part_, order(at), {&entry, 1}));
      const std::uint64_t next = start + length_of(entry, at);
      if (next > begin)
        WEFT_TRY(append(entry, at, order(at), epoch, start, begin, end, out.tokens));
      start = next;
    }
    if (out.tokens.size() != end - begin)
      return fail(Code::Corrupt, "the index of " + index_->pattern() +
                                     " does not hold the tokens that it counts; delete it to have "
                                     "it made anew");
    return out;
  }

 private:
  using Starts = std::vector<std::uint64_t>;

  std::pair<std::uint64_t, std::uint64_t> range(std::uint64_t window) const {
    const std::uint64_t begin = window * static_cast<std::uint64_t>(options_.context);
    return {begin, std::min(begin + static_cast<std::uint64_t>(options_.context) + 1, tokens_)};
  }

  Permutation order_of(std::uint64_t epoch) const {
    return Permutation(documents_, options_.shuffle, options_.seed, "corpus/document",
                       options_.stream, epoch);
  }

  /// Told by the place in the epoch's order, so that every epoch has equally many windows; which
  /// document stands there changes from epoch to epoch.
  bool is_fim(std::uint64_t at) const {
    return options_.fim_rate > 0 &&
           static_cast<double>(mix(fim_key_ ^ at) >> 11) * 0x1p-53 < options_.fim_rate;
  }

  std::uint64_t length_of(const Entry& entry, std::uint64_t at) const {
    return entry.tokens + std::uint64_t{options_.bos} + std::uint64_t{options_.eos} +
           (is_fim(at) ? kSentinels : 0);
  }

  /// Where each block of documents begins in the epoch's stream of tokens.
  Expected<std::shared_ptr<const Starts>> starts_of(std::uint64_t epoch) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [known, starts] : starts_)
      if (known == epoch) return starts;
    auto starts = std::make_shared<Starts>();
    const Permutation order = order_of(epoch);
    std::vector<Entry> entries(kBlock);
    std::uint64_t token = 0;
    for (std::uint64_t at = 0; at < documents_; ++at) {
      if (at % kBlock == 0) {
        starts->push_back(token);
        if (!options_.shuffle)  // neighbours: one read for all of them
          WEFT_TRY(index_->entries(part_, at,
                                   std::span(entries).first(std::min(kBlock, documents_ - at))));
      }
      Entry& entry = entries[options_.shuffle ? 0 : at % kBlock];
      if (options_.shuffle) WEFT_TRY(index_->entries(part_, order(at), {&entry, 1}));
      token += length_of(entry, at);
    }
    if (starts_.size() == kEpochsKept) starts_.erase(starts_.begin());
    starts_.emplace_back(epoch, starts);
    return std::shared_ptr<const Starts>(starts);
  }

  /// PSM: <begin> prefix <hole> suffix <end> middle. The cuts are drawn for the document and epoch.
  std::array<Stretch, 8> written_out(const Entry& entry, bool fim, std::uint64_t document,
                                     std::uint64_t epoch) const {
    const Stretch none{-1, 0, 0};
    const Stretch bos = options_.bos ? Stretch{ids_.bos, 0, 0} : none;
    const Stretch eos = options_.eos ? Stretch{ids_.eos, 0, 0} : none;
    if (!fim) return {bos, {-1, 0, entry.tokens}, eos, none, none, none, none, none};
    Rng rng(options_.seed ^ mix(options_.stream), "corpus/fim_cut", epoch, document);
    const auto draw = [&] {
      return static_cast<std::uint32_t>(rng.next_u64() % (std::uint64_t{entry.tokens} + 1));
    };
    std::uint32_t a = draw(), b = draw();
    if (a > b) std::swap(a, b);
    return {bos,
            {ids_.fim_begin, 0, 0},
            {-1, 0, a},
            {ids_.fim_hole, 0, 0},
            {-1, b, entry.tokens},
            {ids_.fim_end, 0, 0},
            {-1, a, b},
            eos};
  }

  /// What of [begin, end) of the stream belongs to the document that starts at `start`.
  Expected<void> append(const Entry& entry, std::uint64_t at, std::uint64_t document,
                        std::uint64_t epoch, std::uint64_t start, std::uint64_t begin,
                        std::uint64_t end, std::vector<std::int32_t>& out) const {
    for (const Stretch& stretch : written_out(entry, is_fim(at), document, epoch)) {
      const std::uint64_t stop = start + stretch.length();
      const std::uint64_t from = std::max(start, begin), to = std::min(stop, end);
      if (from < to) {
        if (stretch.special >= 0)
          out.push_back(stretch.special);
        else
          WEFT_TRY(index_->tokens(entry, stretch.begin + static_cast<std::uint32_t>(from - start),
                                  static_cast<std::uint32_t>(to - from), out));
      }
      start = stop;
    }
    return {};
  }

  std::shared_ptr<const Index> index_;
  Part part_;
  Coder::Ids ids_;
  PackOptions options_;
  std::uint64_t documents_;
  std::uint64_t fim_key_;
  std::uint64_t tokens_ = 0;  // of an epoch
  mutable std::mutex mutex_;
  mutable std::vector<std::pair<std::uint64_t, std::shared_ptr<const Starts>>> starts_;
};

}  // namespace

Expected<std::unique_ptr<Packer>> make_stream_packer(std::shared_ptr<const Index> index, Part part,
                                                     const Coder& coder,
                                                     const PackOptions& options) {
  const std::string pattern = index->pattern();
  if (options.fim_rate > 0 && coder.ids().fim_begin < 0)
    return fail(Code::InvalidArgument,
                "data.fim_rate is above 0, but the tokenizer has no fill-in-the-middle tokens");
  auto packer = std::make_unique<StreamPacker>(std::move(index), part, coder, options);
  if (packer->tokens() < 2)
    return fail(Code::InvalidArgument,
                pattern + " has no document " +
                    (part == Part::Held ? "that is held out" : "left to train on") +
                    ": give more data, or another data.validation_fraction or data.validation");
  return packer;
}

Expected<std::unique_ptr<Packer>> make_packer(std::shared_ptr<const Index> index, Part part,
                                              const Coder& coder, const PackOptions& options) {
  if ((options.bos && coder.ids().bos < 0) || (options.eos && coder.ids().eos < 0))
    return fail(Code::InvalidArgument,
                "the tokenizer has no begin or no end token: set data.add_bos or data.add_eos to "
                "false");
  return options.packing == Packing::Stream
             ? make_stream_packer(std::move(index), part, coder, options)
             : make_sample_packer(std::move(index), part, coder, options);
}

}  // namespace weft::trainer::corpus
