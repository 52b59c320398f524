// Files as data: what is read of them, in which order, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "tests/scratch.h"
#include "trainer/corpus/dataset.h"
#include "trainer/corpus/json_view.h"
#include "trainer/corpus/permutation.h"
#include "trainer/corpus/record.h"

namespace weft::trainer::corpus {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Corpus : public testing::Test {
 protected:
  void SetUp() override { coder = std::move(*Coder::make(*tokenizer::Tokenizer::byte_level(0))); }

  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(root / name, std::ios::binary) << content;
    return (root / name).string();
  }
  Expected<std::shared_ptr<const Index>> open(IndexSpec spec) const {
    return Index::open(spec, root / "index", *coder);
  }
  Expected<std::shared_ptr<const Index>> open(const std::string& path,
                                              Unit unit = Unit::File) const {
    IndexSpec spec;
    spec.pattern = path;
    spec.unit = unit;
    return open(spec);
  }
  std::string error_of(const IndexSpec& spec) const {
    const auto index = open(spec);
    return index ? "no error" : index.error().message;
  }
  std::vector<std::string> documents(const Index& index, Part part = Part::Train) const {
    std::vector<std::string> out;
    for (std::uint64_t i = 0; i < index.documents(part); ++i) {
      Entry entry;
      EXPECT_TRUE(index.entries(part, i, {&entry, 1}));
      std::vector<std::int32_t> tokens;
      EXPECT_TRUE(index.tokens(entry, 0, entry.tokens, tokens));
      out.push_back(coder->decode(tokens));
    }
    return out;
  }
  std::unique_ptr<Dataset> dataset(const std::vector<std::string>& paths, PackOptions options,
                                   const std::vector<double>& weights = {}) const {
    std::vector<std::shared_ptr<const Index>> sources;
    for (const std::string& path : paths) {
      auto index = open(path, Unit::Line);
      EXPECT_TRUE(index) << index.error().message;
      sources.push_back(*index);
    }
    auto set = Dataset::open(sources, Part::Train, weights, *coder, options);
    EXPECT_TRUE(set) << set.error().message;
    return std::move(*set);
  }
  /// One epoch of one source, sequence by sequence.
  static std::vector<data::Example> epoch_of(const Dataset& set, std::uint64_t epoch) {
    std::vector<data::Example> out;
    const auto plan = set.plan(epoch * set.windows(), static_cast<int>(set.windows()));
    EXPECT_TRUE(plan);
    for (const Planned& planned : *plan) {
      auto example = set.read(planned);
      EXPECT_TRUE(example) << example.error().message;
      EXPECT_EQ(static_cast<int>(example->tokens.size()), planned.shape.tokens);
      out.push_back(std::move(*example));
    }
    return out;
  }
  static std::string lines(int count) {
    std::string text;
    for (int i = 0; i < count; ++i)
      text += std::to_string(i) + std::string(static_cast<std::size_t>(i * 7 % 23), 'x') + "\n";
    return text;
  }

  const test::Scratch scratch;
  const fs::path root = scratch.path();
  std::unique_ptr<Coder> coder;
};

TEST(Permutation, HitsEveryElementOnceAndDependsOnItsKey) {
  for (const std::uint64_t size : {1u, 2u, 3u, 17u, 256u, 1000u, 4097u}) {
    const Permutation first(size, true, 1, "test", 0), other(size, true, 1, "test", 1);
    std::set<std::uint64_t> seen;
    std::uint64_t same = 0;
    for (std::uint64_t i = 0; i < size; ++i) {
      EXPECT_LT(first(i), size);
      seen.insert(first(i));
      same += first(i) == other(i);
    }
    EXPECT_EQ(seen.size(), size);
    if (size > 100) {
      EXPECT_LT(same, size / 10);
    }
  }
}

TEST(JsonView, RefusesWhatJsonIsNot) {
  for (const char* bad : {"", "{", "{\"a\":1,}", "[1 2]", "\"\\x\"", "\"\\ud800\"", "01", "1.",
                          "tru", "{\"a\" 1}", "\"a\nb\"", "1 2", "-", "{a:1}"})
    EXPECT_FALSE(parse_json_view(bad)) << bad;
  EXPECT_FALSE(parse_json_view(std::string(100, '[') + std::string(100, ']')));
}

TEST(JsonView, ResolvesEscapes) {
  const auto view = parse_json_view(R"("a\n\"\u00e9\ud83d\ude00\/")");
  ASSERT_TRUE(view);
  EXPECT_EQ(unescaped(*view), "a\n\"\xC3\xA9\xF0\x9F\x98\x80/");
}

