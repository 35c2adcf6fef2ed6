/* SPDX-License-Identifier: Apache-2.0 */
#include "os/procfs_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/parse.h"

/* The numbers behind "(name) S " in /proc/PID/stat, counted from 0; proc(5) counts from 4. */
enum stat_field {
    STAT_PPID = 0,
    STAT_PGRP = 1,
    STAT_SESSION = 2,
    STAT_FLAGS = 5,
    STAT_MINOR_FAULTS = 6,
    STAT_MAJOR_FAULTS = 8,
    STAT_UTIME = 10,
    STAT_STIME = 11,
    STAT_CUTIME = 12,
    STAT_CSTIME = 13,
    STAT_THREADS = 16,
    STAT_START = 18,
    STAT_RSS = 20,
    STAT_FIELDS = 21
};

static uint64_t saturating_mul(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* One number and the separator behind it: a number at the cut end of a text may be cut itself.
 * Negative ones (a pgrp of -1, a counter that overflowed) become 0. */
static int stat_number(const char **cursor, const char *end, uint64_t *ret_value)
{
    const char *c = *cursor;
    bool negative = c < end && *c == '-';
    c += negative;
    int r = parse_digits(&c, end, ret_value);
    if (r < 0 || c >= end || (*c != ' ' && *c != '\n'))
        return -EINVAL;
    if (negative)
        *ret_value = 0;
    *cursor = c + 1;
    return 0;
}

/* "PID (NAME) S ": the name may hold anything, parentheses and newlines too, so it ends at the
 * last parenthesis of the text. Returns the text behind, or NULL. */
static const char *stat_head(const char *text, const char *end, struct proc_record *proc)
{
    const char *c = text;
    uint64_t pid;
    if (parse_digits(&c, end, &pid) < 0 || pid > INT32_MAX || end - c < 2 || c[0] != ' ' ||
        c[1] != '(')
        return NULL;
    const char *name = c + 2;
    const char *close = memrchr(name, ')', (size_t)(end - name));
    if (!close || end - close < 4 || close[1] != ' ' || close[3] != ' ')
        return NULL;
    size_t length = MIN((size_t)(close - name), sizeof(proc->name) - 1);
    memcpy(proc->name, name, length);
    proc->name[length] = 0;
    proc->pid = (int32_t)pid;
    proc->state = close[2];
    return close + 4;
}

/* A zombie's memory and descriptors are gone; where its other threads live on they are not, but
 * the kernel no longer tells them through the leader. */
static bool memory_is_told(const struct proc_record *proc)
{
    return (proc->state != 'Z' && proc->state != 'X') || proc->threads <= 1;
}

int procfs_parse_stat_extra(
    const char *text, size_t length, struct proc_record *ret_proc, struct stat_extra *ret_extra)
{
    struct proc_record proc = {0};
    uint64_t field[STAT_FIELDS];
    const char *end = text + length;
    const char *c = stat_head(text, end, &proc);
    if (!c)
        return -EINVAL;
    for (size_t i = 0; i < STAT_FIELDS; i++) {
        if (stat_number(&c, end, &field[i]) < 0)
            return -EINVAL;
    }
    if (field[STAT_PPID] > INT32_MAX || field[STAT_PGRP] > INT32_MAX ||
        field[STAT_SESSION] > INT32_MAX)
        return -EINVAL;
    proc.ppid = (int32_t)field[STAT_PPID];
    proc.pgrp = (int32_t)field[STAT_PGRP];
    proc.session = (int32_t)field[STAT_SESSION];
    proc.utime_ns = saturating_mul(field[STAT_UTIME], PROC_TICK_NS);
    proc.stime_ns = saturating_mul(field[STAT_STIME], PROC_TICK_NS);
    proc.cutime_ns = saturating_mul(field[STAT_CUTIME], PROC_TICK_NS);
    proc.cstime_ns = saturating_mul(field[STAT_CSTIME], PROC_TICK_NS);
    proc.threads = (uint32_t)MIN(field[STAT_THREADS], UINT32_MAX);
    proc.start_ticks = field[STAT_START];
    proc.known = PROC_KNOWN_CPU | PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_THREADS | PROC_KNOWN_SESSION;
    if (memory_is_told(&proc)) {
        proc.rss_anon_bytes = saturating_mul(field[STAT_RSS], (uint64_t)getpagesize());
        proc.known |= PROC_KNOWN_RSS;
    }
    *ret_proc = proc;
    *ret_extra =
        (struct stat_extra){field[STAT_FLAGS], field[STAT_MINOR_FAULTS] + field[STAT_MAJOR_FAULTS]};
    return 0;
}

int procfs_parse_stat(const char *text, size_t length, struct proc_record *ret_proc)
{
    struct stat_extra extra;
    return procfs_parse_stat_extra(text, length, ret_proc, &extra);
}

int procfs_parse_key(const char *text, size_t length, const char *key, uint64_t *ret_value)
{
    size_t key_length = strlen(key);
    const char *end = text + length;
    for (const char *line = text; line < end;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        const char *c = line + key_length;
        if (c < end && memcmp(line, key, key_length) == 0 && (*c == ' ' || *c == '\t')) {
            while (c < end && (*c == ' ' || *c == '\t'))
                c++;
            return parse_digits(&c, end, ret_value) < 0 ? -EINVAL : 0;
        }
        line = next ? next + 1 : end;
    }
    return -EINVAL;
}

int procfs_parse_io(const char *text, size_t length, uint64_t *ret_read, uint64_t *ret_written)
{
    uint64_t bytes_read, bytes_written;
    if (procfs_parse_key(text, length, "read_bytes:", &bytes_read) < 0 ||
        procfs_parse_key(text, length, "write_bytes:", &bytes_written) < 0)
        return -EINVAL;
    *ret_read = bytes_read;
    *ret_written = bytes_written;
    return 0;
}

int procfs_parse_statm(const char *text, size_t length, uint64_t *ret_bytes)
{
    const char *c = text, *end = text + length;
    uint64_t size, resident;
    if (stat_number(&c, end, &size) < 0 || stat_number(&c, end, &resident) < 0)
        return -EINVAL;
    *ret_bytes = saturating_mul(resident, (uint64_t)getpagesize());
    return 0;
}

/* "Pss:               12345 kB\n": without the unit it may be cut. */
int procfs_parse_pss(const char *text, size_t length, uint64_t *ret_bytes)
{
    static const char key[] = "Pss:", unit[] = " kB\n";
    const char *line = text, *end = text + length;
    uint64_t kib;
    while (line && line < end && (size_t)(end - line) > strlen(key) &&
           memcmp(line, key, strlen(key)) != 0) {
        line = memchr(line, '\n', (size_t)(end - line));
        line = line ? line + 1 : NULL;
    }
    if (!line || line >= end || (size_t)(end - line) <= strlen(key))
        return -EINVAL;
    const char *c = line + strlen(key);
    while (c < end && *c == ' ')
        c++;
    if (parse_digits(&c, end, &kib) < 0 || (size_t)(end - c) < strlen(unit) ||
        memcmp(c, unit, strlen(unit)) != 0)
        return -EINVAL;
    *ret_bytes = saturating_mul(kib, 1024);
    return 0;
}

int procfs_parse_uid(const char *text, size_t length, uint32_t *ret_uid)
{
    uint64_t uid;
    if (procfs_parse_key(text, length, "Uid:", &uid) < 0 || uid > UINT32_MAX)
        return -EINVAL;
    *ret_uid = (uint32_t)uid;
    return 0;
}

int procfs_parse_inner_pid(const char *text, size_t length, int32_t *ret_inner, bool *ret_nested)
{
    static const char key[] = "\nNSpid:";
    const char *line = memmem(text, length, key, strlen(key));
    const char *end = line ? memchr(line + 1, '\n', (size_t)(text + length - line - 1)) : NULL;
    unsigned levels = 0;
    uint64_t pid = 0;
    if (!end)
        return -EINVAL;
    for (const char *c = line + strlen(key); c < end; levels++) {
        if (*c++ != '\t' || parse_digits(&c, end, &pid) < 0 || pid > INT32_MAX)
            return -EINVAL;
    }
    if (levels == 0)
        return -EINVAL;
    *ret_inner = (int32_t)pid;
    *ret_nested = levels > 1;
    return 0;
}
