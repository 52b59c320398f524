#include <fstream>

#include "base/files.h"
#include "tests/trainer/checkpoint_testing.h"
#include "trainer/checkpoint/safetensors.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::Scratch;

std::span<const std::byte> bytes_of_values(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

void write_raw(const fs::path& path, const std::string& header, const std::string& data,
               std::uint64_t claimed) {
  std::ofstream out(path, std::ios::binary);
  for (int i = 0; i < 8; ++i) out.put(static_cast<char>(claimed >> 8 * i & 0xff));
  out << header << data;
}

/// The message for a header over `data_bytes`, which must be refused as Corrupt.
std::string refused(const std::string& header, std::uint64_t data_bytes) {
  const auto parsed = parse_header(header, data_bytes);
  if (parsed) return "accepted";
  EXPECT_EQ(parsed.error().code, Code::Corrupt) << parsed.error().message;
  return parsed.error().message;
}

testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << text << "' does not say '" << part << "'";
}

TEST(Safetensors, TensorsComeBackByteForByteAndDataStartsAtAPage) {
  const Scratch scratch;
  const std::vector<float> a = testing_::random_values(1, 6), b = testing_::random_values(2, 1);
  const std::string raw = "seventeen bytes !";
  const auto written =
      write_safetensors(Disk::real(), scratch / "t.safetensors",
                        {{"zebra", Dtype::U8, {17}, std::as_bytes(std::span(raw)), {}},
                         {"scalar", Dtype::F32, {}, bytes_of_values(b), {}},
                         {"empty", Dtype::F32, {0, 3}, {}, {}},
                         {"matrix", Dtype::F32, {2, 3}, bytes_of_values(a), {4, 0}}});
  ASSERT_TRUE(written) << written.error().message;
  auto file = SafetensorsFile::open(Disk::real(), scratch / "t.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->header().data_start % 4096, 0u);
  EXPECT_EQ(file->bytes(), written->bytes);
  EXPECT_EQ(hash_of(*read_file(scratch / "t.safetensors")), written->hash);
  std::vector<std::string> order;
  for (const WrittenTensor& t : written->tensors) order.push_back(t.name);
  EXPECT_EQ(order, (std::vector<std::string>{"empty", "matrix", "scalar", "zebra"}))
      << "larger elements first, then by name";
  std::vector<float> out(6);
  ASSERT_TRUE(file->read(*file->find("matrix"), std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, a);
  EXPECT_EQ(file->header().metadata.at("format"), "pt");
  EXPECT_EQ(file->header().metadata.at("DCP_VERSION"), "1.0");
  EXPECT_TRUE(contains(file->header().metadata.at("DCP_SHARDING_INFO"),
                       R"("matrix":{"saved_offsets":[4,0]})"));
  EXPECT_TRUE(contains(file->header().metadata.at("DCP_SHARDING_INFO"),
                       R"("empty":{"saved_offsets":[0,0]})"));
}

TEST(Safetensors, ATensorLargerThanTheStagingBufferIsWrittenWhole) {
  const Scratch scratch;
  const std::vector<float> values = testing_::random_values(3, 2'500'001);
  const auto written =
      write_safetensors(Disk::real(), scratch / "t",
                        {{"a", Dtype::F32, {2'500'001}, bytes_of_values(values), {}},
                         {"b", Dtype::F32, {3}, bytes_of_values(values).first(12), {}}});
  ASSERT_TRUE(written) << written.error().message;
  auto file = SafetensorsFile::open(Disk::real(), scratch / "t");
  ASSERT_TRUE(file) << file.error().message;
  std::vector<float> out(values.size());
  ASSERT_TRUE(file->read(*file->find("a"), std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, values);
  EXPECT_EQ(written->tensors[0].hash, hash_of(bytes_of_values(values)));
  EXPECT_EQ(written->hash, hash_of(*read_file(scratch / "t")));
}

TEST(Safetensors, OddNamesSurvive) {
  const Scratch scratch;
  const std::vector<float> one{1.5f};
  const std::vector<std::string> names = {"a\"b\\c",
                                          "tab\there",
                                          "new\nline",
                                          "../../etc/passwd",
                                          "größe.重み.🧵",
                                          " ",
                                          std::string("nul\0inside", 10)};
  std::vector<TensorData> tensors;
  for (const std::string& name : names)
    tensors.push_back({name, Dtype::F32, {1}, bytes_of_values(one), {}});
  ASSERT_TRUE(write_safetensors(Disk::real(), scratch / "t", tensors));
  const auto file = SafetensorsFile::open(Disk::real(), scratch / "t");
  ASSERT_TRUE(file) << file.error().message;
  for (const std::string& name : names) EXPECT_TRUE(file->find(name)) << name;
}

TEST(Safetensors, NamesThatAFileCannotHoldAreRefusedBeforeWriting) {
  const Scratch scratch;
  const std::vector<float> one{1.5f};
  for (const std::string name : {"", "__metadata__", "broken \xff utf-8"}) {
    const auto written = write_safetensors(Disk::real(), scratch / "t",
                                           {{name, Dtype::F32, {1}, bytes_of_values(one), {}}});
    ASSERT_FALSE(written) << name;
    EXPECT_EQ(written.error().code, Code::InvalidArgument);
  }
  EXPECT_FALSE(write_safetensors(Disk::real(), scratch / "t",
                                 {{"a", Dtype::F32, {1}, bytes_of_values(one), {}},
                                  {"a", Dtype::F32, {1}, bytes_of_values(one), {}}}));
  EXPECT_FALSE(write_safetensors(Disk::real(), scratch / "t",
                                 {{"a", Dtype::F32, {2}, bytes_of_values(one), {}}}));
  EXPECT_FALSE(fs::exists(scratch / "t"));
}

TEST(SafetensorsHeader, AcceptsWhatTheFormatAllows) {
  EXPECT_TRUE(parse_header("{}", 0));
  EXPECT_TRUE(parse_header("{}    \n\t ", 0));
  EXPECT_TRUE(parse_header(R"({"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},)"
                           R"("a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}})",
                           8));
}

