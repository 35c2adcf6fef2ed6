/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_sqlite.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/io.h"

/*
 * SQLite knows a full disk by ENOSPC alone and calls a quota or a file size limit an I/O error,
 * whose errno it does not keep. To those who must free space all three are the same, so they
 * become the same at the system call.
 */
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

static bool is_full(int system_errno)
{
    return system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG;
}

static ssize_t full_aware_write(int fd, const void *bytes, size_t size)
{
    ssize_t n = real_write(fd, bytes, size);
    if (n < 0 && is_full(errno))
        errno = ENOSPC;
    return n;
}

static ssize_t full_aware_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    ssize_t n = real_pwrite(fd, bytes, size, offset);
    if (n < 0 && is_full(errno))
        errno = ENOSPC;
    return n;
}

static void know_full_disks(sqlite3_vfs *vfs)
{
    _Static_assert(sizeof(off_t) == 8, "pwrite and pwrite64 are the same");
    const char *pwrite_name = vfs->xGetSystemCall(vfs, "pwrite64") ? "pwrite64" : "pwrite";
    real_write = (__typeof__(real_write))vfs->xGetSystemCall(vfs, "write");
    real_pwrite = (__typeof__(real_pwrite))vfs->xGetSystemCall(vfs, pwrite_name);
    if (real_write)
        vfs->xSetSystemCall(vfs, "write", (sqlite3_syscall_ptr)full_aware_write);
    if (real_pwrite)
        vfs->xSetSystemCall(vfs, pwrite_name, (sqlite3_syscall_ptr)full_aware_pwrite);
}

/* SQLite would resolve the link below /proc, and open by a path that may lead elsewhere by then. */
static int keep_path(sqlite3_vfs *vfs, const char *path, int capacity, char *out)
{
    (void)vfs;
    size_t size = strlen(path) + 1;
    if (size > (size_t)capacity)
        return SQLITE_CANTOPEN;
    memcpy(out, path, size);
    return SQLITE_OK;
}

#define OUR_VFS "agentcore"

static int register_vfs(void)
{
    static sqlite3_vfs ours;
    sqlite3_vfs *system = sqlite3_vfs_find("unix");
    if (sqlite3_vfs_find(OUR_VFS))
        return 0;
    if (!system || system->iVersion < 3)
        return -ENOSYS;
    know_full_disks(system);
    ours = *system;
    ours.zName = OUR_VFS;
    ours.pNext = NULL;
    ours.xFullPathname = keep_path;
    return sqlite3_vfs_register(&ours, 0) == SQLITE_OK ? 0 : -ENOMEM;
}

int sql_make(int dir_fd, const char *name)
{
    int fd = io_openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int sql_open(struct store *store, int dir_fd, const char *name, int flags, const char *vfs,
    struct ac_error *error)
{
    char path[64];
    int r = register_vfs();
    if (r < 0)
        return error_errno(error, r, "%s", store->path);
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_fd, name);
    int code = sqlite3_open_v2(
        path, &store->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, vfs ? vfs : OUR_VFS);
    return code == SQLITE_OK ? 0 : sql_fail(store, code, "opening", error);
}

/* @code is an extended result code. */
static int errno_of(sqlite3 *db, int code)
{
    int system_errno = db ? sqlite3_system_errno(db) : 0;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        return -EUCLEAN;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    case SQLITE_TOOBIG:
        return -E2BIG;
    case SQLITE_CANTOPEN:
        return is_full(system_errno) ? -ENOSPC : system_errno > 0 ? -system_errno : -EIO;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_NOMEM)
            return -ENOMEM;
        if (code == SQLITE_IOERR_CORRUPTFS)
            return -EUCLEAN;
        return is_full(system_errno) ? -ENOSPC : system_errno == EROFS ? -EROFS : -EIO;
    default:
        return -EIO;
    }
}

int sql_fail(struct store *store, int code, const char *what, struct ac_error *error)
{
    int r = errno_of(store->db, code);
    const char *words = store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(code);
    switch (r) {
    case -EUCLEAN:
        return error_set(error, r, "%s: damaged (%s: %s); move it aside to start anew", store->path,
            what, words);
    case -ENOSPC:
        return error_set(error, r, "%s: %s: no space left on the device", store->path, what);
    default:
        return error_set(error, r, "%s: %s: %s", store->path, what, words);
    }
}

