#include "runs/run_store.h"

#include <sqlite3.h>

#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/files.h"

namespace fathom {
namespace {

constexpr int kSchemaVersion = 1;
constexpr const char* kSchema = R"(
  CREATE TABLE info(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE metric_name(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
  CREATE TABLE metric(name_id INTEGER NOT NULL, step INTEGER NOT NULL, value REAL, PRIMARY KEY(name_id, step)) WITHOUT ROWID;
  CREATE TABLE sample(step INTEGER NOT NULL, idx INTEGER NOT NULL, prompt TEXT NOT NULL, completion TEXT NOT NULL, reward REAL,
                      reason TEXT NOT NULL, PRIMARY KEY(step, idx)) WITHOUT ROWID;
  CREATE TABLE event(id INTEGER PRIMARY KEY, step INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
  PRAGMA user_version = 1;
)";

struct Database {
  std::string path;
  sqlite3* handle = nullptr;
  std::map<std::string, sqlite3_stmt*> prepared;

  Database() = default;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() {
    for (auto& [sql, statement] : prepared) sqlite3_finalize(statement);
    sqlite3_close(handle);
  }
  [[noreturn]] void refuse(int code, const std::string& doing) const {
    const int kind = code & 0xFF;  // without the extended part
    std::string what = handle ? sqlite3_errmsg(handle) : sqlite3_errstr(code);
    if (kind == SQLITE_FULL) what = "no space left; free some space";
    if (kind == SQLITE_IOERR)
      what += " (" + std::string(std::strerror(sqlite3_system_errno(handle))) + "); is there space left?";
    if (kind == SQLITE_BUSY) what = "another process is writing it; one run has one writer";
    if (kind == SQLITE_READONLY) what += "; is the folder writable?";
    const bool input = kind == SQLITE_NOTADB || kind == SQLITE_CORRUPT || kind == SQLITE_CANTOPEN;
    throw Error(input ? Error::Kind::kUsage : Error::Kind::kFailed, "runs", "cannot " + doing + " '" + path + "': " + what);
  }
  void check(int code, const std::string& doing) const {
    if (code != SQLITE_OK) refuse(code, doing);
  }
  void execute(const char* sql, const std::string& doing) {
    check(sqlite3_exec(handle, sql, nullptr, nullptr, nullptr), doing);
  }
};

// A prepared statement, kept by its text and reset on leaving.
class Statement {
 public:
  Statement(Database& db, const char* sql) : db_(db) {
    sqlite3_stmt*& kept = db.prepared[sql];
    if (!kept) db.check(sqlite3_prepare_v3(db.handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &kept, nullptr), "read");
    statement_ = kept;
  }
  ~Statement() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& bind(int64_t value) { return checked(sqlite3_bind_int64(statement_, ++bound_, value)); }
  Statement& bind(double value) { return checked(sqlite3_bind_double(statement_, ++bound_, value)); }  // NaN becomes NULL
  Statement& bind(const std::string& value) {
    return checked(sqlite3_bind_text64(statement_, ++bound_, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  }
  bool step() {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) db_.refuse(code, sqlite3_stmt_readonly(statement_) ? "read" : "write");
    return false;
  }
  void run() {
    while (step()) {
    }
  }
  int64_t integer(int column) { return sqlite3_column_int64(statement_, column); }
  double real(int column) {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL ? std::numeric_limits<double>::quiet_NaN()
                                                                  : sqlite3_column_double(statement_, column);
  }
  std::string text(int column) {
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return data ? std::string(data, static_cast<size_t>(sqlite3_column_bytes(statement_, column))) : "";
  }

 private:
  Statement& checked(int code) {
    db_.check(code, "write");
    return *this;
  }
  Database& db_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

int64_t schema_version(Database& db) {
  Statement query(db, "PRAGMA user_version");
  return query.step() ? query.integer(0) : 0;
}
void check_version(Database& db) {
  if (const int64_t version = schema_version(db); version != kSchemaVersion)
    fail_usage("runs", "'" + db.path + "' is no run store of version " + std::to_string(kSchemaVersion) + " (it says " +
                           std::to_string(version) + ")");
}

}  // namespace

struct RunStore::Impl {
  Database db;
  int depth = 0;  // open transactions
};

RunStore::RunStore() : impl_(std::make_unique<Impl>()) {}
RunStore::RunStore(RunStore&&) noexcept = default;
RunStore::~RunStore() = default;

RunStore RunStore::open(const std::string& path) {
  RunStore store;
  Database& db = store.impl_->db;
  db.path = path;
  db.check(
      sqlite3_open_v2(path.c_str(), &db.handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE, nullptr),
      "open");
  sqlite3_busy_timeout(db.handle, 5000);
  // NORMAL: a killed process loses nothing that was committed; sync() guards against a power cut.
  db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", "open");
  store.transaction([&] {
    bool empty = false;
    {
      Statement tables(db, "SELECT count(*) FROM sqlite_master");
      empty = tables.step() && tables.integer(0) == 0;
    }
    if (empty) db.execute(kSchema, "write");
  });
  check_version(db);
  return store;
}

RunStore RunStore::open_read_only(const std::string& path) {
  if (!file_exists(path)) fail_usage("runs", "'" + path + "' does not exist; give a run folder that `fathom train` wrote");
  RunStore store;
  Database& db = store.impl_->db;
  db.path = path;
  db.check(sqlite3_open_v2(path.c_str(), &db.handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_EXRESCODE, nullptr), "open");
  sqlite3_busy_timeout(db.handle, 5000);
  check_version(db);
  return store;
}

void RunStore::transaction(const std::function<void()>& body) {
  Impl& impl = *impl_;
  if (impl.depth > 0) return body();
  // IMMEDIATE: a second writer is told at the start, not in the middle.
  impl.db.execute("BEGIN IMMEDIATE", "write");
  ++impl.depth;
  try {
    body();
    --impl.depth;
    impl.db.execute("COMMIT", "write");
  } catch (...) {
    impl.depth = 0;
    sqlite3_exec(impl.db.handle, "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

void RunStore::set_info(const std::string& key, const std::string& value) {
  transaction([&] { Statement(impl_->db, "INSERT OR REPLACE INTO info VALUES(?, ?)").bind(key).bind(value).run(); });
}
void RunStore::add_metrics(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  transaction([&] {
    for (const auto& [name, value] : values) {
      Statement(impl_->db, "INSERT OR IGNORE INTO metric_name(name) VALUES(?)").bind(name).run();
      Statement(impl_->db, "INSERT OR REPLACE INTO metric SELECT id, ?, ? FROM metric_name WHERE name = ?")
          .bind(step)
          .bind(value)
          .bind(name)
          .run();
    }
  });
}
void RunStore::add_sample(int64_t step, int64_t index, const std::string& prompt, const std::string& completion, double reward,
                          const std::string& reason) {
  transaction([&] {
    Statement(impl_->db, "INSERT OR REPLACE INTO sample VALUES(?, ?, ?, ?, ?, ?)")
        .bind(step)
        .bind(index)
        .bind(prompt)
        .bind(completion)
        .bind(reward)
        .bind(reason)
        .run();
  });
}
void RunStore::add_event(int64_t step, const std::string& kind, const std::string& text) {
  transaction([&] {
    Statement(impl_->db, "INSERT INTO event(step, kind, text) VALUES(?, ?, ?)").bind(step).bind(kind).bind(text).run();
  });
}
void RunStore::truncate_after(int64_t step) {
  transaction([&] {
    for (const char* sql :
         {"DELETE FROM metric WHERE step > ?", "DELETE FROM sample WHERE step > ?", "DELETE FROM event WHERE step > ?"})
      Statement(impl_->db, sql).bind(step).run();
    Statement(impl_->db, "DELETE FROM metric_name WHERE id NOT IN (SELECT name_id FROM metric)").run();
  });
}
void RunStore::sync() {
  // FULL syncs the log, then the database; readers may keep a part of the log from being moved, which is no error.
  impl_->db.execute("PRAGMA wal_checkpoint(FULL)", "write");
}

std::map<std::string, std::string> RunStore::info() const {
  std::map<std::string, std::string> all;
  Statement query(impl_->db, "SELECT key, value FROM info");
  while (query.step()) all[query.text(0)] = query.text(1);
  return all;
}
std::vector<std::string> RunStore::metric_names() const {
  std::vector<std::string> names;
  Statement query(impl_->db, "SELECT name FROM metric_name ORDER BY id");
  while (query.step()) names.push_back(query.text(0));
  return names;
}
std::vector<RunStore::Point> RunStore::metric(const std::string& name) const {
  std::vector<Point> points;
  Statement query(impl_->db, "SELECT step, value FROM metric JOIN metric_name ON id = name_id WHERE name = ? ORDER BY step");
  query.bind(name);
  while (query.step()) points.push_back({query.integer(0), query.real(1)});
  return points;
}
std::vector<RunStore::Sample> RunStore::samples(int64_t step) const {
  std::vector<Sample> samples;
  Statement query(
      impl_->db,
      "SELECT step, idx, prompt, completion, reward, reason FROM sample WHERE ?1 < 0 OR step = ?1 ORDER BY step, idx");
  query.bind(step);
  while (query.step())
    samples.push_back({query.integer(0), query.integer(1), query.text(2), query.text(3), query.real(4), query.text(5)});
  return samples;
}
std::vector<RunStore::Event> RunStore::events() const {
  std::vector<Event> events;
  Statement query(impl_->db, "SELECT step, kind, text FROM event ORDER BY id");
  while (query.step()) events.push_back({query.integer(0), query.text(1), query.text(2)});
  return events;
}

}  // namespace fathom
