/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_db.h"

#include <errno.h>
#include <inttypes.h>

#include "base/buf.h"
#include "store/history.h"

/* As queries have it: HISTORY_UNOWNED for NULL. */
#define OWNER "ifnull(owner, -2)"

/* Schema changes, oldest first: the n-th takes version n - 1 to n. */
static const char *const migrations[] = {
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE subject (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  philosophy INTEGER, labels BLOB);"
    "CREATE TABLE tenure (id INTEGER PRIMARY KEY, subject INTEGER NOT NULL,"
    "  slot INTEGER NOT NULL, from_ms INTEGER NOT NULL, to_ms INTEGER);"
    "CREATE INDEX tenure_subject ON tenure (subject, from_ms);"
    "CREATE INDEX tenure_to ON tenure (to_ms);"
    "CREATE TABLE frame (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);"
    "CREATE TABLE part (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL);"
    "CREATE TABLE chunk (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE merged (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE minute (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE hour (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE day (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE top (id INTEGER PRIMARY KEY, data BLOB NOT NULL);",

    /* A name may have belonged to several users, one after the other. */
    "CREATE TABLE former (id INTEGER PRIMARY KEY, name, philosophy, labels);"
    "INSERT INTO former SELECT id, name, philosophy, labels FROM subject;"
    "DROP TABLE subject;"
    "CREATE TABLE subject (id INTEGER PRIMARY KEY, name TEXT NOT NULL,"
    "  philosophy INTEGER, labels BLOB, owner INTEGER);"
    "INSERT INTO subject SELECT id, name, philosophy, labels, NULL FROM former;"
    "DROP TABLE former;"
    "CREATE UNIQUE INDEX subject_name ON subject (name, " OWNER ");",
};
#define SCHEMA_VERSION ((int)ARRAY_SIZE(migrations))

/* Many rows with one statement cost half of what they cost one by one. */
#define FOUR(row) row ", " row ", " row ", " row
#define MANY(row) FOUR(FOUR(FOUR(row)))
_Static_assert(HIST_MANY == 64, "as many as in MANY");

#define SUBJECT_ROW "(?, ?, ?, ?, ?)"
#define TENURE_ROW  "(?, ?, ?, ?)"
#define PUT_SUBJECT "INSERT INTO subject (id, name, philosophy, labels, owner) VALUES "
#define OR_DESCRIBE                                                                                \
    " ON CONFLICT (id) DO UPDATE SET philosophy = excluded.philosophy, labels = excluded.labels"
#define PUT_TENURE "INSERT INTO tenure (id, subject, slot, from_ms) VALUES "

/* Whether a subject is what a question about @owner is about. The machine is everybody's. */
#define BELONGS(owner) "(" owner " = -1 OR name = '' OR " OWNER " = " owner ")"
_Static_assert(HISTORY_ANYBODY == -1 && HISTORY_UNOWNED == -2, "as in the statements");