int sql_prepare(struct store *store, const char *sql, sqlite3_stmt **cache, struct ac_error *error)
{
    if (*cache)
        return 0;
    int code = sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, cache, NULL);
    return code == SQLITE_OK ? 0 : sql_fail(store, code, "preparing a statement", error);
}

void sql_finalize(sqlite3_stmt **statements, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sqlite3_finalize(statements[i]);
        statements[i] = NULL;
    }
}

int sql_exec(struct store *store, const char *sql, struct ac_error *error)
{
    int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : sql_fail(store, code, "setting up", error);
}

int sql_step(struct store *store, sqlite3_stmt *statement, const char *what, struct ac_error *error)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return 1;
    return code == SQLITE_DONE ? 0 : sql_fail(store, code, what, error);
}

int sql_run(struct store *store, sqlite3_stmt *statement, const char *what, struct ac_error *error)
{
    int r = sql_step(store, statement, what, error);
    return r < 0 ? r : 0;
}

/* ---- Parameters --------------------------------------------------------------------------- */

static void bound(struct binder *binder, int code)
{
    binder->next++;
    if (binder->code == SQLITE_OK)
        binder->code = code;
}

void bind_text(struct binder *binder, const char *text)
{
    bound(binder, sqlite3_bind_text(binder->statement, binder->next + 1, text, -1, SQLITE_STATIC));
}

void bind_bytes(struct binder *binder, const void *bytes, size_t size)
{
    bound(binder,
        sqlite3_bind_blob64(binder->statement, binder->next + 1, bytes, size, SQLITE_STATIC));
}

void bind_int(struct binder *binder, int64_t value)
{
    bound(binder, sqlite3_bind_int64(binder->statement, binder->next + 1, value));
}

void bind_u64(struct binder *binder, uint64_t value)
{
    bind_int(binder, (int64_t)value);
}

void bind_real(struct binder *binder, double value)
{
    bound(binder, sqlite3_bind_double(binder->statement, binder->next + 1, value));
}

void bind_null(struct binder *binder)
{
    bound(binder, sqlite3_bind_null(binder->statement, binder->next + 1));
}

int sql_bound(struct store *store, const struct binder *binder, struct ac_error *error)
{
    if (binder->code == SQLITE_OK)
        return 0;
    return sql_fail(store, binder->code, "binding a parameter", error);
}

/* ---- Columns ------------------------------------------------------------------------------ */

const char *read_word(struct reader *reader)
{
    const char *text = (const char *)sqlite3_column_text(reader->statement, reader->next++);
    if (!text)
        reader->damaged = true;
    return text ? text : "";
}

void read_text(struct reader *reader, char *target, size_t size)
{
    const char *text = read_word(reader);
    size_t length = strlen(text);
    if (length >= size) {
        reader->damaged = true;
        length = size - 1;
    }
    memcpy(target, text, length);
    target[length] = 0;
}

size_t read_bytes(struct reader *reader, void *target, size_t size)
{
    const void *bytes = sqlite3_column_blob(reader->statement, reader->next);
    size_t length = (size_t)sqlite3_column_bytes(reader->statement, reader->next++);
    if (length > size || (length > 0 && !bytes)) {
        reader->damaged = true;
        return 0;
    }
    if (length > 0)
        memcpy(target, bytes, length);
    return length;
}

int64_t read_int(struct reader *reader)
{
    return sqlite3_column_int64(reader->statement, reader->next++);
}

uint32_t read_u32(struct reader *reader)
{
    int64_t value = read_int(reader);
    if (value < 0 || value > UINT32_MAX)
        reader->damaged = true;
    return (uint32_t)value;
}

uint64_t read_u64(struct reader *reader)
{
    return (uint64_t)read_int(reader);
}

double read_real(struct reader *reader)
{
    int column = reader->next++;
    if (sqlite3_column_type(reader->statement, column) == SQLITE_NULL)
        return NAN;
    return sqlite3_column_double(reader->statement, column);
}
