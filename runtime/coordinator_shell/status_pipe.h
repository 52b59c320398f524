// What the coordinator's process tells its agent.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace weft::runtime {

/// Objects, one a line, to the agent; a full or broken pipe loses them. Owns nothing.
class StatusPipe {
 public:
  explicit StatusPipe(int descriptor) : descriptor_(descriptor) {}
  void say(const nlohmann::json& what) const;

 private:
  int descriptor_;
};

}  // namespace weft::runtime