static const char *const sql[HIST_SQL_COUNT] = {
    [HIST_BEGIN] = "BEGIN IMMEDIATE",
    [HIST_BEGIN_READ] = "BEGIN",
    [HIST_COMMIT] = "COMMIT",
    [HIST_ROLLBACK] = "ROLLBACK",
    [HIST_SUBJECT_PUT] = PUT_SUBJECT SUBJECT_ROW OR_DESCRIBE,
    [HIST_SUBJECT_PUT_MANY] = PUT_SUBJECT MANY(SUBJECT_ROW) OR_DESCRIBE,
    [HIST_SUBJECT_FIND] = "SELECT id FROM subject WHERE name = ? AND " OWNER " = ?",
    [HIST_SUBJECT_NAMED] =
        "SELECT id, " OWNER " FROM subject WHERE name = ?1 AND " BELONGS("?2") " ORDER BY id",
    [HIST_SUBJECT_NAME] = "SELECT name, philosophy, labels, owner FROM subject WHERE id = ?",
    [HIST_SUBJECT_SPAN] =
        "SELECT name, philosophy, labels, owner FROM subject WHERE id IN (SELECT "
        "subject FROM tenure WHERE from_ms < ?1 AND"
        " (to_ms IS NULL OR to_ms >= ?2)) AND " BELONGS("?4") " ORDER BY name, id LIMIT ?3",
    [HIST_SUBJECT_TRIM] = "DELETE FROM subject WHERE id NOT IN (SELECT subject FROM tenure)",
    [HIST_TENURE_PUT] = PUT_TENURE TENURE_ROW,
    [HIST_TENURE_PUT_MANY] = PUT_TENURE MANY(TENURE_ROW),
    [HIST_TENURE_END] = "UPDATE tenure SET to_ms = ? WHERE id = ?",
    [HIST_TENURE_OPEN] =
        "SELECT tenure.id, subject, slot, from_ms, name, philosophy, labels, owner FROM tenure"
        " JOIN subject ON subject.id = tenure.subject WHERE to_ms IS NULL",
    [HIST_TENURE_OF] =
        "SELECT slot, from_ms, to_ms FROM tenure WHERE subject = ? AND from_ms < ? AND"
        " (to_ms IS NULL OR to_ms >= ?) ORDER BY from_ms",
    [HIST_TENURE_ENDED] =
        "SELECT subject, slot, from_ms, to_ms FROM tenure WHERE to_ms >= ? AND from_ms < ?",
    [HIST_TENURE_TRIM] = "DELETE FROM tenure WHERE to_ms < ?",
    [HIST_TENURE_EACH] = "SELECT t.id, t.slot, t.from_ms, t.to_ms, t.subject, s.id FROM tenure t"
                         " LEFT JOIN subject s ON s.id = t.subject ORDER BY t.slot, t.from_ms",
    [HIST_FRAME_PUT] = "INSERT OR REPLACE INTO frame VALUES (?, ?)",
    [HIST_FRAME_EACH] = "SELECT seq, data FROM frame ORDER BY seq",
    [HIST_FRAME_NEWEST] = "SELECT data FROM frame ORDER BY seq DESC",
    [HIST_FRAME_TRIM] = "DELETE FROM frame WHERE seq < ?",
    [HIST_PART_PUT] = "INSERT OR REPLACE INTO part VALUES (?, ?)",
    [HIST_PART_EACH] = "SELECT id, seq FROM part",
    [HIST_TOP_PUT] = "INSERT OR REPLACE INTO top VALUES (?, ?)",
    [HIST_TOP_GET] = "SELECT data FROM top WHERE id = ?",
    [HIST_TOP_TRIM] = "DELETE FROM top WHERE id >= ? AND id < ?",
    [HIST_TOP_EACH] = "SELECT id, data FROM top ORDER BY id",
    [HIST_TOP_SPAN] = "SELECT min(id), max(id) FROM top WHERE id >= ? AND id < ?",
    [HIST_DAY_END] = "SELECT max(end_ms) FROM day WHERE id >= ? AND id < ?",
    [HIST_HOURS] = "SELECT count(DISTINCT end_ms) FROM hour WHERE id >= ? AND id < ?",
    [HIST_META_PUT] = "INSERT OR REPLACE INTO meta VALUES ('number_' || ?, ?)",
    [HIST_META_GET] = "SELECT value FROM meta WHERE name = 'number_' || ?",
};

static const char *const series_names[SERIES_COUNT] = {"chunk", "merged", "minute", "hour", "day"};

/* %s is the table. */
static const char *const series_sql[SERIES_SQL_COUNT] = {
    [SERIES_PUT] = "INSERT INTO %s VALUES (?, ?, ?)",
    [SERIES_GET] = "SELECT id, end_ms, data FROM %s WHERE id >= ? AND id < ? AND end_ms >= ?"
                   " ORDER BY id",
    [SERIES_AFTER] = "SELECT id, end_ms, data FROM %s WHERE id >= ? AND id < ? ORDER BY id",
    [SERIES_DROP] = "DELETE FROM %s WHERE id = ?",
    [SERIES_EXPIRE] = "DELETE FROM %1$s WHERE id IN (SELECT id FROM %1$s WHERE id >= ? AND id < ?"
                      " AND end_ms < ? LIMIT 64)",
    [SERIES_COUNTS] = "SELECT id >> 42, count(*) FROM %s GROUP BY id >> 42",
    [SERIES_OLDEST] = "SELECT id & ((1 << 42) - 1) FROM %s WHERE id >= ? AND id < ? ORDER BY id"
                      " LIMIT 1",
    [SERIES_EACH] = "SELECT id, end_ms, data FROM %s ORDER BY id",
};

