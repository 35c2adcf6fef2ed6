/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: the directory, the lock that keeps a second daemon out, the database, its schema.
 *
 *     DIRECTORY/lock           held with flock(2) while open; its text is the holder's pid
 *     DIRECTORY/agentcore.db   and SQLite's -wal and -shm beside it
 */
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/parse.h"
#include "store/store_sqlite.h"

enum { BUSY_TIMEOUT_MS = 1000, PATH_SIZE_MAX = 4096 };

static const char *const statements[SQL_COUNT] = {
    [SQL_PUT_AGENT] = "INSERT OR REPLACE INTO agent VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [SQL_REMOVE_AGENT] = "DELETE FROM agent WHERE id = ?",
    [SQL_EACH_AGENT] = "SELECT * FROM agent ORDER BY added_ns, id",
    [SQL_PUT_ALERT] = "INSERT OR REPLACE INTO alert VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [SQL_EACH_ALERT] = "SELECT * FROM alert INDEXED BY alert_by_update WHERE updated_ns >= ? "
                       "ORDER BY updated_ns DESC LIMIT ?",
    [SQL_EACH_LIVE_ALERT] = "SELECT * FROM alert INDEXED BY alert_live WHERE updated_ns >= ? "
                            "AND state <> 'resolved' ORDER BY updated_ns DESC LIMIT ?",
    [SQL_TRIM_ALERTS] = "DELETE FROM alert WHERE updated_ns < ? AND state = 'resolved'",
    [SQL_PUT_ALLOCATION] =
        "INSERT OR REPLACE INTO allocation VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [SQL_REMOVE_ALLOCATION] = "DELETE FROM allocation WHERE agent_id = ?",
    [SQL_EACH_ALLOCATION] = "SELECT * FROM allocation ORDER BY created_ns, agent_id",
    [SQL_PUT_BLOB] = "INSERT OR REPLACE INTO blob VALUES (?,?)",
    [SQL_GET_BLOB] = "SELECT bytes FROM blob WHERE name = ?",
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
};

int sql_get(
    struct store *store, enum store_sql which, sqlite3_stmt **ret_statement, struct ac_error *error)
{
    int r = sql_prepare(store, statements[which], &store->statements[which], error);
    if (r == 0)
        *ret_statement = store->statements[which];
    return r;
}

/* ---- Directory and lock ------------------------------------------------------------------- */

/* Makes @path and what is missing above it, for us alone. Returns 0; -EROFS or -EACCES where it
 * could not be made (it may be there for all that); -errno with @error. */
static int make_directory(const char *path, struct ac_error *error)
{
    char part[PATH_SIZE_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(part))
        return error_set(error, -EINVAL, "%.60s: is no path of a directory", path);
    int r = 0;
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        r = mkdir(part, 0700) < 0 && errno != EEXIST ? -errno : 0;
        if (r < 0 && r != -EROFS && r != -EACCES)
            return error_errno(error, r, "%s", part);
    }
    return r;
}

/* Returns a descriptor of the directory, after making sure that no other user can change it. */
static int open_directory(const char *path, struct ac_error *error)
{
    struct stat status;
    int r = make_directory(path, error);
    if (r < 0 && r != -EROFS && r != -EACCES)
        return r;
    int fd = io_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return error_errno(error, fd == -ENOENT && r < 0 ? r : fd, "%s", path);
    r = 0;
    if (fstat(fd, &status) < 0)
        r = error_errno(error, -errno, "%s", path);
    else if (status.st_uid != geteuid() && status.st_uid != 0)
        r = error_set(
            error, -EPERM, "%s: belongs to another user (uid %u)", path, (unsigned)status.st_uid);
    else if (status.st_mode & S_IWOTH)
        r = error_set(error, -EPERM, "%s: everybody may write to it; chmod it to 0700", path);
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

static int fail_locked(int dir_fd, const char *directory, struct ac_error *error)
{
    char text[32];
    uint64_t pid;
    ssize_t size = io_read_file(dir_fd, "lock", text, sizeof(text));
    size_t digits = size > 0 ? strspn(text, "0123456789") : 0;
    if (digits == 0 || parse_u64(text, digits, &pid) < 0)
        return error_set(error, -EBUSY, "%s: in use by another agentcored", directory);
    return error_set(error, -EBUSY,
        "%s: in use by another agentcored (pid %llu): stop it, or give another state directory",
        directory, (unsigned long long)pid);
}

/* flock and not fcntl: it also holds against a second open in this process, and is not lost
 * when some descriptor of the file is closed. */
static int lock_file(int fd)
{
    char text[32];
    if (fault_hit(FAULT_SYSCALL))
        return -ENOLCK;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    int size = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0)
        return -errno;
    int r = io_write_all(fd, text, (size_t)size);
    return r == -EFBIG || r == -EDQUOT ? -ENOSPC : r;
}

