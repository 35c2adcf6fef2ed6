/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by history.c (writing) and history_read.c. */
#ifndef AC_STORE_HISTORY_INTERNAL_H
#define AC_STORE_HISTORY_INTERNAL_H

#include "base/map.h"
#include "store/history_fold.h"

#define HISTORY_MINUTE_NS INT64_C(60000000000)

/* A subject with samples in the current minute, or in the one before. */
struct history_entry {
    char name[AC_AGENT_ID_MAX + 1];
    int64_t id; /* in history_subject; 0 = not looked up */
    int64_t first_minute;
    int64_t last_minute;
    struct fold fold;
};

enum history_sql {
    HISTORY_SQL_FIND_SUBJECT,
    HISTORY_SQL_ADD_SUBJECT,
    HISTORY_SQL_SPAN_SUBJECT,
    HISTORY_SQL_PUT_MINUTE,
    HISTORY_SQL_GET_MINUTE,
    HISTORY_SQL_TRIM_MINUTES,
    HISTORY_SQL_TRIM_SUBJECTS,
    HISTORY_SQL_SUBJECTS,
    HISTORY_SQL_COUNT
};

struct history {
    struct store *store; /* NULL = nothing is kept */
    int64_t keep_minutes;
    int64_t minute; /* the current one; INT64_MIN = none yet */
    struct history_entry **entries;
    size_t n_entries;
    size_t entries_capacity;
    struct strmap *by_name; /* entries, borrowed */
    sqlite3_stmt *statements[HISTORY_SQL_COUNT];
};

int history_sql(struct history *history, enum history_sql which, sqlite3_stmt **ret_statement,
    struct ac_error *error);

/* Looks the subject up in the database. Returns 1 and fills id and minutes, 0 where it is not
 * there, or -errno. */
int history_find_subject(struct history *history, const char *name, int64_t *ret_id,
    int64_t *ret_first, int64_t *ret_last, struct ac_error *error);

/* Reads a minute's row of the subject. Returns 1 with it, 0 where there is none, or -errno. */
int history_get_minute(struct history *history, int64_t id, int64_t minute, struct fold *ret_fold,
    struct ac_error *error);

/* Division that rounds down, also below 0. */
static inline int64_t history_floor(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

#endif