TEST(SafetensorsHeader, RefusesHolesOverlapsAndBytesOfNobody) {
  const auto two = [](int begin, int end) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[)" +
           std::to_string(end - begin) + R"(],"data_offsets":[)" + std::to_string(begin) + "," +
           std::to_string(end) + "]}}";
  };
  EXPECT_TRUE(contains(refused(two(5, 8), 8), "tensor 'b': a hole"));
  EXPECT_TRUE(contains(refused(two(3, 8), 8), "tensor 'b': an overlap"));
  EXPECT_TRUE(contains(refused(two(4, 8), 9), "the last 1 bytes belong to no tensor"));
  EXPECT_TRUE(contains(refused(two(4, 8), 7), "tensor 'b': ends at byte 8"));
}

TEST(SafetensorsHeader, RefusesWhatIsNotAHeader) {
  EXPECT_TRUE(contains(refused("", 0), "begin"));
  EXPECT_TRUE(contains(refused(" {}", 0), "begin"));
  EXPECT_TRUE(contains(refused("[]", 0), "begin"));
  EXPECT_TRUE(contains(refused("{} x", 0), "not valid JSON"));
  EXPECT_TRUE(contains(refused("{\"\xff\":1}", 0), "not valid JSON"));
  EXPECT_TRUE(contains(refused(std::string("{}\0", 3), 0), "not valid JSON"));
  const std::string a = R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  EXPECT_TRUE(contains(refused("{" + a + "," + a + "}", 0), "'a' appears twice"));
  EXPECT_TRUE(
      contains(refused(R"({"a":{"dtype":"U8","dtype":"I8"}})", 0), "'dtype' appears twice"));
  EXPECT_TRUE(contains(refused(R"({"a":{"dtype":"F17","shape":[1],"data_offsets":[0,1]}})", 1),
                       "tensor 'a': unknown dtype 'F17'"));
  EXPECT_TRUE(contains(refused(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1),
                       "tensor 'a': 'shape'"));
  EXPECT_TRUE(contains(refused(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1),
                       "tensor 'a': 'shape'"));
  EXPECT_TRUE(contains(refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1),
                       "begin <= end"));
  EXPECT_TRUE(contains(refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
                       "does not fill"));
  EXPECT_TRUE(contains(refused(R"({"__metadata__":{"format":1}})", 0), "must be a string"));
}

TEST(SafetensorsHeader, RefusesBombs) {
  EXPECT_TRUE(contains(refused(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,4294967296],)"
                               R"("data_offsets":[0,1]}})",
                               1),
                       "2^62"));
  EXPECT_TRUE(contains(refused(R"({"a":{"dtype":"U8","shape":[0,4294967296,4294967296],)"
                               R"("data_offsets":[0,0]}})",
                               0),
                       "2^62"));
  EXPECT_TRUE(contains(
      refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,99999999999999999999999]}})", 1),
      "data_offsets"));
  EXPECT_TRUE(contains(refused("{\"a\":" + std::string(5'000'000, '['), 0), "deep"));
  std::string ones = R"({"a":{"dtype":"U8","shape":[1)";
  for (int i = 0; i < 100; ++i) ones += ",1";
  EXPECT_TRUE(contains(refused(ones + R"(],"data_offsets":[0,1]}})", 1), "elements"));
}

TEST(SafetensorsFile, AHeaderLengthThatLiesIsRefusedWithoutReadingIt) {
  const Scratch scratch;
  const fs::path path = scratch / "t";
  const auto message = [&] {
    const auto file = SafetensorsFile::open(Disk::real(), path);
    EXPECT_FALSE(file);
    EXPECT_EQ(file.error().code, Code::Corrupt);
    EXPECT_TRUE(contains(file.error().message, path.string()));
    return file.error().message;
  };
  write_raw(path, "{}", "", ~0ull);
  EXPECT_TRUE(contains(message(), "allowed"));
  write_raw(path, "{}", "", kHeaderBytesMax);
  EXPECT_TRUE(contains(message(), "truncated"));
  std::ofstream(path, std::ios::trunc) << "short";
  EXPECT_TRUE(contains(message(), "too short"));
  fs::remove(path);
  EXPECT_EQ(SafetensorsFile::open(Disk::real(), path).error().code, Code::NotFound);
}

TEST(SafetensorsFile, EveryTruncationIsFound) {
  const Scratch scratch;
  const fs::path path = scratch / "t";
  const std::vector<float> values = testing_::random_values(1, 10);
  ASSERT_TRUE(write_safetensors(Disk::real(), path,
                                {{"a", Dtype::F32, {10}, bytes_of_values(values), {}}}));
  for (std::uint64_t size = fs::file_size(path); size-- > 0;) {
    fs::resize_file(path, size);
    ASSERT_FALSE(SafetensorsFile::open(Disk::real(), path)) << size;
  }
}

}  // namespace
}  // namespace weft::trainer::checkpoint
