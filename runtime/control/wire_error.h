// An error as one process tells it to another: {"code": name, "message": text}.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/expected.h"

namespace weft::runtime {

/// Adds "code" and "message" to the object.
void put_error(nlohmann::json& message, const Error& error);
/// The error inside, whatever the peer sent: a code that this build does not know is Internal, and
/// a missing message is said to be missing.
Error take_error(const nlohmann::json& message);

}  // namespace weft::runtime
