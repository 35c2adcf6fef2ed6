/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which limits our own cgroups put on us.
 *
 * /proc/self/cgroup tells our place in each hierarchy, /proc/self/mountinfo where hierarchies are
 * mounted and which of their directories is the mount's root (in a container often our own). The
 * limits that hold are the smallest on the way from our place up to the mount; what lies above
 * the mount's root cannot be seen. A controller belongs to v2 or to one v1 hierarchy, so both are
 * asked and the smaller answer holds.
 */
#include "os/machine_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/parse.h"
#include "os/procfs_internal.h"

#define LEVELS_MAX   32
#define MOUNTS_LIMIT (1u << 20)

static const char *const hierarchy_names[CGROUP_HIERARCHIES] = {"", "cpu", "cpuacct", "memory"};

/* Directories from our own group [0] up to the mount. */
struct levels {
    int fds[LEVELS_MAX];
    size_t count;
};

struct own_cgroup {
    struct levels levels[CGROUP_HIERARCHIES];
};

static void levels_close(struct levels *levels)
{
    for (size_t i = 0; i < levels->count; i++)
        io_closep(&levels->fds[i]);
    levels->count = 0;
}

void own_cgroup_free(struct own_cgroup *group)
{
    if (!group)
        return;
    for (size_t i = 0; i < CGROUP_HIERARCHIES; i++)
        levels_close(&group->levels[i]);
    mem_free(group);
}

/* ---- Finding */

/* A stretch of text. */
struct span {
    const char *data;
    size_t size;
};

/* Splits off the part up to @separator (or all of it). False at the end. */
static bool span_take(struct span *rest, char separator, struct span *ret_part)
{
    if (!rest->data)
        return false;
    const char *found = memchr(rest->data, separator, rest->size);
    *ret_part = (struct span){rest->data, found ? (size_t)(found - rest->data) : rest->size};
    if (found)
        *rest = (struct span){found + 1, rest->size - ret_part->size - 1};
    else
        *rest = (struct span){0};
    return true;
}

static bool span_is(struct span span, const char *text)
{
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

/* Whether a comma-separated list holds @word. */
static bool list_holds(struct span list, const char *word)
{
    struct span part;
    while (span_take(&list, ',', &part)) {
        if (span_is(part, word))
            return true;
    }
    return false;
}

/* Undoes mountinfo's octal escapes ("\040"). Returns 0, or -ENAMETOOLONG. */
static int unescape(struct span in, char out[CGROUP_PATH_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < in.size; n++) {
        if (n >= CGROUP_PATH_MAX - 1)
            return -ENAMETOOLONG;
        const char *c = in.data + i;
        bool octal = *c == '\\' && in.size - i >= 4 && c[1] >= '0' && c[1] <= '3' && c[2] >= '0' &&
                     c[2] <= '7' && c[3] >= '0' && c[3] <= '7';
        out[n] = octal ? (char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0')) : *c;
        i += octal ? 4 : 1;
    }
    out[n] = 0;
    return 0;
}

struct mount {
    struct span root;
    struct span point;
    struct span type;
    struct span options; /* of the file system */
};

/* "36 35 98:0 /root /point rw,noatime master:1 - type source options" */
static bool mount_parse(struct span line, struct mount *ret_mount)
{
    struct span word;
    bool more = true;
    for (int i = 0; i < 3 && more; i++)
        more = span_take(&line, ' ', &word);
    more =
        more && span_take(&line, ' ', &ret_mount->root) && span_take(&line, ' ', &ret_mount->point);
    do
        more = more && span_take(&line, ' ', &word);
    while (more && !span_is(word, "-"));
    return more && span_take(&line, ' ', &ret_mount->type) && span_take(&line, ' ', &word) &&
           span_take(&line, ' ', &ret_mount->options);
}

static bool mount_is(const struct mount *mount, enum cgroup_hierarchy hierarchy)
{
    if (hierarchy == CGROUP_UNIFIED)
        return span_is(mount->type, "cgroup2");
    return span_is(mount->type, "cgroup") && list_holds(mount->options, hierarchy_names[hierarchy]);
}

/* Our path in @hierarchy. "4:memory:/a/b", "0::/a/b". False where there is none. */
static bool own_path(struct span cgroups, enum cgroup_hierarchy hierarchy, struct span *ret_path)
{
    struct span line, number, controllers;
    while (span_take(&cgroups, '\n', &line)) {
        if (!span_take(&line, ':', &number) || !span_take(&line, ':', &controllers) || !line.data)
            continue;
        bool ours = hierarchy == CGROUP_UNIFIED
                        ? span_is(number, "0") && controllers.size == 0
                        : list_holds(controllers, hierarchy_names[hierarchy]);
        if (ours) {
            *ret_path = line;
            return true;
        }
    }
    return false;
}

/* @path below @root, as seen through the mount; "" where it lies elsewhere (then the mount's own
 * directory is all that we can see of ourselves). */
static const char *below_root(const char *path, const char *root)
{
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, length) != 0 || (path[length] != 0 && path[length] != '/') ||
        strstr(path + length, "/.."))
        return "";
    return path + length;
}

