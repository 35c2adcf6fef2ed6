/* SPDX-License-Identifier: Apache-2.0 */
/* A directory for one test, with all in it gone at the end, and SQLite's memory under fault
 * injection. */
#ifndef AC_TESTS_STORE_TEMPORARY_H
#define AC_TESTS_STORE_TEMPORARY_H

#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"

struct temporary {
    char path[64];
};

static inline int temporary_remove(
    const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void temporary_done(struct temporary *directory)
{
    nftw(directory->path, temporary_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* In memory where there is such a file system, so that fsync costs nothing. */
static inline struct temporary temporary_make(void)
{
    struct temporary directory;
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(directory.path, sizeof(directory.path), "%s/test-store-XXXXXX", base);
    if (!mkdtemp(directory.path))
        abort();
    return directory;
}

static sqlite3_mem_methods temporary_memory;

static inline void *temporary_malloc(int size)
{
    return fault_hit(FAULT_ALLOC) ? NULL : temporary_memory.xMalloc(size);
}

static inline void *temporary_realloc(void *memory, int size)
{
    return fault_hit(FAULT_ALLOC) ? NULL : temporary_memory.xRealloc(memory, size);
}

/* To be called before SQLite is used. Without lookaside every allocation is a real one. */
static inline void temporary_inject_sqlite(void)
{
    sqlite3_mem_methods methods;
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &temporary_memory);
    methods = temporary_memory;
    methods.xMalloc = temporary_malloc;
    methods.xRealloc = temporary_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}

/* Runs @sql on history.db in the directory, which nobody has open. */
static inline void temporary_history_sql(const struct temporary *directory, const char *sql)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof(path), "%s/history.db", directory->path);
    if (sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK || sqlite3_close(db) != SQLITE_OK)
        abort();
}

#endif
