#include "dualpipe/stage.h"

namespace weft::dualpipe {

std::string_view to_string(PhaseKind kind) {
  switch (kind) {
    case PhaseKind::Embed:
      return "embed";
    case PhaseKind::Attention:
      return "attention";
    case PhaseKind::Dispatch:
      return "dispatch";
    case PhaseKind::Experts:
      return "experts";
    case PhaseKind::Combine:
      return "combine";
    case PhaseKind::Head:
      return "head";
  }
  return "?";
}

}  // namespace weft::dualpipe
