/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of queries. The first, with its warm cache, stays open; a query that finds it taken
 * gets one of its own for as long as it runs. So a query whose receiver is slow holds up no other.
 */
#include <errno.h>
#include <string.h>

#include "store/hist_internal.h"

#define STEPS_PER_LOOK 4000 /* of SQLite's machine: a fraction of a millisecond */

static _Thread_local const atomic_bool *cancel_flag;

void history_cancel_by(const atomic_bool *cancel)
{
    cancel_flag = cancel;
}

bool hist_cancelled(void)
{
    return cancel_flag != NULL && atomic_load_explicit(cancel_flag, memory_order_relaxed);
}

int hist_cancel_code(int r, struct ac_error *error)
{
    if (r == -ECANCELED || (r < 0 && hist_cancelled()))
        return error_set(error, -ECANCELED, "the query was cancelled");
    return r;
}

static int look(void *userdata)
{
    (void)userdata;
    return hist_cancelled();
}

int hist_read_take(struct history *history, struct hist_db **ret_db, struct ac_error *error)
{
    struct hist_db *db = &history->read;
    pthread_mutex_lock(&history->query_lock);
    bool first = !history->read_taken;
    history->read_taken = true;
    pthread_mutex_unlock(&history->query_lock);
    if (!first) {
        db = mem_alloc(sizeof(*db));
        if (db == NULL)
            return error_set(error, -ENOMEM, "no memory");
        int r = hist_db_open(history->dir_fd, history->write.connection.path, history->options.vfs,
            true, false, db, error);
        if (r < 0) {
            mem_free(db);
            return r;
        }
    }
    sqlite3_progress_handler(db->connection.db, STEPS_PER_LOOK, look, NULL);
    *ret_db = db;
    return 0;
}

void hist_read_give(struct history *history, struct hist_db *db)
{
    sqlite3_progress_handler(db->connection.db, 0, NULL, NULL);
    if (sqlite3_get_autocommit(db->connection.db) == 0)
        hist_run(db, HIST_ROLLBACK, NULL, 0, NULL);
    if (db != &history->read) {
        hist_db_close(db);
        mem_free(db);
        return;
    }
    pthread_mutex_lock(&history->query_lock);
    history->read_taken = false;
    pthread_mutex_unlock(&history->query_lock);
}

/* ---- What there is ------------------------------------------------------------------------ */

static int count_rows(
    struct hist_db *db, const char *text, struct history_tier *tier, struct ac_error *error)
{
    sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&db->connection, text, &statement, error);
    if (r == 0)
        r = sql_step(&db->connection, statement, "counting history", error);
    if (r == 1) {
        uint64_t rows = (uint64_t)sqlite3_column_int64(statement, 0);
        int64_t oldest = sqlite3_column_int64(statement, 1) * MS;
        if (rows > 0)
            tier->oldest_ns = tier->rows == 0 ? oldest : MIN(tier->oldest_ns, oldest);
        tier->rows += rows;
    }
    sqlite3_finalize(statement);
    return MIN(r, 0);
}

int history_tiers(
    struct history *history, struct history_tier ret_tiers[HISTORY_TIERS], struct ac_error *error)
{
#define COUNT(table) "SELECT count(*), min(id & ((1 << 42) - 1)) FROM " table
    static const struct {
        enum history_tier_kind tier;
        const char *text;
    } counts[] = {{HISTORY_RAW, COUNT("chunk")}, {HISTORY_RAW, COUNT("merged")},
        {HISTORY_MINUTES, COUNT("minute")}, {HISTORY_HOURS, COUNT("hour")},
        {HISTORY_DAYS, COUNT("day")}};
    struct history_tier tiers[HISTORY_TIERS] = {0};
    struct hist_db *db;
    int r = history->none ? 0 : hist_read_take(history, &db, error);
    if (r < 0)
        return hist_cancel_code(r, error);
    for (size_t i = 0; !history->none && r == 0 && i < ARRAY_SIZE(counts); i++)
        r = count_rows(db, counts[i].text, &tiers[counts[i].tier], error);
    if (!history->none)
        hist_read_give(history, db);
    if (r == 0)
        memcpy(ret_tiers, tiers, sizeof(tiers));
    return hist_cancel_code(r, error);
}