/* Returns the descriptor that holds the lock. */
static int take_lock(int dir_fd, const char *directory, struct ac_error *error)
{
    int fd = io_openat(dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(error, fd, "%s/lock", directory);
    int r = lock_file(fd);
    if (r == 0)
        return fd;
    close(fd);
    if (r == -EWOULDBLOCK)
        return fail_locked(dir_fd, directory, error);
    return error_errno(error, r, "%s/lock", directory);
}

/* ---- Database ----------------------------------------------------------------------------- */

static int read_pragma(
    struct store *store, const char *sql, int64_t *ret_value, struct ac_error *error)
{
    sqlite3_stmt *statement = NULL;
    int r = sql_prepare(store, sql, &statement, error);
    if (r == 0)
        r = sql_step(store, statement, "reading", error);
    if (r == 1)
        *ret_value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return r < 0 ? r : 0;
}

static int check_identity(struct store *store, int64_t *ret_version, struct ac_error *error)
{
    int64_t id = 0, version = 0, objects = 0;
    int r = read_pragma(store, "PRAGMA application_id", &id, error);
    if (r == 0)
        r = read_pragma(store, "PRAGMA user_version", &version, error);
    if (r == 0)
        r = read_pragma(store, "SELECT count(*) FROM sqlite_schema", &objects, error);
    if (r < 0)
        return r;
    bool fresh = id == 0 && version == 0 && objects == 0;
    if (!fresh && id != STORE_APPLICATION_ID)
        return error_set(error, -EUCLEAN,
            "%s: is a database of another program; move it aside to start anew", store->path);
    if (version < 0 || version > store_schema_version)
        return error_set(error, -EPROTONOSUPPORT,
            "%s: has schema version %lld, this agentcored knows up to %d: run the newer one, or "
            "give another state directory",
            store->path, (long long)version, store_schema_version);
    *ret_version = version;
    return 0;
}

static int migrate(struct store *store, struct ac_error *error)
{
    char pragmas[96];
    int64_t version = 0;
    int r = store_begin(store, error);
    if (r == 0)
        r = check_identity(store, &version, error);
    if (r == 0 && version < store_schema_version) {
        for (int64_t v = version; r == 0 && v < store_schema_version; v++)
            r = sql_exec(store, store_migrations[v], error);
        snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id = %d; PRAGMA user_version = %d",
            STORE_APPLICATION_ID, store_schema_version);
        if (r == 0)
            r = sql_exec(store, pragmas, error);
    }
    if (r == 0)
        return store_commit(store, error);
    store_rollback(store);
    return r;
}

/* WAL lets people look with the sqlite3 tool meanwhile. Nothing in the file may run code. */
static int configure(struct store *store, bool full_sync, struct ac_error *error)
{
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    int r = sql_exec(store,
        "PRAGMA journal_mode = WAL; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;"
        "PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -2048",
        error);
    if (r < 0)
        return r;
    return sql_exec(
        store, full_sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", error);
}

static int open_database(struct store *store, bool full_sync, struct ac_error *error)
{
    int r = sql_make(store->dir_fd, STORE_FILE);
    if (r < 0)
        return error_errno(error, r, "%s", store->path);
    r = sql_open(store, store->dir_fd, STORE_FILE, SQLITE_OPEN_READWRITE, NULL, error);
    if (r == 0)
        r = configure(store, full_sync, error);
    return r < 0 ? r : migrate(store, error);
}

static int open_in(struct store *store, const struct store_options *options, struct ac_error *error)
{
    struct buf path CLEANUP(buf_done) = {0};
    buf_printf(&path, "%s/%s", options->directory, STORE_FILE);
    store->path = buf_take(&path, NULL);
    if (!store->path)
        return error_set(error, -ENOMEM, "no memory");
    store->lock_fd = take_lock(store->dir_fd, options->directory, error);
    if (store->lock_fd < 0)
        return store->lock_fd;
    return open_database(store, options->full_sync, error);
}

int store_open(
    const struct store_options *options, struct store **ret_store, struct ac_error *error)
{
    struct store *store = mem_alloc(sizeof(*store));
    if (!store)
        return error_set(error, -ENOMEM, "no memory");
    store->lock_fd = -1;
    store->dir_fd = open_directory(options->directory, error);
    int r = store->dir_fd < 0 ? store->dir_fd : open_in(store, options, error);
    if (r < 0) {
        store_close(store);
        return r;
    }
    *ret_store = store;
    return 0;
}

int store_open_reader(const struct store *store, struct store **ret_reader, struct ac_error *error)
{
    struct store *reader = mem_alloc(sizeof(*reader));
    if (!reader)
        return error_set(error, -ENOMEM, "no memory");
    reader->dir_fd = reader->lock_fd = -1;
    reader->path = mem_strdup(store->path);
    int r = reader->path ? 0 : error_set(error, -ENOMEM, "no memory");
    if (r == 0)
        r = sql_open(reader, store->dir_fd, STORE_FILE, SQLITE_OPEN_READONLY, NULL, error);
    if (r < 0) {
        store_close(reader);
        return r;
    }
    sqlite3_busy_timeout(reader->db, BUSY_TIMEOUT_MS);
    *ret_reader = reader;
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    sql_finalize(store->statements, SQL_COUNT);
    sqlite3_close(store->db);
    io_closep(&store->lock_fd);
    io_closep(&store->dir_fd);
    mem_free(store->path);
    mem_free(store);
}

/* ---- Transactions ------------------------------------------------------------------------- */

static int run(struct store *store, enum store_sql which, const char *what, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, which, &statement, error);
    return r < 0 ? r : sql_run(store, statement, what, error);
}

