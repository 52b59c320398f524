#include "runtime/coordinator_shell/record_book.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/control/whole_number.h"

namespace weft::runtime {

using nlohmann::json;

Expected<void> RecordBook::restore(const JournalEntry& entry) {
  stored_ = entry.stored;
  for (const auto& [of, next] : stored_)
    if (next > 0) last_generation_ = std::max(last_generation_, of.first);
  WEFT_TRY(store_->rewind(entry.files));
  last_step_ = store_->last_step();
  return {};
}

Expected<void> RecordBook::note(JournalEntry& entry) const {
  WEFT_TRY_ASSIGN(entry.files, store_->position());
  entry.stored = stored_;
  return {};
}

Expected<void> RecordBook::store_record(std::int64_t generation, int rank, std::int64_t sequence,
                                        const std::string& message) {
  std::int64_t& next = stored_[{generation, rank}];
  if (sequence < next) return {};
  const json record = json::parse(message, nullptr, false);
  try {
    WEFT_TRY(write(generation, record));
  } catch (const json::exception& error) {
    (void)store_->append_event(
        "warning",
        "worker " + std::to_string(rank) + " sent a record that cannot be read: " + error.what(),
        json::object());
  }
  next = sequence + 1;
  return {};
}

/// What is missing in a record, or of another type, throws.
Expected<void> RecordBook::write(std::int64_t generation, const json& message) {
  const std::string type = message.at("type").get<std::string>();
  if (type == "metrics") {
    const json& record = message.at("record");
    const auto step = whole(record.at("step"));
    // What an agent that is gone had not handed over yet comes late: into its place.
    if (generation < last_generation_ && step <= last_step_) return store_->insert_metrics(record);
    // Steps that are done anew replace those of before, whatever became of the order to drop them.
    if (step <= last_step_) WEFT_TRY(truncate_after(step - 1));
    WEFT_TRY(store_->append_metrics(record));
    last_generation_ = std::max(last_generation_, generation);
    last_step_ = step;
    return {};
  }
  if (type == "samples") {
    const auto step = whole(message.at("step"));
    if (generation >= last_generation_ && step <= last_step_) WEFT_TRY(truncate_after(step - 1));
    return store_->write_samples(step, message.at("lines").get<std::vector<json>>());
  }
  return store_->append_event(message.at("kind").get<std::string>(),
                              message.at("message").get<std::string>(), message.at("details"));
}

void RecordBook::set_next(std::int64_t generation, int rank, std::int64_t next) {
  std::int64_t& now = stored_[{generation, rank}];
  now = std::max(now, next);
}

Expected<void> RecordBook::truncate_after(std::int64_t step) {
  WEFT_TRY(store_->truncate_after(step));
  last_step_ = store_->last_step();
  return {};
}

void RecordBook::forget_before(std::int64_t generation) {
  std::erase_if(stored_, [&](const auto& one) { return one.first.first < generation; });
}

}  // namespace weft::runtime
