#include "runtime/store/run_store.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/files.h"
#include "base/units.h"
#include "runtime/store/index.h"
#include "runtime/store/json_lines.h"
#include "runtime/store/private_directory.h"
#include "runtime/store/run_lock.h"

namespace weft::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// run.json follows the metrics at most so often.
constexpr auto kStateInterval = std::chrono::milliseconds(300);

Expected<void> make_directory(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return io_error("create", path, error.value());
  return {};
}

json read_object(const fs::path& path) {
  const auto text = read_file(path, std::size_t{1} << 24);
  json object = text ? json::parse(*text, nullptr, false) : json();
  return object.is_object() ? object : json::object();
}

}  // namespace

fs::path RunPaths::worker_log(int rank) const {
  return logs() / ("worker-" + std::to_string(rank) + ".log");
}

struct RunStore::Impl {
  RunPaths paths;
  const Clock& clock;
  std::optional<RunLock> lock;
  JsonLines metrics;
  JsonLines events;
  std::unique_ptr<Index> index;
  json state;
  Instant written{};

  static Expected<std::unique_ptr<Impl>> make(const RunPaths& paths, std::optional<RunLock> lock,
                                              const Clock& clock);
  std::string now() const { return format_time(clock.wall_now()); }
  Expected<void> take_last_metrics();
  /// Durable: the run's states. Throttled: what follows the metrics.
  enum class Write { Durable, Now, Throttled };
  Expected<void> write_state(Write how) {
    const Instant at = clock.now();
    if (how == Write::Throttled && at - written < kStateInterval) return {};
    written = at;
    state["updated"] = now();
    const std::string text = state.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
    return how == Write::Durable ? write_file_atomically(paths.run(), text)
                                 : replace_file(paths.run(), text);
  }
};

RunStore::RunStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RunStore::~RunStore() = default;

Expected<std::unique_ptr<RunStore::Impl>> RunStore::Impl::make(const RunPaths& paths,
                                                               std::optional<RunLock> lock,
                                                               const Clock& clock) {
  for (const fs::path& part : {paths.samples(), paths.logs(), paths.checkpoints()})
    WEFT_TRY(make_directory(part));
  WEFT_TRY_ASSIGN(JsonLines metrics, JsonLines::open(paths.metrics()));
  WEFT_TRY_ASSIGN(JsonLines events, JsonLines::open(paths.events()));
  WEFT_TRY_ASSIGN(auto index, build_index(paths));
  return std::unique_ptr<Impl>(new Impl{paths, clock, std::move(lock), std::move(metrics),
                                        std::move(events), std::move(index),
                                        read_object(paths.run())});
}

Expected<std::unique_ptr<RunStore>> RunStore::join(const fs::path& root, const Clock& clock) {
  const RunPaths paths{root};
  std::error_code error;
  if (!fs::exists(paths.run(), error))
    return fail(Code::NotFound, root.string() + " is no run directory: it has no run.json");
  WEFT_TRY(check_private_directory(root));
  WEFT_TRY_ASSIGN(auto impl, Impl::make(paths, std::nullopt, clock));
  return std::unique_ptr<RunStore>(new RunStore(std::move(impl)));
}

Expected<std::unique_ptr<RunStore>> RunStore::open(const fs::path& root, const Clock& clock) {
  const RunPaths paths{root};
  WEFT_TRY(make_private_directory(root));
  WEFT_TRY_ASSIGN(RunLock lock, RunLock::take(paths.lock()));
  WEFT_TRY_ASSIGN(auto impl, Impl::make(paths, std::move(lock), clock));
  json& state = impl->state;
  const json attempt = state.value("attempt", json());
  state["attempt"] = (attempt.is_number_integer() ? attempt.get<int>() : 0) + 1;
  if (!state.contains("name"))
    state["name"] = fs::absolute(root).lexically_normal().filename().string();
  if (!state.contains("started")) state["started"] = impl->now();
  state["schema"] = "weft.run/v1";
  state["pid"] = ::getpid();
  state["state"] = to_string(RunState::Running);
  state["reason"] = "opened";
  WEFT_TRY(impl->write_state(Impl::Write::Durable));
  return std::unique_ptr<RunStore>(new RunStore(std::move(impl)));
}

const RunPaths& RunStore::paths() const { return impl_->paths; }
int RunStore::attempt() const {
  const json attempt = impl_->state.value("attempt", json());
  return attempt.is_number_integer() ? attempt.get<int>() : 1;
}

RunLock RunStore::keep_lock(std::unique_ptr<RunStore> store) {
  return std::move(*store->impl_->lock);
}

Expected<void> RunStore::set_state(RunState state, const std::string& reason) {
  impl_->state["state"] = to_string(state);
  impl_->state["reason"] = reason;
  return impl_->write_state(Impl::Write::Durable);
}