TEST(Record, TellsTheDialectsApart) {
  const auto gsm = parse_record(
      R"({"question": "How?", "answer": "48/2 = <<48/2=24>>24.\n#### 1,024"})", "text");
  ASSERT_TRUE(gsm) << gsm.error().message;
  EXPECT_EQ(*gsm,
            (Record{Dialect::Gsm8k, "How?\n", "48/2 = 24.\n#### 1,024", "48/2 = 24.", "1024"}));
  const auto trl = parse_record(
      R"({"prompt": [{"role":"user","content":"Hi"}], "completion": "Ho", "solution": "H"})",
      "text");
  ASSERT_TRUE(trl) << trl.error().message;
  EXPECT_EQ(*trl, (Record{Dialect::Trl, "Hi\n", "Ho", "Ho", "H"}));
  const auto verl =
      parse_record(R"({"data_source":"g","prompt":[{"role":"user","content":"1+1"}],"ability":"m",)"
                   R"("reward_model":{"style":"rule","ground_truth":2}})",
                   "text");
  ASSERT_TRUE(verl) << verl.error().message;
  EXPECT_EQ(*verl, (Record{Dialect::Verl, "1+1\n", "2", "", "2"}));
  EXPECT_EQ(parse_record(R"({"body":"b","text":"t"})", "body")->completion, "b");
  EXPECT_THAT(parse_record(R"({"title":"t"})", "text").error().message,
              HasSubstr("keys are: title"));
  EXPECT_THAT(parse_record(R"({"text":"t","text":"u"})", "text").error().message,
              HasSubstr("stands twice"));
}

TEST_F(Corpus, PlainTextIsCutWhereItIsSaid) {
  const std::string path = file("a.txt", "one\ntwo\n\n\nthree\r\n\r\nlast without a line feed");
  EXPECT_EQ(documents(**open(path, Unit::Paragraph)),
            (std::vector<std::string>{"one\ntwo", "three\r", "last without a line feed"}));
  EXPECT_EQ(documents(**open(path, Unit::Line)),
            (std::vector<std::string>{"one", "two", "three\r", "last without a line feed"}));
  EXPECT_EQ(documents(**open(path)).size(), 1u);
}

TEST_F(Corpus, PiecesOfALongFileAreTheFile) {
  const std::string text = lines(400) + std::string(5000, 'y') + "\xC3\xA9\xC3\xA9" + lines(50);
  IndexSpec spec;
  spec.pattern = file("long.txt", text);
  spec.document_bytes = 300;
  const auto index = open(spec);
  ASSERT_TRUE(index) << index.error().message;
  std::string all;
  for (const std::string& piece : documents(**index)) {
    EXPECT_LE(piece.size(), 301u);
    EXPECT_TRUE(is_utf8(piece));
    all += piece;
  }
  EXPECT_EQ(all, text);
}

TEST_F(Corpus, GzipReadsAsThePlainFileDoes) {
  const std::string text = lines(5000);
  const fs::path packed = root / "a.txt.gz";
  gzFile out = ::gzopen(packed.c_str(), "wb");
  ::gzwrite(out, text.data(), static_cast<unsigned>(text.size()));
  ::gzclose(out);
  EXPECT_EQ(documents(**open(packed.string(), Unit::Line)),
            documents(**open(file("b.txt", text), Unit::Line)));
  fs::resize_file(packed, fs::file_size(packed) / 2);
  IndexSpec spec;
  spec.pattern = packed.string();
  spec.text_key = "other";  // another index
  EXPECT_THAT(error_of(spec), HasSubstr("cut off"));
}

TEST_F(Corpus, BadLinesAreNamedOrCounted) {
  IndexSpec spec;
  spec.pattern = file("a.jsonl",
                      "{\"text\":\"good\"}\n{\"text\":\n\n{\"no\":1}\r\n{\"text\":\"\"}\n"
                      "{\"text\":\"\\u0000\"}\n{\"text\":\"\xFF\xFE\"}\n{\"text\":\"last\"}");
  EXPECT_THAT(error_of(spec), HasSubstr("a.jsonl:2: the line ends where a value belongs"));
  spec.skip_bad_lines = true;
  const auto index = open(spec);
  ASSERT_TRUE(index) << index.error().message;
  EXPECT_EQ(documents(**index),
            (std::vector<std::string>{"good", std::string(1, '\0'), "\xFF\xFE", "last"}));
  const IndexCounts& c = (*index)->counts();
  EXPECT_EQ(c.bad_lines, 2u);
  EXPECT_EQ(c.empty, 2u);
  EXPECT_EQ(c.with_nul, 1u);
  EXPECT_EQ(c.invalid_utf8, 1u);
  EXPECT_EQ((*index)->warnings().size(), 4u);
  EXPECT_THAT((*index)->warnings()[0], HasSubstr("a.jsonl:2"));
}

TEST_F(Corpus, ALineBeyondTheBoundIsABadLine) {
  IndexSpec spec;
  spec.max_line = 1000;
  spec.skip_bad_lines = true;
  spec.pattern = file("a.jsonl", "{\"text\":\"" + std::string(1 << 20, 'x') +
                                     "\"}\n{\"text\":\"short\"}\n{\"text\":\"" +
                                     std::string(2000, 'x') + "\"}");
  const auto index = open(spec);
  ASSERT_TRUE(index) << index.error().message;
  EXPECT_EQ(documents(**index), std::vector<std::string>{"short"});
  EXPECT_EQ((*index)->counts().bad_lines, 2u);
}

TEST_F(Corpus, WhatCannotBeReadIsSaid) {
  IndexSpec spec;
  for (const auto& [path, what] :
       std::map<std::string, std::string>{{(root / "none.txt").string(), "none.txt"},
                                          {(root / "none*.jsonl").string(), "no file matches"},
                                          {root.string(), "is a directory"},
                                          {file("a.jsonl.zst", "x"), ".zst files are not read"},
                                          {file("empty.txt", ""), "no usable document"},
                                          {file("blank.jsonl", "\n \n"), "no usable document"}}) {
    spec.pattern = path;
    EXPECT_THAT(error_of(spec), HasSubstr(what));
  }
}

TEST_F(Corpus, ASourceThatChangedIsAnErrorThatNamesIt) {
  const std::string path = file("a.txt", "one\ntwo\n");
  ASSERT_TRUE(open(path));
  file("a.txt", "one\ntwo\n");  // written again, the same
  EXPECT_TRUE(open(path));
  file("a.txt", "one\ntwx\n");
  EXPECT_THAT(open(path).error().message, HasSubstr("a.txt has changed"));
  file("a.txt", "one\n");
  EXPECT_THAT(open(path).error().message, HasSubstr("it had 8 bytes and has 4"));
  fs::remove(path);
  EXPECT_THAT(open(path).error().message, HasSubstr("a.txt"));
}

TEST_F(Corpus, ANewFileOfAGlobIsAnError) {
  file("a.txt", "one\n");
  const std::string glob = (root / "*.txt").string();
  ASSERT_TRUE(open(glob));
  file("b.txt", "two\n");
  EXPECT_THAT(open(glob).error().message, HasSubstr("b.txt was not there"));
}

TEST_F(Corpus, ADamagedIndexIsFound) {
  const std::string path = file("a.txt", lines(100));
  ASSERT_TRUE(open(path));
  for (const auto& entry : fs::recursive_directory_iterator(root / "index"))
    if (entry.path().filename() == "tokens") fs::resize_file(entry.path(), 10);
  EXPECT_THAT(open(path).error().message, HasSubstr("has 10 bytes instead of"));
}

TEST_F(Corpus, HeldOutDocumentsAreToldByTheirText) {
  IndexSpec spec;
  spec.held_out = 0.3;
  spec.unit = Unit::Line;
  spec.pattern = file("a.txt", lines(300) + lines(300));
  const auto index = open(spec);
  ASSERT_TRUE(index) << index.error().message;
  const auto held = documents(**index, Part::Held), train = documents(**index);
  EXPECT_EQ(held.size() + train.size(), 600u);
  EXPECT_NEAR(static_cast<double>(held.size()), 180, 60);
  for (const std::string& document : held)
    EXPECT_THAT(train, testing::Not(testing::Contains(document)));
}

TEST_F(Corpus, AStreamHoldsEveryDocumentOnceAnEpoch) {
  const std::string path = file("a.txt", lines(700));
  PackOptions options;
  options.context = 50;
  const auto set = dataset({path}, options);
  std::vector<std::string> first;
  for (const std::uint64_t epoch : {0u, 1u}) {
    std::vector<data::Example> windows = epoch_of(*set, epoch);
    std::size_t predicted = 0;
    for (const data::Example& window : windows) predicted += window.tokens.size() - 1;
    std::map<std::int32_t, int> seen;
    for (const data::Example& window : windows)
      for (std::size_t t = 1; t < window.tokens.size(); ++t) ++seen[window.tokens[t]];
    EXPECT_EQ(seen[coder->ids().eos], 700);
    EXPECT_EQ(seen[coder->ids().bos], 699);  // the epoch's first token is predicted by nothing
    EXPECT_EQ(predicted + 1, set->sources()[0]->counts().tokens + 1400);
    std::vector<std::string> order;
    for (const data::Example& window : windows) order.push_back(coder->decode(window.tokens));
    if (epoch == 0)
      first = order;
    else
      EXPECT_NE(order, first);
  }
}

TEST_F(Corpus, AnUnshuffledStreamIsTheFileWithItsEnds) {
  PackOptions options;
  options.context = 7;
  options.shuffle = false;
  const auto set = dataset({file("a.txt", "ab\nc\ndefgh\n")}, options);
  std::vector<std::int32_t> all;
  for (const data::Example& window : epoch_of(*set, 0))
    all.insert(all.end(), window.tokens.begin() + (all.empty() ? 0 : 1), window.tokens.end());
  EXPECT_EQ(
      coder->decode(all),
      "<｜begin▁of▁sentence｜>ab<｜end▁of▁sentence｜><｜begin▁of▁sentence｜>c<｜end▁of▁sentence｜>"
      "<｜begin▁of▁sentence｜>defgh<｜end▁of▁sentence｜>");
}

TEST_F(Corpus, FillInTheMiddleKeepsEveryByte) {
  PackOptions options;
  options.context = 4096;
  options.fim_rate = 0.5;
  const auto set = dataset({file("a.txt", lines(200))}, options);
  std::set<std::string> found;
  int rewritten = 0;
  for (const data::Example& window : epoch_of(*set, 0)) {
    const Coder::Ids& ids = coder->ids();
    std::vector<std::int32_t> prefix, suffix, middle, *to = &prefix;
    for (const std::int32_t id : window.tokens) {
      if (id == ids.bos)
        prefix.clear(), suffix.clear(), middle.clear(), to = &prefix;
      else if (id == ids.fim_begin)
        ++rewritten;
      else if (id == ids.fim_hole)
        to = &suffix;
      else if (id == ids.fim_end)
        to = &middle;
      else if (id == ids.eos)
        found.insert(coder->decode(prefix) + coder->decode(middle) + coder->decode(suffix));
      else
        to->push_back(id);
    }
  }
  EXPECT_NEAR(rewritten, 100, 40);
  int whole = 0;
  const std::string text = lines(200);
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    whole += static_cast<int>(found.count(text.substr(at, end - at)));
  EXPECT_GE(whole, 198);  // all but those that a window's edge cuts
}

TEST_F(Corpus, PackedSamplesAreWholeAndFitTheirWindow) {
  PackOptions options;
  options.context = 40;
  options.packing = Packing::Sample;
  const auto set = dataset({file("a.txt", lines(3000))}, options);
  std::multiset<std::string> found;
  const auto plan = set->plan(0, static_cast<int>(set->windows()));
  ASSERT_TRUE(plan);
  std::map<std::uint64_t, int> filled;
  int inputs = 0;
  for (const Planned& planned : *plan) {
    filled[planned.window] += planned.shape.tokens - 1;
    inputs += planned.shape.tokens - 1;
    const auto example = set->read(planned);
    ASSERT_TRUE(example) << example.error().message;
    found.insert(coder->decode(std::span(example->tokens).subspan(1, example->tokens.size() - 2)));
  }
  for (const auto& [window, sum] : filled) EXPECT_LE(sum, 40) << window;
  EXPECT_GT(inputs, 0.9 * 40 * static_cast<double>(set->windows()));  // best fit wastes little
  EXPECT_EQ(found.size(), 3000u);
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()).size(), 3000u);
}

