#include <nlohmann/json.hpp>

#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

int verb_version(const VersionOptions& options, Io& io) {
  const nlohmann::json object = {{"name", "weft"},
                                 {"version", WEFT_VERSION},
                                 {"compiler", __VERSION__},
                                 {"schemas", {"weft.run/v1", "weft.check/v1", "weft.status/v1"}}};
  print_object(io, options.format, "version", object, "version",
               {{"weft", WEFT_VERSION}, {"compiler", __VERSION__}});
  return kOk;
}

}  // namespace weft::cli
