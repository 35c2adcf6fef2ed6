/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside src/store: the connection, and SQLite's calls with errors as everybody else has them.
 *
 * A statement is prepared when first needed and kept in a variable of its owner's, which gives it
 * back with sql_finalize before store_close. `sqlite3_stmt *s cleanup_reset` makes it ready for
 * its next use at the end of the scope.
 */
#ifndef AC_STORE_STORE_SQLITE_H
#define AC_STORE_STORE_SQLITE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "store/store.h"

#define STORE_FILE           "agentcore.db"
#define STORE_APPLICATION_ID 0x41434f52 /* "ACOR" */

/* Schema changes, oldest first: the n-th takes version n - 1 to n. */
extern const char *const store_migrations[];
extern const int store_schema_version;

enum store_sql {
    SQL_PUT_AGENT,
    SQL_REMOVE_AGENT,
    SQL_EACH_AGENT,
    SQL_PUT_ALERT,
    SQL_EACH_ALERT,
    SQL_EACH_LIVE_ALERT,
    SQL_TRIM_ALERTS,
    SQL_PUT_ALLOCATION,
    SQL_REMOVE_ALLOCATION,
    SQL_EACH_ALLOCATION,
    SQL_PUT_BLOB,
    SQL_GET_BLOB,
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_COUNT
};

struct store {
    sqlite3 *db;
    int dir_fd; /* of the directory that the database is in */
    int lock_fd;
    unsigned depth; /* of store_begin */
    bool aborted;   /* an inner rollback: the outermost commit fails */
    char *path;     /* of the database file */
    sqlite3_stmt *statements[SQL_COUNT];
};

/* Makes the file of a database where it is missing, for us alone: SQLite would make it readable by
 * all, and -wal and -shm take after it. Not while there is a connection, whose locks would go.
 * Returns 0 or -errno. */
int sql_make(int dir_fd, const char *name);

/* Opens the database @name of the directory, wherever that is moved to and whatever takes its name;
 * the descriptor stays the caller's and must outlive the connection. @vfs: NULL = ours. A quota and
 * a file size limit are taken for what they are. Needs store->path for errors. Returns 0 or -errno.
 */
int sql_open(struct store *store, int dir_fd, const char *name, int flags, const char *vfs,
    struct ac_error *error);

/* The error of the last call on the connection: errno by SQLite's code (and the system's), text
 * "PATH: WHAT: SQLite's words". Returns the errno. */
int sql_fail(struct store *store, int code, const char *what, struct ac_error *error);

/* Prepares @sql into *@cache unless it is there. Returns 0 or -errno. */
int sql_prepare(struct store *store, const char *sql, sqlite3_stmt **cache, struct ac_error *error);
void sql_finalize(sqlite3_stmt **statements, size_t count);

/* One of the store's own. */
int sql_get(struct store *store, enum store_sql which, sqlite3_stmt **ret_statement,
    struct ac_error *error);

static inline void sql_resetp(sqlite3_stmt **statement)
{
    if (*statement) {
        sqlite3_reset(*statement);
        sqlite3_clear_bindings(*statement);
    }
}
#define cleanup_reset CLEANUP(sql_resetp)

/* Runs statements without parameters and results. */
int sql_exec(struct store *store, const char *sql, struct ac_error *error);

/* Runs a statement to its end: no rows wanted. */
int sql_run(struct store *store, sqlite3_stmt *statement, const char *what, struct ac_error *error);

/* Steps. Returns 1 with a row, 0 at the end, or -errno. */
int sql_step(
    struct store *store, sqlite3_stmt *statement, const char *what, struct ac_error *error);

/* Binds parameters one after the other; the first failure is kept in .code, which sql_bound
 * turns into 0 or -errno. Texts and bytes are borrowed until the reset. */
struct binder {
    sqlite3_stmt *statement;
    int next;
    int code;
};
void bind_text(struct binder *binder, const char *text);
void bind_bytes(struct binder *binder, const void *bytes, size_t size);
void bind_int(struct binder *binder, int64_t value);
void bind_u64(struct binder *binder, uint64_t value); /* the same bits */
void bind_real(struct binder *binder, double value);  /* NaN is NULL */
void bind_null(struct binder *binder);
int sql_bound(struct store *store, const struct binder *binder, struct ac_error *error);

/* Reads columns one after the other; what does not fit its target sets .damaged. */
struct reader {
    sqlite3_stmt *statement;
    int next;
    bool damaged;
};
void read_text(struct reader *reader, char *target, size_t size);
size_t read_bytes(struct reader *reader, void *target, size_t size); /* returns how many */
int64_t read_int(struct reader *reader);
uint32_t read_u32(struct reader *reader);
uint64_t read_u64(struct reader *reader);
double read_real(struct reader *reader);      /* NULL is NaN */
const char *read_word(struct reader *reader); /* borrowed, never NULL */

#endif