TEST_F(Corpus, LongDocumentsBecomePiecesAndLongAnswersAreCutOff) {
  IndexSpec spec;
  spec.pattern = file("a.jsonl", "{\"prompt\":\"ab\",\"completion\":\"" + std::string(30, 'c') +
                                     "\"}\n{\"prompt\":\"" + std::string(30, 'p') +
                                     "\",\"completion\":\"d\"}\n{\"text\":\"" +
                                     std::string(30, 't') + "\"}\n");
  const auto index = open(spec);
  ASSERT_TRUE(index) << index.error().message;
  PackOptions options;
  options.context = 10;
  options.packing = Packing::Sample;
  options.whole = false;
  options.shuffle = false;
  const auto packer = make_packer(*index, Part::Train, *coder, options);
  ASSERT_TRUE(packer) << packer.error().message;
  EXPECT_EQ((*packer)->left_out(), 1u);
  EXPECT_EQ((*packer)->truncated(), 2u);
  int with_prompt = 0, predicted = 0;
  for (std::uint64_t w = 0; w < (*packer)->windows(); ++w) {
    const auto shapes = (*packer)->shape(0, w);
    ASSERT_TRUE(shapes);
    for (std::size_t part = 0; part < shapes->size(); ++part) {
      const auto example = (*packer)->read(0, w, static_cast<int>(part));
      ASSERT_TRUE(example);
      EXPECT_EQ(static_cast<int>(example->tokens.size()), (*shapes)[part].tokens);
      if (example->prompt_length == 4)  // bos, "ab" and a line feed
        ++with_prompt;
      else
        predicted += static_cast<int>(example->tokens.size()) - 1;
    }
  }
  EXPECT_EQ(with_prompt, 1);
  EXPECT_EQ(predicted, 31);  // 30 bytes and the end
}

