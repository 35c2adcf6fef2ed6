/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain form: the current minute in memory, one row per subject for each minute that ended.
 *
 * All rows of a minute are one transaction, and with it goes a slice of the rows that are too
 * old. A minute that has a row already (the daemon was restarted within it, or the clock went
 * back) is merged with it. What a crash loses is the minute that had not ended.
 */
#include "store/history.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "store/history_internal.h"

/* Subjects of one minute; further ones are left out of it. */
enum { ENTRIES_MAX = 200000, TRIM_ROWS_MIN = 500 };

#define MINUTE_VALUES                                                                              \
    "?,?,?,?, ?,?,?,?, ?,?,?,?, ?,?,?,?, ?,?,?,?, ?,?,?,?, ?,?,?,?" /* 7 fields                    \
                                                                     */

static const char *const statements[HISTORY_SQL_COUNT] = {
    [HISTORY_SQL_FIND_SUBJECT] =
        "SELECT id, first_minute, last_minute FROM history_subject WHERE name = ?",
    [HISTORY_SQL_ADD_SUBJECT] =
        "INSERT INTO history_subject (name, first_minute, last_minute) VALUES (?1, ?2, ?2)",
    [HISTORY_SQL_SPAN_SUBJECT] =
        "UPDATE history_subject SET first_minute = ?, last_minute = ? WHERE id = ?",
    [HISTORY_SQL_PUT_MINUTE] =
        "INSERT OR REPLACE INTO history_minute VALUES (?, ?, ?, " MINUTE_VALUES ")",
    [HISTORY_SQL_GET_MINUTE] = "SELECT * FROM history_minute WHERE minute = ? AND subject = ?",
    [HISTORY_SQL_TRIM_MINUTES] =
        "DELETE FROM history_minute WHERE (minute, subject) IN (SELECT minute, subject FROM "
        "history_minute WHERE minute < ? ORDER BY minute, subject LIMIT ?)",
    [HISTORY_SQL_TRIM_SUBJECTS] = "DELETE FROM history_subject WHERE last_minute < (SELECT "
                                  "min(minute) FROM history_minute)",
    [HISTORY_SQL_SUBJECTS] = "SELECT name FROM history_subject WHERE last_minute >= ? AND "
                             "first_minute < ? ORDER BY name LIMIT ?",
};

int history_sql(struct history *history, enum history_sql which, sqlite3_stmt **ret_statement,
    struct ac_error *error)
{
    int r = sql_prepare(history->store, statements[which], &history->statements[which], error);
    if (r == 0)
        *ret_statement = history->statements[which];
    return r;
}

/* ---- Rows --------------------------------------------------------------------------------- */

int history_find_subject(struct history *history, const char *name, int64_t *ret_id,
    int64_t *ret_first, int64_t *ret_last, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = history_sql(history, HISTORY_SQL_FIND_SUBJECT, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, name);
    r = sql_bound(history->store, &binder, error);
    if (r == 0)
        r = sql_step(history->store, statement, "reading history", error);
    if (r != 1)
        return r;
    struct reader reader = {.statement = statement};
    *ret_id = read_int(&reader);
    *ret_first = read_int(&reader);
    *ret_last = read_int(&reader);
    return 1;
}

