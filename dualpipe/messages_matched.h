// The two ends of each recorded message. Internal to the room.
#pragma once

#include <vector>

#include "dualpipe/measured.h"

namespace weft::dualpipe {

struct MatchedMessage {
  const RankStep* from = nullptr;
  const RankStep* to = nullptr;
  const Record* send = nullptr;
  const Record* receive = nullptr;
};

/// By lane, positions, pass and tag. What has lost its other end is left out.
std::vector<MatchedMessage> matched_messages(const MeasuredStep& step);

}  // namespace weft::dualpipe