/* Opens @point/@below and its parents up to @point. */
static int levels_open(struct levels *levels, const char *point, const char *below)
{
    char path[CGROUP_PATH_MAX * 2];
    size_t base = strlen(point);
    int n = snprintf(path, sizeof(path), "%s%s", point, below);
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    while (levels->count < LEVELS_MAX) {
        int fd = io_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd >= 0)
            levels->fds[levels->count++] = fd;
        else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
            return fd;
        char *slash = strrchr(path, '/');
        if (strlen(path) <= base || !slash)
            return 0;
        *(slash > path + base ? slash : path + base) = 0;
    }
    return 0;
}

bool own_cgroup_locate(const char *cgroups, size_t cgroups_size, const char *mounts,
    size_t mounts_size, enum cgroup_hierarchy hierarchy, struct cgroup_place *ret_place)
{
    char path[CGROUP_PATH_MAX], root[CGROUP_PATH_MAX];
    struct span rest = {mounts, mounts_size}, line, own;
    struct mount mount;
    if (!own_path((struct span){cgroups, cgroups_size}, hierarchy, &own) || unescape(own, path) < 0)
        return false;
    while (span_take(&rest, '\n', &line)) {
        if (!mount_parse(line, &mount) || !mount_is(&mount, hierarchy) ||
            unescape(mount.root, root) < 0 || unescape(mount.point, ret_place->point) < 0)
            continue;
        snprintf(ret_place->below, sizeof(ret_place->below), "%s", below_root(path, root));
        return true;
    }
    return false;
}