TEST_F(Corpus, WeightsDecideTheMixtureAndEachSourceItsEpochs) {
  PackOptions options;
  options.context = 20;
  const auto set = dataset({file("a.txt", lines(300)), file("b.txt", lines(90))}, options, {3, 1});
  EXPECT_NEAR(set->share(0), 0.75, 0.001);
  const int count = 8000;
  const auto plan = set->plan(0, count);
  ASSERT_TRUE(plan);
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::set<std::uint64_t>> seen;
  std::map<std::uint32_t, int> samples;
  for (const Planned& planned : *plan) {
    const bool once = seen[{planned.source, planned.epoch}].insert(planned.window).second;
    EXPECT_TRUE(once);
    ++samples[planned.source];
  }
  EXPECT_NEAR(samples[0], 0.75 * count, 0.02 * count);
  const std::set<std::uint64_t>& first_epoch = seen[{1, 0}];
  EXPECT_EQ(first_epoch.size(), set->windows(1));
}

TEST_F(Corpus, ABatchIsTheSameWhoeverReadsItAndHoweverItIsCut) {
  PackOptions options;
  options.context = 30;
  options.packing = Packing::Sample;
  const auto set = dataset({file("a.txt", lines(500))}, options);
  const auto plan = set->plan(17, 12);
  ASSERT_TRUE(plan);
  const auto whole = set->batch(*plan, 4, Mode::Train, [](int) { return true; });
  const auto part = set->batch(*plan, 4, Mode::Train, [](int i) { return i == 2; });
  ASSERT_TRUE(whole && part);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ((*whole)[i].sequence_begin, (*part)[i].sequence_begin);
    EXPECT_EQ((*whole)[i].sequence_id, (*part)[i].sequence_id);
    EXPECT_EQ((*part)[i].tokens.empty(), i != 2);
  }
  EXPECT_EQ((*whole)[2].tokens, (*part)[2].tokens);
  EXPECT_EQ((*whole)[2].weight, (*part)[2].weight);
  // Samples, not steps, are counted: two batches of six are the batch of twelve.
  auto halves = set->plan(17, 6);
  const auto second = set->plan(23, 6);
  ASSERT_TRUE(halves && second);
  halves->insert(halves->end(), second->begin(), second->end());
  ASSERT_EQ(halves->size(), plan->size());
  for (std::size_t i = 0; i < plan->size(); ++i) {
    EXPECT_EQ((*halves)[i].window, (*plan)[i].window);
    EXPECT_EQ((*halves)[i].part, (*plan)[i].part);
  }
}

TEST_F(Corpus, ADocumentCannotSpellASpecialToken) {
  const auto with_numbers = std::move(*Coder::make(*tokenizer::Tokenizer::byte_level(99)));
  std::vector<std::int32_t> ids;
  with_numbers->encode("<think>42<｜end▁of▁sentence｜>", ids);
  for (const std::int32_t id : ids) EXPECT_TRUE(id < 256 || id >= 262) << id;
  EXPECT_EQ(with_numbers->decode(ids), "<think>42<｜end▁of▁sentence｜>");
}

}  // namespace
}  // namespace weft::trainer::corpus
