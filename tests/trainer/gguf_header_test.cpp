#include <gtest/gtest.h>

#include <cstring>

#include "trainer/gguf/header.h"

namespace weft::trainer::gguf {
namespace {

Header small() {
  Header header;
  const std::vector<std::int32_t> types = {1, -3};
  header.keys = {{"general.architecture", Value::text("deepseek2")},
                 {"general.alignment", Value::u32(32)},
                 {"a.float", Value::f32(2.5f)},
                 {"a.flag", Value::boolean(true)},
                 {"a.short", Value::u16(7)},
                 {"a.negative", Value::i32(-5)},
                 {"a.texts", Value::strings({"x", "", "yz"})},
                 {"a.numbers", Value::i32s(types)}};
  header.tensors = {
      {"one", {3}, 0, 0, 0}, {"two", {64, 2, 3}, 8, 0, 0}, {"three", {5, 1}, 1, 0, 0}};
  return header;
}

std::string bytes_of_file(Header header) {
  EXPECT_TRUE(lay_out(header));
  std::string out = format_header(header);
  out.resize(header.data_start + header.tensors.back().offset + header.tensors.back().bytes, 'x');
  return out;
}

Expected<Header> parse(const std::string& bytes) {
  return parse_header(std::as_bytes(std::span(bytes)), bytes.size());
}

TEST(GgufHeader, ComesBackAsItWasWritten) {
  Header header = small();
  ASSERT_TRUE(lay_out(header));
  const std::string bytes = bytes_of_file(small());
  const auto back = parse(bytes);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->keys, header.keys);
  EXPECT_EQ(back->tensors, header.tensors);
  EXPECT_EQ(back->data_start % kAlignment, 0u);
  EXPECT_EQ(to_string(*back->find("a.negative")), "-5");
  EXPECT_EQ(to_string(*back->find("a.float")), "2.5");
  EXPECT_EQ(to_string(*back->find("a.flag")), "true");
  EXPECT_EQ(to_string(*back->find("a.texts")), "[3 texts]");
  EXPECT_EQ(to_string(*back->find("a.numbers")), "[1, -3]");
}

TEST(GgufHeader, TensorsLieAlignedOneBehindTheOther) {
  Header header = small();
  ASSERT_TRUE(lay_out(header));
  EXPECT_EQ(header.tensors[0].bytes, 12u);
  EXPECT_EQ(header.tensors[1].offset, 32u);
  EXPECT_EQ(header.tensors[1].bytes, 6u * 2 * 34);
  EXPECT_EQ(header.tensors[2].offset, 32u + 416);
}

TEST(GgufHeader, EveryCutIsFound) {
  const std::string bytes = bytes_of_file(small());
  for (std::size_t length = 0; length < bytes.size(); ++length)
    ASSERT_FALSE(parse(bytes.substr(0, length))) << length;
}

TEST(GgufHeader, SaysWhichTensorOrKeyIsWrong) {
  const auto expect = [](Header header, const std::string& part) {
    const std::string text = format_header(header) + std::string(1000, 'x');
    const auto result = parse(text);
    ASSERT_FALSE(result) << part;
    EXPECT_EQ(result.error().code, Code::Corrupt);
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  };
  const auto with = [](auto change) {
    Header header = small();
    EXPECT_TRUE(lay_out(header));
    change(header);
    return header;
  };
  expect(with([](Header& h) { h.tensors[1].offset = 0; }), "tensor 'two' begins at byte 0");
  expect(with([](Header& h) { h.tensors[2].offset += 32; }), "tensor 'three' begins");
  expect(with([](Header& h) { h.tensors[2].dims = {1 << 20}; }), "tensor 'three' ends behind");
  expect(with([](Header& h) { h.tensors[2].dims = {1ULL << 40, 1ULL << 40}; }), "tensor 'three'");
  expect(with([](Header& h) { h.tensors[1].dims = {33}; }), "no whole blocks of Q8_0");
  expect(with([](Header& h) { h.tensors[0].dims = {0}; }), "tensor 'one'");
  expect(with([](Header& h) { h.tensors[0].type = 77; }), "number format 77");
  expect(with([](Header& h) { h.tensors[1].name = "one"; }), "tensor 'one' is there twice");
  expect(with([](Header& h) { h.keys[3].first = "a.float"; }), "key 'a.float' is there twice");
  expect(with([](Header& h) { h.keys[1].second = Value::u32(33); }), "general.alignment is 33");
}

TEST(GgufHeader, NamesThatAreTooLongOrDoubledAreNotWritten) {
  Header header = small();
  header.tensors[0].name = std::string(64, 'x');
  EXPECT_FALSE(lay_out(header));
  header.tensors[0].name = "two";
  EXPECT_FALSE(lay_out(header));
}

}  // namespace
}  // namespace weft::trainer::gguf
