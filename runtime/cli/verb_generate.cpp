#include "runtime/cli/hooks.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

int verb_generate(const GenerateOptions& options, Io& io) { return generate(options, io); }

}  // namespace weft::cli
