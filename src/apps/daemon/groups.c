/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup of its own for each agent that announced itself ("agentcore run"): exact accounts, and
 * network by agent. Other agents (attached by pid) stay where they are: moving somebody else's
 * processes would take them away from whoever manages them.
 *
 * The groups are agentcore-<hash of the socket's path>/<id> at the root of the cgroup v2 mount: two
 * daemons never share one, and a restarted one finds its own. Empty ones are removed at start and
 * stop. Without the mount, or without the right to write there, agents are metered by their
 * processes alone.
 */
#include "daemon_internal.h"

#define XXH_INLINE_ALL
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/io.h"
#include "os/cgroup_write.h"

#define NAME_SIZE sizeof("agentcore-0123456789abcdef")

static void groups_name(const struct daemon *daemon, char name[NAME_SIZE])
{
    const char *socket = daemon->config.socket;
    snprintf(
        name, NAME_SIZE, "agentcore-%016" PRIx64, (uint64_t)XXH3_64bits(socket, strlen(socket)));
}

/* Removes what is empty; the kernel keeps the rest. */
static void groups_sweep(const struct daemon *daemon)
{
    int fd = io_openat(daemon->groups_fd, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(directory))) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            (void)cgroup_remove(daemon->groups_fd, entry->d_name);
    }
    closedir(directory);
}

void groups_open(struct daemon *daemon)
{
    char name[NAME_SIZE];
    daemon->groups_fd = -1;
    if (!daemon->collector->ops->watch_group)
        return;
    int root cleanup_close = cgroup_root_open();
    groups_name(daemon, name);
    int fd = root < 0 ? root : cgroup_make(root, name);
    if (fd < 0) {
        log_event(LOG_LEVEL_INFO, "agents get no cgroup of their own",
            log_str("reason", strerror(-fd)),
            log_str("consequence", "their network use is unknown"));
        return;
    }
    (void)cgroup_enable_controllers(root);
    (void)cgroup_enable_controllers(fd);
    daemon->groups_fd = fd;
    groups_sweep(daemon);
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

void groups_add(struct daemon *daemon, const struct agent *agent)
{
    if (daemon->groups_fd < 0 || agent->spec.root_pid == 0)
        return;
    int fd cleanup_close =
        agent->spec.announced_itself
            ? group_make(daemon, agent)
            : io_openat(daemon->groups_fd, agent->spec.id, O_RDONLY | O_DIRECTORY, 0);
    int r = fd < 0 ? fd : daemon->collector->ops->watch_group(daemon->collector, agent->slot, fd);
    if (r < 0 && (agent->spec.announced_itself || r != -ENOENT) && r != -ESRCH)
        log_event(LOG_LEVEL_WARNING, "agent gets no cgroup of its own",
            log_str("agent", agent->spec.id), log_str("reason", strerror(-r)));
}

void groups_remove(struct daemon *daemon, const char *id)
{
    if (daemon->groups_fd >= 0)
        (void)cgroup_remove(daemon->groups_fd, id);
}

void groups_close(struct daemon *daemon)
{
    char name[NAME_SIZE];
    if (daemon->groups_fd < 0)
        return;
    groups_sweep(daemon);
    io_closep(&daemon->groups_fd);
    groups_name(daemon, name);
    int root cleanup_close = cgroup_root_open();
    if (root >= 0)
        (void)cgroup_remove(root, name);
}
