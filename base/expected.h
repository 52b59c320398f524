// A value, or the reason there is none: tl::expected (std::expected before C++23), with one error
// type for the whole project.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace weft {

/// What a caller can do about a failure. A code earns its place when some caller reacts to it
/// differently; everything else goes into the message.
enum class Code {
  InvalidArgument,   // The request or the configuration has to change.
  Unavailable,       // A peer is gone: rebuild the group, then retry.
  DeadlineExceeded,  // No answer in time: the peer's state is unknown.
  Corrupt,           // Bytes failed their check: fall back to an older copy.
  Unsupported,       // This build or host lacks the device or transport: choose another.
  NotFound,          // The named thing does not exist.
  Busy,              // Somebody else holds it (a port, a run directory).
  Io,                // The file system refused: full, read-only, an I/O error.
  Internal,          // We are wrong; please report.
};

/// The code's name, such as "DeadlineExceeded".
const char* to_string(Code code);

struct Error {
  Code code;
  std::string message;  // Names the rank, the path or the field it is about, and what to do.
};

template <class T>
using Expected = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> fail(Code code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}

/// The same error with `context` put before its message: "context: message".
[[nodiscard]] tl::unexpected<Error> fail_in(std::string_view context, const Error& error);

}  // namespace weft

#define WEFT_CONCAT_INNER(a, b) a##b
#define WEFT_CONCAT(a, b) WEFT_CONCAT_INNER(a, b)

/// WEFT_TRY(expression): return its error from this function, or go on.
#define WEFT_TRY(...)                                                       \
  do {                                                                      \
    if (auto weft_result = (__VA_ARGS__); !weft_result)                     \
      return tl::unexpected<::weft::Error>(std::move(weft_result).error()); \
  } while (false)

/// WEFT_TRY_ASSIGN(declaration, expression): as WEFT_TRY, and bind the value.
#define WEFT_TRY_ASSIGN(declaration, ...)                                                        \
  auto WEFT_CONCAT(weft_value_, __LINE__) = (__VA_ARGS__);                                       \
  if (!WEFT_CONCAT(weft_value_, __LINE__))                                                       \
    return tl::unexpected<::weft::Error>(std::move(WEFT_CONCAT(weft_value_, __LINE__)).error()); \
  declaration = std::move(*WEFT_CONCAT(weft_value_, __LINE__))
