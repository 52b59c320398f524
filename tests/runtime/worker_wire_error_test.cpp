#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runtime/control/wire_error.h"

namespace weft::runtime {
namespace {

using nlohmann::json;

TEST(WireError, EveryCodeComesBackAsItself) {
  for (const Code code :
       {Code::InvalidArgument, Code::Unavailable, Code::DeadlineExceeded, Code::Corrupt,
        Code::Unsupported, Code::NotFound, Code::Busy, Code::Io, Code::Internal}) {
    json message = {{"type", "failed"}};
    put_error(message, {code, "rank 3 lost its way"});
    const Error error = take_error(json::parse(message.dump()));
    EXPECT_EQ(error.code, code) << to_string(code);
    EXPECT_EQ(error.message, "rank 3 lost its way");
  }
}

TEST(WireError, WhateverAPeerSendsIsAnError) {
  for (const char* text :
       {R"({"code": "NoSuchCode", "message": "m"})", R"({"code": 4711, "message": "m"})",
        R"({"code": -1})", R"({"message": ["m"]})", R"({"code": null, "message": null})", "{}",
        "[]", "7", "null", R"("failed")"}) {
    const Error error = take_error(json::parse(text));
    EXPECT_EQ(error.code, Code::Internal) << text;
    EXPECT_FALSE(error.message.empty()) << text;
  }
}

}  // namespace
}  // namespace weft::runtime
