#include "runtime/store/index.h"

#include <sqlite3.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace weft::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kTables =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
    "CREATE TABLE steps(step INTEGER PRIMARY KEY, stage TEXT, loss REAL, json TEXT NOT NULL);"
    "CREATE TABLE events(id INTEGER PRIMARY KEY, time TEXT, kind TEXT, message TEXT, json TEXT NOT "
    "NULL);"
    "CREATE TABLE samples(step INTEGER, item INTEGER, reward REAL, json TEXT NOT NULL,"
    " PRIMARY KEY(step, item));";

json member(const json& record, const char* key) {
  return record.is_object() && record.contains(key) ? record[key] : json();
}

/// As in the JSON lines: bytes that are no UTF-8 become U+FFFD.
std::string text_of(const json& record) {
  return record.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// A statement that lives for one execution.
class Statement {
 public:
  Statement(sqlite3* db, const char* sql) { sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr); }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(long long value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Statement& bind(const std::string& value) {
    sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                      SQLITE_TRANSIENT);
    return *this;
  }
  /// A JSON text or number as such, everything else as NULL.
  Statement& bind_json(const json& value) {
    if (value.is_string()) return bind(value.get<std::string>());
    if (value.is_number())
      sqlite3_bind_double(statement_, ++bound_, value.get<double>());
    else
      sqlite3_bind_null(statement_, ++bound_);
    return *this;
  }
  bool run() { return statement_ != nullptr && sqlite3_step(statement_) == SQLITE_DONE; }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

}  // namespace

struct Index::Impl {
  sqlite3* db = nullptr;
  std::filesystem::path path;

  ~Impl() { sqlite3_close(db); }
  tl::unexpected<Error> error(const char* action) const {
    return fail(Code::Io, "cannot " + std::string(action) + " " + path.string() + ": " +
                              (db == nullptr ? "out of memory" : sqlite3_errmsg(db)) +
                              " (the index may be deleted; it is rebuilt)");
  }
  Expected<void> execute(const char* sql, const char* action) const {
    if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error(action);
    return {};
  }
};

Index::Index(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Index::~Index() = default;

Expected<std::unique_ptr<Index>> Index::create(const std::filesystem::path& path) {
  std::error_code ignored;  // what cannot be removed cannot be opened either, and is reported then
  for (const char* suffix : {"", "-wal", "-shm", "-journal"})
    std::filesystem::remove(path.string() + suffix, ignored);
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  if (sqlite3_open_v2(path.c_str(), &impl->db, flags, nullptr) != SQLITE_OK)
    return impl->error("open");
  sqlite3_busy_timeout(impl->db, 2000);  // a reader may hold it for a moment
  WEFT_TRY(impl->execute(kTables, "create tables in"));
  return std::unique_ptr<Index>(new Index(std::move(impl)));
}

Expected<void> Index::add_step(const json& record) {
  const json step = member(record, "step");
  const bool added = Statement(impl_->db, "INSERT OR REPLACE INTO steps VALUES(?,?,?,?)")
                         .bind(step.is_number_integer() ? step.get<long long>() : 0)
                         .bind_json(member(record, "stage"))
                         .bind_json(member(record, "loss"))
                         .bind(text_of(record))
                         .run();
  if (!added) return impl_->error("add a step to");
  return {};
}

Expected<void> Index::add_event(const json& record) {
  const bool added =
      Statement(impl_->db, "INSERT INTO events(time, kind, message, json) VALUES(?,?,?,?)")
          .bind_json(member(record, "time"))
          .bind_json(member(record, "kind"))
          .bind_json(member(record, "message"))
          .bind(text_of(record))
          .run();
  if (!added) return impl_->error("add an event to");
  return {};
}

Expected<void> Index::replace_samples(long long step, const std::vector<json>& samples) {
  if (!Statement(impl_->db, "DELETE FROM samples WHERE step=?").bind(step).run())
    return impl_->error("replace samples in");
  long long item = 0;
  for (const json& sample : samples) {
    const json reward = member(sample, sample.contains("score") ? "score" : "reward");
    const bool added = Statement(impl_->db, "INSERT INTO samples VALUES(?,?,?,?)")
                           .bind(step)
                           .bind(item++)
                           .bind_json(reward)
                           .bind(text_of(sample))
                           .run();
    if (!added) return impl_->error("add samples to");
  }
  return {};
}

Expected<void> Index::begin() { return impl_->execute("BEGIN", "begin a transaction in"); }
Expected<void> Index::commit() { return impl_->execute("COMMIT", "commit to"); }

// From the files of a run.

namespace {

/// The step of "120.jsonl"; nothing for other names.
long long step_of(const fs::path& path) {
  const std::string stem = path.stem().string();
  long long step = -1;
  const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), step);
  const bool whole = error == std::errc() && end == stem.data() + stem.size();
  return whole && path.extension() == ".jsonl" ? step : -1;
}

}  // namespace

fs::path sample_file(const RunPaths& paths, long long step) {
  return paths.samples() / (std::to_string(step) + ".jsonl");
}

std::vector<long long> sample_steps(const RunPaths& paths) {
  std::vector<long long> steps;
  std::error_code error;
  for (fs::directory_iterator entry(paths.samples(), error), end; !error && entry != end;
       entry.increment(error))
    if (const long long step = step_of(entry->path()); step >= 0) steps.push_back(step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

Expected<std::unique_ptr<Index>> build_index(const RunPaths& paths) {
  WEFT_TRY_ASSIGN(auto index, Index::create(paths.sqlite()));
  WEFT_TRY(index->begin());
  if (fs::exists(paths.metrics())) {
    WEFT_TRY_ASSIGN(const auto steps, read_json_lines(paths.metrics()));
    for (const json& record : steps) WEFT_TRY(index->add_step(record));
  }
  if (fs::exists(paths.events())) {
    WEFT_TRY_ASSIGN(const auto events, read_json_lines(paths.events()));
    for (const json& record : events) WEFT_TRY(index->add_event(record));
  }
  for (const long long step : sample_steps(paths)) {
    WEFT_TRY_ASSIGN(const auto samples, read_json_lines(sample_file(paths, step)));
    WEFT_TRY(index->replace_samples(step, samples));
  }
  WEFT_TRY(index->commit());
  return index;
}

Expected<void> rebuild_index(const RunPaths& paths) {
  WEFT_TRY(build_index(paths));
  return {};
}

}  // namespace weft::runtime
