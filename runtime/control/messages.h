// What agents and the coordinator say to each other as bytes: the values of coordinator/messages.h
// in JSON, with a version and size limits. Whoever reads trusts nothing.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/expected.h"
#include "runtime/coordinator/messages.h"

namespace weft::runtime {

inline constexpr int kWireVersion =
    4;  // 2: addresses as lines, 3: saves asked for, 4: copies in parts

/// Records with their bytes: payload[i] is the worker's message of keys[i], JSON text.
struct RecordsMessage {
  Records records;
  std::vector<std::string> payload;
};
/// The coordinator does not work with this agent: another version, another run.
struct RefusalMessage {
  std::string reason;
};

using WireMessage =
    std::variant<Report, RecordsMessage, Order, Beat, Acknowledgement, RefusalMessage>;

/// Bytes that are no UTF-8 travel as U+FFFD.
std::string encode(const WireMessage& message);
/// Errors: Unsupported, with both versions, for a message of another version; Corrupt, with what
/// does not fit.
Expected<WireMessage> decode(std::string_view bytes);

}  // namespace weft::runtime
