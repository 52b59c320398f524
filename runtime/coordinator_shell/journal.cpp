#include "runtime/coordinator_shell/journal.h"

#include <sqlite3.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/control/whole_number.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr int kBusyMilliseconds = 2000;  // a reader holds its lock for an instant

struct Database {
  sqlite3* handle = nullptr;
  ~Database() { sqlite3_close(handle); }
  std::string message() const { return sqlite3_errmsg(handle); }
  /// As any other file that could not be written: with the kernel's reason and what to do.
  tl::unexpected<Error> write_error(const fs::path& path) const {
    const int code = sqlite3_errcode(handle) & 0xff;
    const int reason = code == SQLITE_FULL       ? ENOSPC
                       : code == SQLITE_READONLY ? EROFS
                                                 : sqlite3_system_errno(handle);
    if (reason == 0) return fail(Code::Io, "cannot write " + path.string() + ": " + message());
    const Error error = io_error("write", path, reason).value();
    return fail(Code::Io, error.message);
  }
};

struct Statement {
  sqlite3_stmt* handle = nullptr;
  ~Statement() { sqlite3_finalize(handle); }
  void bind(int at, const std::string& text) const {
    sqlite3_bind_text(handle, at, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  }
  std::string text(int column) const {
    const auto* found = reinterpret_cast<const char*>(sqlite3_column_text(handle, column));
    return found == nullptr
               ? ""
               : std::string(found, static_cast<std::size_t>(sqlite3_column_bytes(handle, column)));
  }
};

std::string positions_text(const JournalEntry& entry) {
  json stored = json::array();
  for (const auto& [of, next] : entry.stored) stored.push_back({of.first, of.second, next});
  return json{{"stored", stored}, {"metrics", entry.files.metrics}, {"events", entry.files.events}}
      .dump();
}

Expected<void> take_positions(const std::string& text, JournalEntry& entry) {
  const json given = json::parse(text, nullptr, false);
  try {
    entry.files.metrics = whole<std::uint64_t>(given.at("metrics"));
    entry.files.events = whole<std::uint64_t>(given.at("events"));
    for (const json& one : given.at("stored"))
      entry.stored[{whole(one.at(0)), whole<int>(one.at(1))}] = whole(one.at(2));
  } catch (const json::exception& error) {
    return fail(Code::Corrupt, std::string("positions that cannot be read: ") + error.what());
  }
  return {};
}

}  // namespace

struct Journal::Impl {
  fs::path path;
  Database database;

  Expected<void> run(const char* sql) {
    if (sqlite3_exec(database.handle, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
    return database.write_error(path);
  }
  Expected<void> put(const char* sql, const std::string& one, const std::string& two) {
    Statement statement;
    bool good =
        sqlite3_prepare_v2(database.handle, sql, -1, &statement.handle, nullptr) == SQLITE_OK;
    if (good) {
      statement.bind(1, one);
      statement.bind(2, two);
      good = sqlite3_step(statement.handle) == SQLITE_DONE;
    }
    if (good) return {};
    return database.write_error(path);
  }
};

Journal::Journal(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Journal::~Journal() = default;

Expected<std::unique_ptr<Journal>> Journal::create(const fs::path& path,
                                                   const JournalEntry& first) {
  std::error_code error;
  if (fs::exists(path, error))
    return fail(Code::Busy, path.string() + " is there already: another coordinator leads");
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  if (sqlite3_open_v2(path.c_str(), &impl->database.handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr) != SQLITE_OK)
    return fail(Code::Io, "cannot create " + path.string() + ": " + impl->database.message());
  sqlite3_busy_timeout(impl->database.handle, kBusyMilliseconds);
  // What a killed process handed to the kernel is safe; only a power cut could take it back.
  WEFT_TRY(impl->run("PRAGMA journal_mode = PERSIST; PRAGMA synchronous = OFF;"));
  WEFT_TRY(impl->run(("PRAGMA user_version = " + std::to_string(kJournalFileVersion)).c_str()));
  WEFT_TRY(
      impl->run("CREATE TABLE entry (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT, "
                "positions TEXT); CREATE TABLE history (id INTEGER PRIMARY KEY, "
                "time TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), what TEXT)"));
  std::unique_ptr<Journal> journal(new Journal(std::move(impl)));
  WEFT_TRY(journal->save(first, "this coordinator leads"));
  return journal;
}

Expected<void> Journal::save(const JournalEntry& entry, const std::string& what) {
  WEFT_TRY(impl_->run("BEGIN IMMEDIATE"));
  const auto written = [&]() -> Expected<void> {
    WEFT_TRY(impl_->put("INSERT OR REPLACE INTO entry VALUES (1, ?, ?)", entry.state,
                        positions_text(entry)));
    if (!what.empty()) WEFT_TRY(impl_->put("INSERT INTO history (what) VALUES (? || ?)", what, ""));
    return impl_->run("COMMIT");
  }();
  if (!written) (void)impl_->run("ROLLBACK");
  return written;
}

Expected<void> Journal::save_positions(const JournalEntry& entry) {
  return impl_->put("UPDATE entry SET positions = ? || ?", positions_text(entry), "");
}

Expected<std::optional<JournalEntry>> read_journal(const fs::path& path) {
  std::error_code exists;
  if (!fs::exists(path, exists)) return std::nullopt;
  const auto corrupt = [&](const std::string& why) {
    return fail(Code::Corrupt, "the journal " + path.string() + " cannot be read: " + why);
  };
  Database database;
  // Read-write: a transaction that was cut off by its writer's death is undone first.
  if (sqlite3_open_v2(path.c_str(), &database.handle, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK)
    return corrupt(database.message());
  sqlite3_busy_timeout(database.handle, kBusyMilliseconds);
  Statement version;
  if (sqlite3_prepare_v2(database.handle, "PRAGMA user_version", -1, &version.handle, nullptr) !=
          SQLITE_OK ||
      sqlite3_step(version.handle) != SQLITE_ROW)
    return corrupt(database.message());
  const int written = sqlite3_column_int(version.handle, 0);
  if (written > kJournalFileVersion)
    return fail(Code::Unsupported, "the journal " + path.string() + " is of version " +
                                       std::to_string(written) + ", this weft reads up to " +
                                       std::to_string(kJournalFileVersion) +
                                       "; go on with the weft that wrote it");
  Statement select;
  if (sqlite3_prepare_v2(database.handle, "SELECT state, positions FROM entry", -1, &select.handle,
                         nullptr) != SQLITE_OK)
    return written == 0 ? Expected<std::optional<JournalEntry>>(std::nullopt)
                        : corrupt(database.message());
  const int row = sqlite3_step(select.handle);
  if (row == SQLITE_DONE) return std::nullopt;
  if (row != SQLITE_ROW) return corrupt(database.message());
  JournalEntry entry;
  entry.state = select.text(0);
  if (const auto taken = take_positions(select.text(1), entry); !taken)
    return corrupt(taken.error().message);
  return entry;
}

}  // namespace weft::runtime