int store_begin(struct store *store, struct ac_error *error)
{
    if (store->depth == 0) {
        int r = run(store, SQL_BEGIN, "beginning", error);
        if (r < 0)
            return r;
        store->aborted = false;
    }
    store->depth++;
    return 0;
}

/* SQLite has ended the transaction by itself after some errors. */
static void abandon(struct store *store)
{
    if (!sqlite3_get_autocommit(store->db) && run(store, SQL_ROLLBACK, "", NULL) < 0)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

int store_commit(struct store *store, struct ac_error *error)
{
    if (store->depth == 0)
        return error_set(error, -EINVAL, "%s: nothing to commit", store->path);
    if (--store->depth > 0)
        return 0;
    if (store->aborted || sqlite3_get_autocommit(store->db)) {
        abandon(store);
        return error_set(error, -ECANCELED, "%s: rolled back after an error", store->path);
    }
    int r = run(store, SQL_COMMIT, "committing", error);
    if (r < 0)
        abandon(store);
    return r;
}

void store_rollback(struct store *store)
{
    if (store->depth == 0)
        return;
    store->aborted = true;
    if (--store->depth == 0)
        abandon(store);
}

/* ---- Bytes and checks --------------------------------------------------------------------- */

int store_put_blob(
    struct store *store, const char *name, const void *bytes, size_t size, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, SQL_PUT_BLOB, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, name);
    bind_bytes(&binder, size > 0 ? bytes : "", size);
    r = sql_bound(store, &binder, error);
    return r < 0 ? r : sql_run(store, statement, "storing bytes", error);
}

int store_get_blob(struct store *store, const char *name, void **ret_bytes, size_t *ret_size,
    struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, SQL_GET_BLOB, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, name);
    r = sql_bound(store, &binder, error);
    if (r == 0)
        r = sql_step(store, statement, "reading bytes", error);
    if (r < 0)
        return r;
    if (r == 0)
        return error_set(error, -ENOENT, "%s: nothing stored as %.60s", store->path, name);
    const void *bytes = sqlite3_column_blob(statement, 0);
    size_t size = (size_t)sqlite3_column_bytes(statement, 0);
    char *copy = size == 0 || bytes ? mem_alloc(size) : NULL;
    if (!copy)
        return error_set(error, -ENOMEM, "no memory");
    if (size > 0)
        memcpy(copy, bytes, size);
    *ret_bytes = copy;
    *ret_size = size;
    return 0;
}

int store_verify(struct store *store, struct ac_error *error)
{
    sqlite3_stmt *statement = NULL;
    int r = sql_prepare(store, "PRAGMA quick_check(1)", &statement, error);
    if (r == 0)
        r = sql_step(store, statement, "checking", error);
    if (r == 1) {
        const char *finding = (const char *)sqlite3_column_text(statement, 0);
        r = finding && strcmp(finding, "ok") == 0
                ? 0
                : error_set(error, -EUCLEAN, "%s: damaged (%s); move it aside to start anew",
                      store->path, finding ? finding : "no finding");
    }
    sqlite3_finalize(statement);
    return r;
}
