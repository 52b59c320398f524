#include "runtime/coordinator_shell/asked.h"

#include <cmath>

namespace weft::runtime {

std::vector<Event> events_of(const RunRequest& request) {
  using Kind = RunRequest::Kind;
  switch (request.kind) {
    case Kind::Stop:
      return {StopAsked{}};
    case Kind::StopNow:
      return {StopAsked{}, StopAsked{}};
    case Kind::Pause:
      return {PauseAsked{}};
    case Kind::Continue:
      return {ContinueAsked{}};
    case Kind::Save:
      return {SaveAsked{request.at_step}};
    case Kind::Exclude:
      return {
          BanAsked{request.node, request.reason, Duration(std::llround(request.seconds * 1e9))}};
    case Kind::Include:
      return {UnbanAsked{request.node}};
  }
  return {};
}

}  // namespace weft::runtime