/* Reads all of a file that may be long. Returns 0 or -errno. */
static int read_whole(int dir_fd, const char *path, struct buf *text)
{
    int fd cleanup_close = io_openat(dir_fd, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    text->limit = MOUNTS_LIMIT;
    for (;;) {
        int r = buf_reserve(text, 4096);
        if (r < 0)
            return r == -E2BIG ? 0 : r;
        ssize_t n = read(fd, text->data + text->size, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        text->size += (size_t)n;
    }
}

static int find_all(struct own_cgroup *group, int proc_fd, const char *cgroup_path)
{
    struct buf cgroups CLEANUP(buf_done) = {0}, mounts CLEANUP(buf_done) = {0};
    int r = read_whole(proc_fd, "self/cgroup", &cgroups);
    if (r < 0)
        return r == -ENOMEM || r == -EMFILE ? r : 0;
    if (cgroup_path) {
        char path[CGROUP_PATH_MAX];
        struct span own;
        if (!own_path((struct span){cgroups.data, cgroups.size}, CGROUP_UNIFIED, &own) ||
            unescape(own, path) < 0)
            return 0;
        return levels_open(&group->levels[CGROUP_UNIFIED], cgroup_path, below_root(path, "/"));
    }
    r = read_whole(proc_fd, "self/mountinfo", &mounts);
    if (r < 0)
        return r == -ENOMEM || r == -EMFILE ? r : 0;
    struct cgroup_place *place cleanup_free = mem_alloc(sizeof(*place));
    if (!place)
        return -ENOMEM;
    for (int i = 0; i < CGROUP_HIERARCHIES && r == 0; i++) {
        if (own_cgroup_locate(cgroups.data, cgroups.size, mounts.data, mounts.size,
                (enum cgroup_hierarchy)i, place))
            r = levels_open(&group->levels[i], place->point, place->below);
    }
    return r;
}

static void own_cgroup_freep(struct own_cgroup **group)
{
    own_cgroup_free(*group);
}

int own_cgroup_new(int proc_fd, const char *cgroup_path, struct own_cgroup **ret_group)
{
    struct own_cgroup *group CLEANUP(own_cgroup_freep) = mem_alloc(sizeof(*group));
    if (!group)
        return -ENOMEM;
    if (!cgroup_path || *cgroup_path) {
        int r = find_all(group, proc_fd, cgroup_path);
        if (r < 0)
            return r;
    }
    *ret_group = TAKE_PTR(group);
    return 0;
}

/* ---- Reading */

/* A file of one number. "max" and "-1" are no number. Returns 0 or -errno. */
static int read_number(int dir_fd, const char *file, uint64_t *ret_value)
{
    char text[64];
    ssize_t n = io_read_file(dir_fd, file, text, sizeof(text));
    if (n < 0)
        return (int)n;
    const char *c = text;
    return parse_digits(&c, text + n, ret_value);
}

static int read_key(int dir_fd, const char *file, const char *key, uint64_t *ret_value)
{
    char text[8192];
    ssize_t n = io_read_file(dir_fd, file, text, sizeof(text));
    if (n < 0)
        return (int)n;
    return procfs_parse_key(text, (size_t)n, key, ret_value);
}

/* "QUOTA PERIOD" or "max PERIOD". */
static double cpu_max(int dir_fd)
{
    char text[64];
    uint64_t quota, period;
    ssize_t n = io_read_file(dir_fd, "cpu.max", text, sizeof(text));
    if (n < 0)
        return INFINITY;
    const char *c = text, *end = text + n;
    if (parse_digits(&c, end, &quota) < 0 || c >= end || *c++ != ' ' ||
        parse_digits(&c, end, &period) < 0 || period == 0)
        return INFINITY;
    return (double)quota / (double)period;
}

static double cfs_quota(int dir_fd)
{
    uint64_t quota, period;
    if (read_number(dir_fd, "cpu.cfs_quota_us", &quota) < 0 ||
        read_number(dir_fd, "cpu.cfs_period_us", &period) < 0 || period == 0)
        return INFINITY;
    return (double)quota / (double)period;
}

static void read_cpu_v2(const struct levels *levels, struct cgroup_limits *limits)
{
    for (size_t i = 0; i < levels->count; i++) {
        double cores = cpu_max(levels->fds[i]);
        uint64_t usage_us;
        if (!(cores < limits->cpu_cores))
            continue;
        limits->cpu_cores = cores;
        limits->cpu_usage_known =
            read_key(levels->fds[i], "cpu.stat", "usage_usec", &usage_us) == 0;
        limits->cpu_usage_ns = limits->cpu_usage_known ? usage_us * NS_PER_USEC : 0;
    }
}

/* The time lies in the cpuacct hierarchy, usually the same one. Both count levels from our own
 * place up, so the same index is the same group where the paths are the same. */
static void read_cpu_v1(
    const struct levels *cpu, const struct levels *acct, struct cgroup_limits *limits)
{
    for (size_t i = 0; i < cpu->count; i++) {
        double cores = cfs_quota(cpu->fds[i]);
        if (!(cores < limits->cpu_cores))
            continue;
        limits->cpu_cores = cores;
        limits->cpu_usage_known =
            read_number(cpu->fds[i], "cpuacct.usage", &limits->cpu_usage_ns) == 0 ||
            (acct->count == cpu->count &&
                read_number(acct->fds[i], "cpuacct.usage", &limits->cpu_usage_ns) == 0);
    }
}

struct memory_files {
    const char *limit;
    const char *used;
    const char *inactive; /* key in memory.stat */
};

static void read_memory_used(
    int dir_fd, const struct memory_files *files, struct cgroup_limits *limits)
{
    uint64_t used, inactive;
    char text[256];
    limits->memory_used_known = read_number(dir_fd, files->used, &used) == 0;
    if (limits->memory_used_known) {
        if (read_key(dir_fd, "memory.stat", files->inactive, &inactive) < 0)
            inactive = 0;
        limits->memory_used_bytes = used > inactive ? used - inactive : 0;
    }
    ssize_t n = io_read_file(dir_fd, "memory.pressure", text, sizeof(text));
    limits->pressure_known =
        n > 0 && machine_parse_pressure(text, (size_t)n, &limits->memory_full_percent) == 0;
}

static void read_memory(
    const struct levels *levels, const struct memory_files *files, struct cgroup_limits *limits)
{
    size_t tightest = levels->count;
    for (size_t i = 0; i < levels->count; i++) {
        uint64_t bytes;
        if (read_number(levels->fds[i], files->limit, &bytes) < 0 || bytes >= limits->memory_bytes)
            continue;
        limits->memory_bytes = bytes;
        tightest = i;
    }
    if (tightest < levels->count)
        read_memory_used(levels->fds[tightest], files, limits);
}

void own_cgroup_read(const struct own_cgroup *group, struct cgroup_limits *ret_limits)
{
    static const struct memory_files v2 = {"memory.max", "memory.current", "inactive_file"};
    static const struct memory_files v1 = {
        "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
    struct cgroup_limits limits = {.cpu_cores = INFINITY, .memory_bytes = UINT64_MAX};
    read_cpu_v2(&group->levels[CGROUP_UNIFIED], &limits);
    read_cpu_v1(&group->levels[CGROUP_CPU], &group->levels[CGROUP_CPUACCT], &limits);
    read_memory(&group->levels[CGROUP_UNIFIED], &v2, &limits);
    read_memory(&group->levels[CGROUP_MEMORY], &v1, &limits);
    *ret_limits = limits;
}
