/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup of its own for each agent that announced itself ("agentcore run"): exact accounts, and
 * network by agent. Other agents (attached by pid) stay where they are: moving somebody else's
 * processes would take them away from whoever manages them.
 *
 * The groups are agentcore/<id> at the root of the cgroup v2 mount. Without the mount, or without
 * the right to write there, agents are metered by their processes alone.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "os/cgroup_write.h"

#define GROUPS_NAME "agentcore"

void groups_open(struct daemon *daemon)
{
    daemon->groups_fd = -1;
    if (!daemon->collector->ops->watch_group)
        return;
    int root cleanup_close = cgroup_root_open();
    int fd = root < 0 ? root : cgroup_make(root, GROUPS_NAME);
    if (fd < 0) {
        log_event(LOG_LEVEL_INFO, "agents get no cgroup of their own",
            log_str("reason", strerror(-fd)),
            log_str("consequence", "their network use is unknown"));
        return;
    }
    (void)cgroup_enable_controllers(root);
    (void)cgroup_enable_controllers(fd);
    daemon->groups_fd = fd;
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
    io_closep(&daemon->groups_fd);
}
