// Which records count, and that each counts once.
#include "runtime/coordinator/decider.h"

namespace weft::runtime {

void Decider::operator()(const Records& records) {
  CoordinatorState& state = s();
  if (state.deposed || records.keys.empty()) return;
  if (records.generation > state.generation) return;  // of a term that we do not know
  const std::pair key{records.generation, records.rank};
  std::int64_t& next = state.stored[key];
  if (records.keys.front().sequence > next) {
    // A leader that did not know yet that it was deposed took what is missing. It is in that one's
    // store; what is not is in the spool file.
    if (!state.spools.contains({records.node, records.incarnation}))
      want_spool(records.node, records.incarnation);
    return;
  }
  StoreRecords store{records.node, records.incarnation, records.generation, records.rank, {}, next};
  for (const RecordKey& record : records.keys) {
    if (record.sequence < store.next) continue;
    if (record.sequence > store.next) break;  // no sequence: what follows will be sent again
    if (counts(state.line, records.generation, record.step))
      store.sequences.push_back(record.sequence);
    ++store.next;
  }
  if (!store.sequences.empty()) {
    act(std::move(store));
    return;
  }
  next = store.next;
  act(SendAcknowledgement{records.node, {state.term, records.generation, records.rank, next}});
}

void Decider::operator()(const RecordsStored& stored) {
  CoordinatorState& state = s();
  if (state.deposed) return;
  std::int64_t& next = state.stored[{stored.generation, stored.rank}];
  next = std::max(next, stored.next);
  act(SendAcknowledgement{stored.node, {state.term, stored.generation, stored.rank, next}});
}

void Decider::operator()(const SpoolRead& read) { s().spools.erase({read.node, read.incarnation}); }

}  // namespace weft::runtime
