/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup of its own for each agent that announced itself ("agentcore run"): exact accounts, and
 * network by agent. Other agents (attached by pid) stay where they are: moving somebody else's
 * processes would take them away from whoever manages them.
 *
 * The groups are agentcore-<hash of the socket's path>/<id> at the root of the cgroup v2 mount: two
 * daemons never share one, and a restarted one finds its own. A daemon holds a lock on its
 * directory; having given up root's powers it cannot remove it at the end, so the next start of any
 * daemon removes what nobody holds and nothing lives in. Without the mount, or without the right to
 * write there, agents are metered by their processes alone.
 */
#include "daemon_internal.h"

#define XXH_INLINE_ALL
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/parse.h"
#include "os/cgroup_write.h"
#include "os/procfs.h"

#define NAME_PREFIX "agentcore-"

/* How many processes of a group are taken over at a restart, where that is one by one. */
#define ADOPT_MAX 4096

/* By the socket's full path: a relative one means another socket elsewhere. */
static void groups_name(struct daemon *daemon)
{
    char path[PATH_MAX];
    const char *socket = realpath(daemon->config.socket, path) ? path : daemon->config.socket;
    snprintf(daemon->groups_name, sizeof(daemon->groups_name), NAME_PREFIX "%016" PRIx64,
        (uint64_t)XXH3_64bits(socket, strlen(socket)));
}

/* Calls @each for the directories in @dir_fd. */
static void each_group(int dir_fd,
    void (*each)(struct daemon *daemon, int dir_fd, const char *name), struct daemon *daemon)
{
    int fd = io_openat(dir_fd, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(directory))) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            each(daemon, dir_fd, entry->d_name);
    }
    closedir(directory);
}

/* Removes what is empty; the kernel keeps the rest. */
static void remove_empty(struct daemon *daemon, int dir_fd, const char *name)
{
    (void)daemon;
    (void)cgroup_remove(dir_fd, name);
}

/* What a daemon of another socket left: nobody holds its lock. Groups with processes in them stay
 * until that daemon comes again. */
static void remove_left_over(struct daemon *daemon, int root_fd, const char *name)
{
    if (strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0 ||
        strlen(name) != strlen(daemon->groups_name) || strcmp(name, daemon->groups_name) == 0)
        return;
    int fd cleanup_close = io_openat(root_fd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return;
    each_group(fd, remove_empty, daemon);
    (void)cgroup_remove(root_fd, name);
}

void groups_open(struct daemon *daemon)
{
    daemon->groups_fd = -1;
    if (!daemon->collector->ops->watch_group)
        return;
    int root cleanup_close = cgroup_root_open();
    groups_name(daemon);
    int fd = root < 0 ? root : cgroup_make(root, daemon->groups_name);
    if (fd < 0) {
        log_event(LOG_LEVEL_INFO, "agents get no cgroup of their own",
            log_str("reason", strerror(-fd)),
            log_str("consequence", "their network use is unknown"));
        return;
    }
    (void)flock(fd, LOCK_EX | LOCK_NB); /* tells others that it is in use */
    (void)cgroup_enable_controllers(root);
    (void)cgroup_enable_controllers(fd);
    daemon->groups_fd = fd;
    each_group(fd, remove_empty, daemon);
    each_group(root, remove_left_over, daemon);
}

static int group_make(struct daemon *daemon, const struct agent *agent)
{
    int fd = cgroup_make(daemon->groups_fd, agent->spec.id);
    if (fd < 0)
        return fd;
    int r = cgroup_move(fd, agent->spec.root_pid);
    if (r < 0) {
        io_closep(&fd);
        (void)cgroup_remove(daemon->groups_fd, agent->spec.id);
        return r;
    }
    return fd;
}

/* ---- Groups that outlived a daemon */

/* The pids in the group, one per line; cut at ADOPT_MAX of them. */
static int read_pids(int dir_fd, struct buf *ret_text)
{
    char part[4096];
    int fd cleanup_close = io_openat(dir_fd, "cgroup.procs", O_RDONLY, 0);
    if (fd < 0)
        return fd;
    for (;;) {
        ssize_t n = read(fd, part, sizeof(part));
        if (n == 0)
            return 0;
        if (n < 0)
            return -errno;
        int r = buf_append(ret_text, part, (size_t)n);
        if (r < 0 || ret_text->size > ADOPT_MAX * sizeof("4194304"))
            return r;
    }
}

bool groups_populated(const struct daemon *daemon, const char *id)
{
    struct buf pids CLEANUP(buf_done) = {0};
    if (daemon->groups_fd < 0)
        return false;
    int fd cleanup_close = io_openat(daemon->groups_fd, id, O_RDONLY | O_DIRECTORY, 0);
    return fd >= 0 && read_pids(fd, &pids) == 0 && pids.size > 0;
}

/* Who is in the group is the agent's, whoever its parent is by now. */
static void adopt_group(struct daemon *daemon, agent_slot slot, int dir_fd)
{
    const struct collector_ops *ops = daemon->collector->ops;
    struct buf pids CLEANUP(buf_done) = {0};
    uint64_t pid, ticks;
    if (ops->adopt_group) {
        (void)ops->adopt_group(daemon->collector, slot, dir_fd);
        return;
    }
    if (!ops->adopt || read_pids(dir_fd, &pids) < 0 || pids.size == 0)
        return;
    const char *cursor = pids.data, *end = pids.data + pids.size;
    while (cursor < end && parse_digits(&cursor, end, &pid) == 0 && pid <= INT32_MAX) {
        if (procfs_start_ticks(daemon->proc_fd, (int32_t)pid, &ticks) == 0)
            (void)ops->adopt(daemon->collector, slot, (int32_t)pid, ticks);
        cursor++; /* the end of the line */
    }
}

void groups_add(struct daemon *daemon, const struct agent *agent)
{
    if (daemon->groups_fd < 0 || (!agent->spec.announced_itself && !daemon->restoring))
        return;
    int fd cleanup_close =
        daemon->restoring ? io_openat(daemon->groups_fd, agent->spec.id, O_RDONLY | O_DIRECTORY, 0)
                          : group_make(daemon, agent);
    int r = fd < 0 ? fd : daemon->collector->ops->watch_group(daemon->collector, agent->slot, fd);
    if (fd >= 0 && daemon->restoring)
        adopt_group(daemon, agent->slot, fd);
    if (r < 0 && !(daemon->restoring && r == -ENOENT) && r != -ESRCH)
        log_event(LOG_LEVEL_WARNING, "agent gets no cgroup of its own",
            log_str("agent", agent->spec.id), log_str("reason", strerror(-r)));
}

void groups_remove(struct daemon *daemon, const char *id)
{
    if (daemon->groups_fd >= 0)
        (void)cgroup_remove(daemon->groups_fd, id);
}

void groups_tidy(struct daemon *daemon)
{
    if (daemon->groups_fd >= 0)
        each_group(daemon->groups_fd, remove_empty, daemon);
}

void groups_close(struct daemon *daemon)
{
    if (daemon->groups_fd < 0)
        return;
    groups_tidy(daemon);
    io_closep(&daemon->groups_fd);
    int root cleanup_close = cgroup_root_open();
    if (root >= 0)
        (void)cgroup_remove(root, daemon->groups_name);
}
