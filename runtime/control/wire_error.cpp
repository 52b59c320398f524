#include "runtime/control/wire_error.h"

#include <nlohmann/json.hpp>

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr Code kCodes[] = {Code::InvalidArgument,
                           Code::Unavailable,
                           Code::DeadlineExceeded,
                           Code::Corrupt,
                           Code::Unsupported,
                           Code::NotFound,
                           Code::Busy,
                           Code::Io,
                           Code::Internal};

std::string text_at(const json& message, const char* key) {
  const auto found = message.is_object() ? message.find(key) : message.end();
  return message.is_object() && found != message.end() && found->is_string()
             ? found->get<std::string>()
             : std::string();
}

}  // namespace

void put_error(json& message, const Error& error) {
  message["code"] = to_string(error.code);
  message["message"] = error.message;
}

Error take_error(const json& message) {
  Error error{Code::Internal, text_at(message, "message")};
  const std::string name = text_at(message, "code");
  for (const Code code : kCodes)
    if (name == to_string(code)) error.code = code;
  if (error.message.empty()) error.message = "an error without a message";
  return error;
}

}  // namespace weft::runtime
