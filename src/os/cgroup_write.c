/* SPDX-License-Identifier: Apache-2.0 */
#include "os/cgroup_write.h"

#include <errno.h>
#include <linux/magic.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/fault.h"
#include "base/io.h"

#define PERIOD_US 100000

int cgroup_root_open(void)
{
    static const char *const places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    struct statfs status;

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        int fd cleanup_close = io_openat(AT_FDCWD, places[i], O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0 || fstatfs(fd, &status) < 0 || status.f_type != CGROUP2_SUPER_MAGIC)
            continue;
        int found = fd;
        fd = -1;
        return found;
    }
    return -ENOENT;
}

static int check_name(const char *name)
{
    bool bad = !name[0] || strchr(name, '/') || strchr(name, '\n') || !strcmp(name, ".") ||
               !strcmp(name, "..") || strlen(name) > 255;
    return bad ? -EINVAL : 0;
}

int cgroup_make(int parent_fd, const char *name)
{
    int r = check_name(name);

    if (r < 0)
        return r;
    if (fault_hit(FAULT_SYSCALL))
        return -EIO;
    if (mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    return io_openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* One at a time: one that is not there must not take the others with it. */
int cgroup_enable_controllers(int parent_fd)
{
    static const char *const controllers[] = {"+cpu", "+memory", "+io", "+pids"};
    int on = 0;
    int fd cleanup_close = io_openat(parent_fd, "cgroup.subtree_control", O_WRONLY, 0);

    if (fd < 0)
        return fd;
    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
        on += write(fd, controllers[i], strlen(controllers[i])) > 0;
    return on;
}

int cgroup_set(int dir_fd, const char *file, const char *value)
{
    return io_write_file(dir_fd, file, value);
}

int cgroup_set_number(int dir_fd, const char *file, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return io_write_file(dir_fd, file, text);
}

int cgroup_move(int dir_fd, int32_t pid)
{
    return pid > 0 ? cgroup_set_number(dir_fd, "cgroup.procs", (uint64_t)pid) : -EINVAL;
}

int cgroup_set_cores(int dir_fd, double cores)
{
    char text[48];

    if (!isfinite(cores) || cores < 0 || cores > 1e6)
        return -EINVAL;
    if (cores == 0)
        snprintf(text, sizeof(text), "max %d", PERIOD_US);
    else /* the kernel takes no less than a millisecond */
        snprintf(text, sizeof(text), "%.0f %d", fmax(cores * PERIOD_US, 1000), PERIOD_US);
    return io_write_file(dir_fd, "cpu.max", text);
}

int cgroup_kill(int dir_fd)
{
    return io_write_file(dir_fd, "cgroup.kill", "1");
}

int cgroup_freeze(int dir_fd, int frozen)
{
    return io_write_file(dir_fd, "cgroup.freeze", frozen ? "1" : "0");
}

int cgroup_remove(int parent_fd, const char *name)
{
    int r = check_name(name);

    if (r < 0)
        return r;
    if (fault_hit(FAULT_SYSCALL))
        return -EIO;
    if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return -errno;
    return 0;
}