int history_get_minute(struct history *history, int64_t id, int64_t minute, struct fold *ret_fold,
    struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = history_sql(history, HISTORY_SQL_GET_MINUTE, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_int(&binder, minute);
    bind_int(&binder, id);
    r = sql_bound(history->store, &binder, error);
    if (r == 0)
        r = sql_step(history->store, statement, "reading history", error);
    if (r != 1)
        return r;
    struct reader reader = {.statement = statement, .next = 2};
    fold_read(&reader, ret_fold);
    if (reader.damaged)
        return error_set(error, -EUCLEAN,
            "%s: damaged (a row of history_minute); move it aside to start anew",
            history->store->path);
    return 1;
}

/* Runs a statement whose parameters are all integers, after an optional text. */
static int run(struct history *history, enum history_sql which, const char *text,
    const int64_t *numbers, size_t n_numbers, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = history_sql(history, which, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    if (text)
        bind_text(&binder, text);
    for (size_t i = 0; i < n_numbers; i++)
        bind_int(&binder, numbers[i]);
    r = sql_bound(history->store, &binder, error);
    return r < 0 ? r : sql_run(history->store, statement, "writing history", error);
}

/* Makes sure that the subject has a row whose span holds the current minute. */
static int note_subject(
    struct history *history, struct history_entry *entry, struct ac_error *error)
{
    int64_t minute = history->minute;
    int r = 0;
    if (entry->id == 0)
        r = history_find_subject(
            history, entry->name, &entry->id, &entry->first_minute, &entry->last_minute, error);
    if (r < 0)
        return r;
    if (entry->id == 0) {
        r = run(history, HISTORY_SQL_ADD_SUBJECT, entry->name, &minute, 1, error);
        if (r < 0)
            return r;
        entry->id = sqlite3_last_insert_rowid(history->store->db);
        entry->first_minute = entry->last_minute = minute;
        return 0;
    }
    if (minute >= entry->first_minute && minute <= entry->last_minute)
        return 0;
    entry->first_minute = MIN(entry->first_minute, minute);
    entry->last_minute = MAX(entry->last_minute, minute);
    const int64_t numbers[] = {entry->first_minute, entry->last_minute, entry->id};
    return run(history, HISTORY_SQL_SPAN_SUBJECT, NULL, numbers, ARRAY_SIZE(numbers), error);
}

static int put_minute(struct history *history, const struct history_entry *entry,
    const struct fold *fold, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = history_sql(history, HISTORY_SQL_PUT_MINUTE, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_int(&binder, history->minute);
    bind_int(&binder, entry->id);
    fold_bind(fold, &binder);
    r = sql_bound(history->store, &binder, error);
    return r < 0 ? r : sql_run(history->store, statement, "writing history", error);
}

static int write_entry(struct history *history, struct history_entry *entry, struct ac_error *error)
{
    struct fold merged;
    /* Past all rows of the subject there is none to merge with: the usual case. */
    bool beyond = entry->id != 0 && history->minute > entry->last_minute;
    int r = note_subject(history, entry, error);
    if (r == 0 && !beyond)
        r = history_get_minute(history, entry->id, history->minute, &merged, error);
    if (r < 0)
        return r;
    if (r == 0)
        return put_minute(history, entry, &entry->fold, error);
    fold_merge(&merged, &entry->fold);
    return put_minute(history, entry, &merged, error);
}

/* Drops some of what is too old: more than comes, never all at once. */
static int trim(struct history *history, size_t written, struct ac_error *error)
{
    const int64_t numbers[] = {
        history->minute - history->keep_minutes, (int64_t)MAX(written * 2, (size_t)TRIM_ROWS_MIN)};
    int r = run(history, HISTORY_SQL_TRIM_MINUTES, NULL, numbers, ARRAY_SIZE(numbers), error);
    if (r < 0 || history->minute % 60 != 0)
        return r;
    return run(history, HISTORY_SQL_TRIM_SUBJECTS, NULL, NULL, 0, error);
}

/* ---- The current minute ------------------------------------------------------------------- */

/* Empties the minute; who was not seen in it goes. */
static void begin_minute(struct history *history, bool forget_ids)
{
    size_t kept = 0;
    for (size_t i = 0; i < history->n_entries; i++) {
        struct history_entry *entry = history->entries[i];
        if (entry->fold.samples == 0) {
            strmap_remove(history->by_name, entry->name);
            mem_free(entry);
            continue;
        }
        entry->fold = (struct fold){0};
        if (forget_ids)
            entry->id = 0;
        history->entries[kept++] = entry;
    }
    history->n_entries = kept;
}

static int write_minute(struct history *history, struct ac_error *error)
{
    size_t written = 0;
    int r = store_begin(history->store, error);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < history->n_entries; i++) {
        if (history->entries[i]->fold.samples == 0)
            continue;
        r = write_entry(history, history->entries[i], error);
        written++;
    }
    if (r == 0)
        r = trim(history, written, error);
    if (r == 0)
        return store_commit(history->store, error);
    store_rollback(history->store);
    return r;
}

/* Writes the minute and empties it, also where writing failed: that is a gap. */
static int end_minute(struct history *history, struct ac_error *error)
{
    if (history->minute == INT64_MIN)
        return 0;
    int r = write_minute(history, error);
    /* In somebody's larger transaction the ids may yet be rolled back. */
    begin_minute(history, r < 0 || history->store->depth > 0);
    return r;
}

static int reserve_entry(struct history *history)
{
    if (history->n_entries < history->entries_capacity)
        return 0;
    size_t capacity = MAX(history->entries_capacity * 2, (size_t)16);
    struct history_entry **entries =
        mem_resize_array(history->entries, capacity, sizeof(*history->entries));
    if (!entries)
        return -ENOMEM;
    history->entries = entries;
    history->entries_capacity = capacity;
    return 0;
}

/* Returns 1 with an entry, 0 at the cap, or -errno. */
static int get_entry(struct history *history, const char *name, struct history_entry **ret_entry)
{
    struct history_entry *entry = strmap_get(history->by_name, name);
    if (entry) {
        *ret_entry = entry;
        return 1;
    }
    size_t length = strlen(name);
    if (length >= sizeof(entry->name))
        return -EINVAL;
    if (history->n_entries >= ENTRIES_MAX)
        return 0;
    if (reserve_entry(history) < 0)
        return -ENOMEM;
    entry = mem_alloc(sizeof(*entry));
    if (!entry)
        return -ENOMEM;
    memcpy(entry->name, name, length + 1);
    if (strmap_put(history->by_name, entry->name, entry) < 0) {
        mem_free(entry);
        return -ENOMEM;
    }
    history->entries[history->n_entries++] = entry;
    *ret_entry = entry;
    return 1;
}

int history_tick(struct history *history, int64_t when_ns, const struct history_row *rows,
    size_t n_rows, struct ac_error *error)
{
    if (!history->store)
        return 0;
    int64_t minute = history_floor(when_ns, HISTORY_MINUTE_NS);
    int r = minute == history->minute ? 0 : end_minute(history, error);
    history->minute = minute;
    for (size_t i = 0; i < n_rows; i++) {
        struct history_entry *entry;
        int got = get_entry(history, rows[i].subject, &entry);
        if (got == 1)
            fold_add(&entry->fold, rows[i].usage);
        else if (got < 0 && r == 0)
            r = error_errno(error, got, "history of \"%.40s\"", rows[i].subject);
    }
    return r;
}

/* ---- Opening and closing ------------------------------------------------------------------ */

int history_open(struct store *store, const struct history_options *options,
    struct history **ret_history, struct ac_error *error)
{
    struct history *history = mem_alloc(sizeof(*history));
    if (!history || strmap_new((uint64_t)clock_wall_ns(), &history->by_name) < 0) {
        mem_free(history);
        return error_set(error, -ENOMEM, "no memory");
    }
    history->store = store;
    history->minute = INT64_MIN;
    history->keep_minutes = (int64_t)(options->keep_minutes_ns / (uint64_t)HISTORY_MINUTE_NS);
    *ret_history = history;
    return 0;
}

void history_close(struct history *history)
{
    if (!history)
        return;
    if (history->store)
        end_minute(history, NULL);
    for (size_t i = 0; i < history->n_entries; i++)
        mem_free(history->entries[i]);
    mem_free(history->entries);
    strmap_free(history->by_name);
    sql_finalize(history->statements, HISTORY_SQL_COUNT);
    mem_free(history);
}
