#include "dualpipe/messages_matched.h"

#include <map>
#include <tuple>

#include "dualpipe/plan.h"

namespace weft::dualpipe {
namespace {

using What = Record::What;

using Key = std::tuple<int, int, int, int, comm::Tag>;  // lane, from, to, pass, tag

Key key_of(const RankStep& rank, const Record& record) {
  const Action action{static_cast<Op>(record.op),
                      {record.direction, record.stage, record.micro_batch},
                      {},
                      record.peer};
  const bool send = record.what == What::Send;
  const int here = rank.info.position;
  return {rank.info.lane, send ? here : record.peer, send ? record.peer : here, record.pass,
          message_tag(action)};
}

}  // namespace

std::vector<MatchedMessage> matched_messages(const MeasuredStep& step) {
  std::map<Key, std::pair<const RankStep*, const Record*>> sent;
  for (const RankStep& rank : step.ranks)
    for (const Record& record : rank.recorded.records)
      if (record.what == What::Send) sent[key_of(rank, record)] = {&rank, &record};
  std::vector<MatchedMessage> matched;
  for (const RankStep& rank : step.ranks)
    for (const Record& record : rank.recorded.records) {
      if (record.what != What::Receive) continue;
      const auto found = sent.find(key_of(rank, record));
      if (found == sent.end()) continue;
      matched.push_back({found->second.first, &rank, found->second.second, &record});
      sent.erase(found);  // a message has one receiver, whatever a damaged file says
    }
  return matched;
}

}  // namespace weft::dualpipe
