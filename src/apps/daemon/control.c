/* SPDX-License-Identifier: Apache-2.0 */
/* What the API asks of processes: stopping an agent, gently first. */
#include "daemon_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/io.h"
#include "base/mem.h"
#include "os/procfs.h"
#include "policy/quota.h"

/* Stops under way of ordinary users, who share them; privileged ones have as many as agents. */
#define STOPS_MAX 256

/* A process that was forked after the last sample is found by the next one. */
#define KILL_ROUNDS_MAX 50
#define KILL_AGAIN_NS   (100 * NS_PER_MSEC)

struct stop_request {
    struct stop_request *next;
    struct daemon *daemon;
    sd_event_source *timer;
    char id[AC_AGENT_ID_MAX + 1];
    uint64_t added_ns; /* of the agent that is meant: another one may get its name meanwhile */
    uint64_t due_ns;
    uint32_t as_uid; /* only this user's processes; UINT32_MAX = all */
    uint32_t killed;
    unsigned rounds;
};

/* Through a descriptor, so that a pid that was given to another process meanwhile is not hit. */
static int signal_process(
    struct daemon *daemon, const struct proc_record *proc, int signal, uint32_t as_uid)
{
    uint64_t ticks;
    uint32_t owner;
    int fd cleanup_close = (int)syscall(SYS_pidfd_open, proc->pid, 0);
    if (fd < 0 || procfs_start_ticks(daemon->proc_fd, proc->pid, &ticks) < 0 ||
        ticks != proc->start_ticks || procfs_owner(daemon->proc_fd, proc->pid, &owner) < 0)
        return -ESRCH;
    if (as_uid != UINT32_MAX && owner != as_uid)
        return -EPERM;
    return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) == 0 ? 0 : -errno;
}

/* -EPERM where there are processes and none of them may be signalled. */
static int signal_agent(struct daemon *daemon, const struct agent *agent, int signal,
    uint32_t as_uid, uint32_t *ret_signalled)
{
    const struct registry *registry = core_registry(daemon->core);
    size_t n = registry_members(registry, agent->slot, NULL, 0);
    struct proc_record *procs cleanup_free = mem_alloc_array(n, sizeof(*procs));
    if (!procs)
        return -ENOMEM;
    n = MIN(n, registry_members(registry, agent->slot, procs, n));
    uint32_t signalled = 0;
    bool denied = false;
    for (size_t i = 0; i < n; i++) {
        int r = procs[i].state != 'Z' ? signal_process(daemon, &procs[i], signal, as_uid) : -ESRCH;
        signalled += r == 0;
        denied = denied || r == -EPERM;
    }
    if (denied && signalled == 0)
        return -EPERM;
    *ret_signalled = signalled;
    return 0;
}

static void stop_done(struct stop_request *request)
{
    struct stop_request **link = &request->daemon->stops;
    while (*link != request)
        link = &(*link)->next;
    *link = request->next;
    sd_event_source_unref(request->timer);
    mem_free(request);
}

/* The agent that is being stopped, NULL once it is gone. */
static const struct agent *stop_agent(const struct stop_request *request)
{
    const struct agent *agent = registry_get(core_registry(request->daemon->core), request->id);
    if (!agent || agent->state == AGENT_EXITED || agent->added.mono.ns != request->added_ns)
        return NULL;
    return agent;
}

static int stop_set_time(struct stop_request *request, uint64_t due_ns)
{
    request->due_ns = due_ns;
    int r = sd_event_source_set_time(request->timer, due_ns / NS_PER_USEC);
    return r < 0 ? r : sd_event_source_set_enabled(request->timer, SD_EVENT_ONESHOT);
}

static int stop_grace_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct stop_request *request = userdata;
    (void)source;
    (void)usec;
    uint32_t killed = 0;
    (void)daemon_sample(request->daemon);
    const struct agent *agent = stop_agent(request);
    if (agent)
        (void)signal_agent(request->daemon, agent, SIGKILL, request->as_uid, &killed);
    request->killed = MAX(request->killed, killed);
    if (agent && ++request->rounds < KILL_ROUNDS_MAX &&
        stop_set_time(request, clock_mono().ns + KILL_AGAIN_NS) >= 0)
        return 0;
    if (request->killed > 0)
        log_event(LOG_LEVEL_WARNING, "agent killed after its grace time",
            log_str("agent", request->id), log_uint("processes", request->killed));
    if (agent)
        log_event(LOG_LEVEL_WARNING, "agent lives on although it was killed",
            log_str("agent", request->id), log_uint("processes", agent->processes));
    stop_done(request);
    return 0;
}

