/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container: history.db in the state directory, a SQLite database of its own (WAL), so that
 * a history commit never waits for the ledger's, nor the other way round, and a damaged history
 * can be moved aside alone.
 *
 *     subject  id, name, philosophy, labels, owner   who
 *     tenure   id, subject, slot, from_ms, to_ms     who had which slot when (to NULL: still)
 *     frame    seq, data                             ticks that are not in a chunk yet
 *     part     id (group), seq                       first tick that is not in a chunk
 *     chunk    id, end_ms, data                      600 ticks of 16 slots  (hist_row.h)
 *     merged   the same                              6 chunks as one
 *     minute, hour, day  the same                    rollups                (hist_roll.h)
 *     top      id, data                              a minute or hour of all slots
 *     meta     name, value
 *
 * The id of a row of the middle five is group << 42 | start in ms, so that the rows of a group
 * lie in a row. All writes of a tick are one transaction.
 *
 * A connection is used by one thread at a time.
 */
#ifndef AC_STORE_HIST_DB_H
#define AC_STORE_HIST_DB_H

#include "store/store_sqlite.h"

#define HIST_FILE           "history.db"
#define HIST_APPLICATION_ID 0x41434849 /* "ACHI" */
#define HIST_TIME_BITS      42
#define HIST_GROUPS_MAX     (1u << 20)
#define HIST_MANY           64 /* rows of the statements called so */

enum hist_series {
    SERIES_CHUNK,
    SERIES_MERGED,
    SERIES_MINUTE,
    SERIES_HOUR,
    SERIES_DAY,
    SERIES_COUNT
};

enum hist_sql {
    HIST_BEGIN,
    HIST_BEGIN_READ,
    HIST_COMMIT,
    HIST_ROLLBACK,
    HIST_SUBJECT_PUT,
    HIST_SUBJECT_PUT_MANY, /* HIST_MANY of them */
    HIST_SUBJECT_FIND,
    HIST_SUBJECT_NAMED,
    HIST_SUBJECT_NAME,
    HIST_SUBJECT_SPAN,
    HIST_SUBJECT_TRIM,
    HIST_TENURE_PUT,
    HIST_TENURE_PUT_MANY,
    HIST_TENURE_END,
    HIST_TENURE_OPEN,
    HIST_TENURE_OF,
    HIST_TENURE_ENDED,
    HIST_TENURE_TRIM,
    HIST_TENURE_EACH,
    HIST_FRAME_PUT,
    HIST_FRAME_EACH,
    HIST_FRAME_NEWEST,
    HIST_FRAME_TRIM,
    HIST_PART_PUT,
    HIST_PART_EACH,
    HIST_TOP_PUT,
    HIST_TOP_GET,
    HIST_TOP_TRIM,
    HIST_TOP_EACH,
    HIST_TOP_SPAN,
    HIST_DAY_END,
    HIST_HOURS,
    HIST_META_PUT,
    HIST_META_GET,
    HIST_SQL_COUNT
};

enum hist_series_sql {
    SERIES_PUT,
    SERIES_GET,    /* rows of a span that may overlap */
    SERIES_AFTER,  /* rows from an id on */
    SERIES_DROP,   /* by id */
    SERIES_EXPIRE, /* of a group, ended before */
    SERIES_COUNTS, /* rows per group */
    SERIES_OLDEST, /* start of the oldest row */
    SERIES_EACH,
    SERIES_SQL_COUNT
};

struct hist_db {
    struct store connection; /* .db and .path */
    sqlite3_stmt *statements[HIST_SQL_COUNT];
    sqlite3_stmt *series[SERIES_COUNT][SERIES_SQL_COUNT];
    int64_t span_ms[SERIES_COUNT]; /* no row is longer; kept in meta */
    int64_t went_back_ms;          /* when the clock last did, 0 = never; kept in meta too */
};

#define HIST_META_WENT_BACK SERIES_COUNT /* behind the spans */

/* Opens history.db in the directory, whose descriptor must outlive it, and migrates. @path: for
 * errors. @read_only: a further connection for queries. @vfs: see sql_open.
 * Returns 0; -EPROTONOSUPPORT for a newer schema; -errno. */
int hist_db_open(int dir_fd, const char *path, const char *vfs, bool read_only, bool full_sync,
    struct hist_db *ret_db, struct ac_error *error);
void hist_db_close(struct hist_db *db);

int hist_sql(
    struct hist_db *db, enum hist_sql which, sqlite3_stmt **ret_statement, struct ac_error *error);
int hist_series_sql(struct hist_db *db, enum hist_series series, enum hist_series_sql which,
    sqlite3_stmt **ret_statement, struct ac_error *error);

/* Runs a statement of integer parameters without results. */
int hist_run(struct hist_db *db, enum hist_sql which, const int64_t *numbers, size_t n,
    struct ac_error *error);

int64_t hist_row_id(uint32_t group, int64_t start_ms);

int hist_series_put(struct hist_db *db, enum hist_series series, uint32_t group, int64_t start_ms,
    int64_t end_ms, const void *bytes, size_t size, struct ac_error *error);
int hist_series_drop(
    struct hist_db *db, enum hist_series series, int64_t id, struct ac_error *error);

/* Deletes up to 64 rows of the group that ended before. */
int hist_series_expire(struct hist_db *db, enum hist_series series, uint32_t group,
    int64_t before_ms, struct ac_error *error);

/* Rows of a group that may hold something of [from, to), oldest first. Bytes are borrowed during
 * the call. */
typedef int (*hist_row_fn)(
    void *userdata, int64_t id, int64_t end_ms, const void *bytes, size_t size);
int hist_series_each(struct hist_db *db, enum hist_series series, uint32_t group, int64_t from_ms,
    int64_t to_ms, hist_row_fn each, void *userdata, struct ac_error *error);

/* Start of the group's oldest row, untouched where there is none. 1, 0, -errno. */
int hist_series_oldest(struct hist_db *db, enum hist_series series, uint32_t group,
    int64_t *ret_start_ms, struct ac_error *error);

/* A statement of @numbers with one integer result, as hist_get_int. */
int hist_query_int(struct hist_db *db, enum hist_sql which, const int64_t *numbers, size_t n,
    int64_t *ret_value, struct ac_error *error);

/* Reads .span_ms and .went_back_ms. */
int hist_db_spans(struct hist_db *db, struct ac_error *error);

/* A statement with one integer result; @ret_value is untouched where there is none. 1, 0, -errno.
 */
int hist_get_int(
    struct hist_db *db, sqlite3_stmt *statement, int64_t *ret_value, struct ac_error *error);

/* Bytes in use in the database file, without free pages. */
int hist_db_size(struct hist_db *db, uint64_t *ret_bytes, struct ac_error *error);

#endif