/* ---- Opening ------------------------------------------------------------------------------ */

static int get_pragma(
    struct hist_db *db, const char *pragma, int64_t *ret_value, struct ac_error *error)
{
    sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&db->connection, pragma, &statement, error);
    if (r == 0)
        r = hist_get_int(db, statement, ret_value, error);
    sqlite3_finalize(statement);
    return r < 0 ? r : 0;
}

static int migrate(struct hist_db *db, struct ac_error *error)
{
    int64_t version = 0;
    int r = get_pragma(db, "PRAGMA user_version", &version, error);
    if (r < 0 || version == SCHEMA_VERSION)
        return r;
    if (version > SCHEMA_VERSION)
        return error_set(error, -EPROTONOSUPPORT,
            "%s: made by a newer version (schema %" PRId64 ", this one knows up to %d); "
            "update, or move it aside",
            db->connection.path, version, SCHEMA_VERSION);
    r = sql_exec(&db->connection, "BEGIN IMMEDIATE", error);
    for (int64_t v = MAX(version, (int64_t)0); r == 0 && v < SCHEMA_VERSION; v++)
        r = sql_exec(&db->connection, migrations[v], error);
    if (r == 0) {
        struct buf text CLEANUP(buf_done) = {0};
        buf_printf(&text, "PRAGMA user_version = %d; PRAGMA application_id = %d; COMMIT",
            SCHEMA_VERSION, HIST_APPLICATION_ID);
        r = text.failed ? -ENOMEM : sql_exec(&db->connection, text.data, error);
    }
    if (r < 0)
        sqlite3_exec(db->connection.db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

static int set_up(struct hist_db *db, bool read_only, bool full_sync, struct ac_error *error)
{
    static const char common[] = "PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;"
                                 "PRAGMA cache_size = -4096; PRAGMA cell_size_check = ON;";
    int r = sql_exec(&db->connection, common, error);
    if (r < 0 || read_only)
        return r;
    r = sql_exec(&db->connection,
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;"
        "PRAGMA journal_size_limit = 16777216;",
        error);
    if (r == 0)
        r = sql_exec(&db->connection,
            full_sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", error);
    if (r == 0)
        r = migrate(db, error);
    sqlite3_stmt *rollback; /* must be at hand where memory has run out */
    if (r == 0)
        r = hist_sql(db, HIST_ROLLBACK, &rollback, error);
    return r == 0 ? hist_db_spans(db, error) : r;
}

int hist_db_open(int dir_fd, const char *path, const char *vfs, bool read_only, bool full_sync,
    struct hist_db *ret_db, struct ac_error *error)
{
    struct hist_db db = {.connection = {.dir_fd = -1, .lock_fd = -1}};
    int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    db.connection.path = mem_strdup(path);
    if (db.connection.path == NULL)
        return error_set(error, -ENOMEM, "no memory");
    int r = read_only ? 0 : sql_make(dir_fd, HIST_FILE);
    if (r == -EROFS || r == -EACCES) /* it may be there to be read */
        r = 0;
    r = r < 0 ? error_errno(error, r, "%s", path)
              : sql_open(&db.connection, dir_fd, HIST_FILE, flags, vfs, error);
    if (r == 0) {
        sqlite3_busy_timeout(db.connection.db, 2000);
        r = set_up(&db, read_only, full_sync, error);
    }
    if (r < 0) {
        hist_db_close(&db);
        return r;
    }
    *ret_db = db;
    return 0;
}

void hist_db_close(struct hist_db *db)
{
    sql_finalize(db->statements, HIST_SQL_COUNT);
    sql_finalize(&db->series[0][0], SERIES_COUNT * SERIES_SQL_COUNT);
    sqlite3_close(db->connection.db);
    mem_free(db->connection.path);
    *db = (struct hist_db){0};
}

/* ---- Statements --------------------------------------------------------------------------- */

int hist_sql(
    struct hist_db *db, enum hist_sql which, sqlite3_stmt **ret_statement, struct ac_error *error)
{
    int r = sql_prepare(&db->connection, sql[which], &db->statements[which], error);
    if (r == 0)
        *ret_statement = db->statements[which];
    return r;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats are the table above */
static int format_series(struct buf *text, enum hist_series series, enum hist_series_sql which)
{
    return buf_printf(text, series_sql[which], series_names[series]);
}
#pragma GCC diagnostic pop

int hist_series_sql(struct hist_db *db, enum hist_series series, enum hist_series_sql which,
    sqlite3_stmt **ret_statement, struct ac_error *error)
{
    sqlite3_stmt **cache = &db->series[series][which];
    if (*cache == NULL) {
        struct buf text CLEANUP(buf_done) = {0};
        if (format_series(&text, series, which) < 0)
            return error_set(error, -ENOMEM, "no memory");
        int r = sql_prepare(&db->connection, text.data, cache, error);
        if (r < 0)
            return r;
    }
    *ret_statement = *cache;
    return 0;
}

static int bind_numbers(struct hist_db *db, sqlite3_stmt *statement, const int64_t *numbers,
    size_t n, struct ac_error *error)
{
    struct binder binder = {.statement = statement};
    for (size_t i = 0; i < n; i++)
        bind_int(&binder, numbers[i]);
    return sql_bound(&db->connection, &binder, error);
}

int hist_run(struct hist_db *db, enum hist_sql which, const int64_t *numbers, size_t n,
    struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(db, which, &statement, error);
    if (r == 0)
        r = bind_numbers(db, statement, numbers, n, error);
    return r < 0 ? r : sql_run(&db->connection, statement, "writing history", error);
}

int hist_get_int(
    struct hist_db *db, sqlite3_stmt *statement, int64_t *ret_value, struct ac_error *error)
{
    int r = sql_step(&db->connection, statement, "reading history", error);
    if (r == 1 && sqlite3_column_type(statement, 0) != SQLITE_NULL)
        *ret_value = sqlite3_column_int64(statement, 0);
    else if (r == 1)
        r = 0;
    return r;
}

int hist_db_size(struct hist_db *db, uint64_t *ret_bytes, struct ac_error *error)
{
    int64_t pages = 0;
    int64_t unused = 0;
    int64_t size = 0;
    int r = get_pragma(db, "PRAGMA page_count", &pages, error);
    if (r == 0)
        r = get_pragma(db, "PRAGMA freelist_count", &unused, error);
    if (r == 0)
        r = get_pragma(db, "PRAGMA page_size", &size, error);
    if (r == 0)
        *ret_bytes = (uint64_t)((pages - unused) * size);
    return r;
}

int hist_query_int(struct hist_db *db, enum hist_sql which, const int64_t *numbers, size_t n,
    int64_t *ret_value, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(db, which, &statement, error);
    if (r == 0)
        r = bind_numbers(db, statement, numbers, n, error);
    return r < 0 ? r : hist_get_int(db, statement, ret_value, error);
}

/* ---- Series ------------------------------------------------------------------------------- */

int64_t hist_row_id(uint32_t group, int64_t start_ms)
{
    int64_t last = ((int64_t)1 << HIST_TIME_BITS) - 1;
    int64_t start = start_ms < 0 ? 0 : MIN(start_ms, last);
    return (int64_t)group << HIST_TIME_BITS | start;
}

/* Queries look for rows that start up to this much before their span. */
static int note_span(
    struct hist_db *db, enum hist_series series, int64_t span_ms, struct ac_error *error)
{
    if (span_ms <= db->span_ms[series])
        return 0;
    const int64_t numbers[] = {series, span_ms + span_ms / 4};
    int r = hist_run(db, HIST_META_PUT, numbers, ARRAY_SIZE(numbers), error);
    if (r == 0)
        db->span_ms[series] = numbers[1];
    return r;
}

int hist_db_spans(struct hist_db *db, struct ac_error *error)
{
    int r = 0;
    for (int64_t series = 0; series < SERIES_COUNT && r >= 0; series++)
        r = hist_query_int(db, HIST_META_GET, &series, 1, &db->span_ms[series], error);
    const int64_t which = HIST_META_WENT_BACK;
    if (r >= 0)
        r = hist_query_int(db, HIST_META_GET, &which, 1, &db->went_back_ms, error);
    return r < 0 ? r : 0;
}

int hist_series_oldest(struct hist_db *db, enum hist_series series, uint32_t group,
    int64_t *ret_start_ms, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_series_sql(db, series, SERIES_OLDEST, &statement, error);
    const int64_t numbers[] = {hist_row_id(group, 0), hist_row_id(group + 1, 0)};
    if (r == 0)
        r = bind_numbers(db, statement, numbers, ARRAY_SIZE(numbers), error);
    return r < 0 ? r : hist_get_int(db, statement, ret_start_ms, error);
}

int hist_series_put(struct hist_db *db, enum hist_series series, uint32_t group, int64_t start_ms,
    int64_t end_ms, const void *bytes, size_t size, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = note_span(db, series, end_ms - start_ms, error);
    if (r == 0)
        r = hist_series_sql(db, series, SERIES_PUT, &statement, error);
    if (r < 0)
        return r;
    /* A clock that went back may want the id of an older row: the next free one does as well. */
    for (int64_t id = hist_row_id(group, start_ms);; id++) {
        struct binder binder = {.statement = statement};
        bind_int(&binder, id);
        bind_int(&binder, end_ms);
        bind_bytes(&binder, bytes, size);
        r = sql_bound(&db->connection, &binder, error);
        if (r < 0)
            return r;
        int code = sqlite3_step(statement);
        if (code == SQLITE_DONE)
            return 0;
        if ((code & 0xff) != SQLITE_CONSTRAINT)
            return sql_fail(&db->connection, code, "writing history", error);
        sqlite3_reset(statement);
    }
}

int hist_series_drop(
    struct hist_db *db, enum hist_series series, int64_t id, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_series_sql(db, series, SERIES_DROP, &statement, error);
    if (r == 0)
        r = bind_numbers(db, statement, &id, 1, error);
    return r < 0 ? r : sql_run(&db->connection, statement, "writing history", error);
}

int hist_series_expire(struct hist_db *db, enum hist_series series, uint32_t group,
    int64_t before_ms, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_series_sql(db, series, SERIES_EXPIRE, &statement, error);
    const int64_t numbers[] = {hist_row_id(group, 0), hist_row_id(group, before_ms), before_ms};
    if (r == 0)
        r = bind_numbers(db, statement, numbers, ARRAY_SIZE(numbers), error);
    return r < 0 ? r : sql_run(&db->connection, statement, "trimming history", error);
}

int hist_series_each(struct hist_db *db, enum hist_series series, uint32_t group, int64_t from_ms,
    int64_t to_ms, hist_row_fn each, void *userdata, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_series_sql(db, series, SERIES_GET, &statement, error);
    int64_t first = MAX(from_ms, db->span_ms[series]) - db->span_ms[series];
    const int64_t numbers[] = {hist_row_id(group, first), hist_row_id(group, to_ms), from_ms};
    if (r == 0)
        r = bind_numbers(db, statement, numbers, ARRAY_SIZE(numbers), error);
    while (r == 0) {
        r = sql_step(&db->connection, statement, "reading history", error);
        if (r != 1)
            return r;
        r = each(userdata, sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1),
            sqlite3_column_blob(statement, 2), (size_t)sqlite3_column_bytes(statement, 2));
    }
    return r;
}