/* The request for the same of this agent, where there is one. Those whose agent is gone have had
 * their effect, however long their grace time. */
static struct stop_request *stop_find(
    struct daemon *daemon, const struct agent *agent, uint32_t as_uid)
{
    struct stop_request *found = NULL, *next;
    for (struct stop_request *request = daemon->stops; request; request = next) {
        next = request->next;
        const struct agent *other = stop_agent(request);
        if (!other)
            stop_done(request);
        else if (other == agent && request->as_uid == as_uid)
            found = request;
    }
    return found;
}

static bool stops_spent(const struct daemon *daemon, uint32_t as_uid)
{
    uint32_t own = 0, ordinary = 0;
    for (const struct stop_request *request = daemon->stops; request; request = request->next) {
        own += request->as_uid == as_uid;
        ordinary += request->as_uid != UINT32_MAX;
    }
    return as_uid != UINT32_MAX && quota_spent(STOPS_MAX, own, ordinary);
}

static int stop_schedule(
    struct daemon *daemon, const struct agent *agent, uint64_t grace_ns, uint32_t as_uid)
{
    uint64_t due_ns = clock_mono().ns + grace_ns;
    struct stop_request *present = stop_find(daemon, agent, as_uid);
    if (present)
        return due_ns < present->due_ns ? stop_set_time(present, due_ns) : 0;
    if (stops_spent(daemon, as_uid))
        return -ENOSPC;
    struct stop_request *request = mem_alloc(sizeof(*request));
    if (!request)
        return -ENOMEM;
    request->daemon = daemon;
    request->due_ns = due_ns;
    request->as_uid = as_uid;
    request->added_ns = agent->added.mono.ns;
    snprintf(request->id, sizeof(request->id), "%s", agent->spec.id);
    int r = sd_event_add_time(daemon->event, &request->timer, CLOCK_MONOTONIC, due_ns / NS_PER_USEC,
        10000, stop_grace_over, request);
    if (r < 0) {
        mem_free(request);
        return r;
    }
    request->next = daemon->stops;
    daemon->stops = request;
    return 0;
}

int control_stop(struct daemon *daemon, const struct agent *agent, int signal, uint64_t grace_ns,
    uint32_t as_uid, uint32_t *ret_signalled, struct ac_error *error)
{
    uint32_t signalled;
    char id[AC_AGENT_ID_MAX + 1];
    snprintf(id, sizeof(id), "%s", agent->spec.id);
    if (agent->processes == 0 && agent->state == AGENT_RUNNING) { /* came after the last sample */
        (void)daemon_sample(daemon);
        agent = registry_get(core_registry(daemon->core), id);
    }
    if (!agent || agent->processes == 0)
        return error_set(error, -EALREADY, "agent %s has no process to stop", id);
    int r = signal_agent(daemon, agent, 0, as_uid, &signalled); /* asks only whether we may */
    if (r == -EPERM)
        return error_set(error, r,
            "agent %s: its processes belong to another user, who may not be signalled", id);
    if (r == 0)
        r = stop_schedule(daemon, agent, grace_ns, as_uid);
    if (r == 0)
        r = signal_agent(daemon, agent, signal, as_uid, &signalled);
    if (r == -ENOSPC)
        return error_set(error, r,
            "%u agents of yours, or %u of all ordinary users, are being stopped already: try again "
            "when some have ended",
            quota_of(STOPS_MAX), STOPS_MAX - quota_of(STOPS_MAX));
    if (r < 0)
        return error_errno(error, r, "stopping agent %s", id);
    log_event(LOG_LEVEL_INFO, "agent is being stopped", log_str("agent", id),
        log_int("signal", signal), log_uint("processes", signalled));
    *ret_signalled = signalled;
    return 0;
}

void control_free(struct daemon *daemon)
{
    while (daemon->stops)
        stop_done(daemon->stops);
}