/// Whole for readers, not forced to the disk: the coordinator describes while agents wait for it.
Expected<void> RunStore::describe(const json& facts) {
  impl_->state.update(facts);
  return impl_->write_state(Impl::Write::Now);
}

Expected<void> RunStore::append_metrics(const json& record) {
  WEFT_TRY(impl_->metrics.append(record));
  WEFT_TRY(impl_->index->add_step(record));
  for (const char* key : {"step", "stage"})
    if (record.contains(key)) impl_->state[key] = record[key];
  impl_->state["last_metrics"] = record;
  return impl_->write_state(Impl::Write::Throttled);
}

Expected<void> RunStore::insert_metrics(const json& record) {
  WEFT_TRY_ASSIGN(auto lines, read_json_lines(impl_->paths.metrics()));
  const auto step = [](const json& line) { return line.value("step", 0LL); };
  const auto at = std::ranges::lower_bound(lines, step(record), {}, step);
  if (at != lines.end() && step(*at) == step(record)) return {};
  lines.insert(at, record);
  WEFT_TRY(write_file_atomically(impl_->paths.metrics(), lines_text(lines)));
  WEFT_TRY_ASSIGN(impl_->metrics, JsonLines::open(impl_->paths.metrics()));
  return impl_->index->add_step(record);
}

Expected<void> RunStore::append_event(const std::string& kind, const std::string& message,
                                      const json& details) {
  json record = details.is_object() ? details : json::object();
  record["time"] = impl_->now();
  record["kind"] = kind;
  record["message"] = message;
  WEFT_TRY(impl_->events.append(record));
  return impl_->index->add_event(record);
}

Expected<void> RunStore::write_samples(long long step, const std::vector<json>& samples) {
  WEFT_TRY(write_file_atomically(sample_file(impl_->paths, step), lines_text(samples)));
  WEFT_TRY(impl_->index->begin());
  WEFT_TRY(impl_->index->replace_samples(step, samples));
  return impl_->index->commit();
}

Expected<void> RunStore::truncate_after(long long step) {
  WEFT_TRY(keep_lines(impl_->paths.metrics(), [&](const json& record) {
    const auto at = record.find("step");
    return at != record.end() && at->is_number_integer() && at->get<long long>() <= step;
  }));
  WEFT_TRY_ASSIGN(impl_->metrics, JsonLines::open(impl_->paths.metrics()));
  for (const long long present : sample_steps(impl_->paths)) {
    std::error_code error;
    if (present > step) fs::remove(sample_file(impl_->paths, present), error);
    if (error) return io_error("remove", sample_file(impl_->paths, present), error.value());
  }
  WEFT_TRY_ASSIGN(impl_->index, build_index(impl_->paths));
  WEFT_TRY(impl_->take_last_metrics());
  impl_->state["step"] = step;
  return impl_->write_state(Impl::Write::Durable);
}

Expected<void> RunStore::Impl::take_last_metrics() {
  WEFT_TRY_ASSIGN(const auto kept, read_json_lines(paths.metrics()));
  if (kept.empty())
    state.erase("last_metrics");
  else
    state["last_metrics"] = kept.back();
  if (!kept.empty() && kept.back().contains("step")) state["step"] = kept.back()["step"];
  return {};
}

long long RunStore::last_step() const {
  const json last = impl_->state.value("last_metrics", json::object());
  const auto step = last.find("step");
  return step != last.end() && step->is_number_integer() ? step->get<long long>() : 0;
}

Expected<RunStore::Position> RunStore::position() const {
  std::error_code error;
  Position position;
  position.metrics = fs::file_size(impl_->paths.metrics(), error);
  if (error) return io_error("measure", impl_->paths.metrics(), error.value());
  position.events = fs::file_size(impl_->paths.events(), error);
  if (error) return io_error("measure", impl_->paths.events(), error.value());
  return position;
}

Expected<void> RunStore::rewind(const Position& position) {
  const auto cut = [](const fs::path& path, std::uint64_t end) -> Expected<JsonLines> {
    WEFT_TRY_ASSIGN(std::string text, read_file(path, std::size_t{1} << 32));
    text.resize(std::min<std::size_t>(text.size(), end));
    text.resize(text.rfind('\n') + 1);  // npos + 1 = 0
    WEFT_TRY(write_file_atomically(path, text));
    return JsonLines::open(path);
  };
  WEFT_TRY_ASSIGN(impl_->metrics, cut(impl_->paths.metrics(), position.metrics));
  WEFT_TRY_ASSIGN(impl_->events, cut(impl_->paths.events(), position.events));
  WEFT_TRY_ASSIGN(impl_->index, build_index(impl_->paths));
  return impl_->take_last_metrics();
}

}  // namespace weft::runtime
