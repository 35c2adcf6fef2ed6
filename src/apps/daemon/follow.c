/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector and the cgroups follow who is an agent, by the events of the core. Which agent of
 * which slot they follow is remembered: where events were lost, what differs is put right.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

/* The agent of a slot; .root_pid is 0 where there is none that is followed. */
struct followed {
    uint64_t added_ns; /* monotonic */
    int32_t root_pid;
};

static bool followed_reserve(struct daemon *daemon, agent_slot slot)
{
    if (slot < daemon->n_followed)
        return true;
    uint32_t n = MAX(MAX(slot + 1, daemon->n_followed * 2), 64u);
    struct followed *followed = mem_resize_array(daemon->followed, n, sizeof(*followed));
    if (!followed)
        return false;
    memset(followed + daemon->n_followed, 0, (n - daemon->n_followed) * sizeof(*followed));
    daemon->followed = followed;
    daemon->n_followed = n;
    return true;
}

static bool is_followed(const struct daemon *daemon, const struct agent *agent)
{
    const struct followed *followed =
        agent->slot < daemon->n_followed ? &daemon->followed[agent->slot] : NULL;
    return followed && followed->added_ns == agent->added.mono.ns &&
           followed->root_pid == agent->spec.root_pid;
}

static void follow_end(struct daemon *daemon, agent_slot slot)
{
    const struct collector_ops *ops = daemon->collector->ops;
    if (ops->release)
        ops->release(daemon->collector, slot);
    if (slot < daemon->n_followed)
        daemon->followed[slot] = (struct followed){0};
}

static void follow_begin(struct daemon *daemon, const struct agent *agent)
{
    const struct collector_ops *ops = daemon->collector->ops;
    follow_end(daemon, agent->slot); /* should the end of the slot's last agent have been lost */
    groups_add(daemon, agent);
    int r = ops->adopt ? ops->adopt(daemon->collector, agent->slot, agent->spec.root_pid,
                             agent->spec.root_start_ticks)
                       : 0;
    if (r < 0 && r != -ESRCH)
        log_event(LOG_LEVEL_WARNING, "collector cannot follow an agent",
            log_str("agent", agent->spec.id), log_str("reason", strerror(-r)));
    if (followed_reserve(daemon, agent->slot))
        daemon->followed[agent->slot] =
            (struct followed){agent->added.mono.ns, agent->spec.root_pid};
}

/* Nobody can tell which events are missing: every slot is looked at. */
static void follow_again(struct daemon *daemon)
{
    const struct registry *registry = core_registry(daemon->core);
    const struct agent *agent;
    for (agent_slot slot = 1; slot < daemon->n_followed; slot++) {
        agent = registry_at(registry, slot);
        if (daemon->followed[slot].root_pid != 0 && !(agent && is_followed(daemon, agent)))
            follow_end(daemon, slot);
    }
    for (agent_slot cursor = 0; (agent = registry_next(registry, &cursor));) {
        if (agent->spec.root_pid != 0 && agent->state != AGENT_EXITED &&
            !is_followed(daemon, agent))
            follow_begin(daemon, agent);
    }
    groups_tidy(daemon);
}

void follow_event(struct daemon *daemon, const struct event *event)
{
    const struct agent *agent;
    switch (event->kind) {
    case EVENT_AGENT_ADDED:
        agent = registry_get(core_registry(daemon->core), event->agent_id);
        if (agent && agent->slot == event->agent_slot && agent->spec.root_pid != 0 &&
            !is_followed(daemon, agent))
            follow_begin(daemon, agent);
        break;
    case EVENT_AGENT_REMOVED:
        follow_end(daemon, event->agent_slot);
        groups_remove(daemon, event->agent_id);
        break;
    case EVENT_AGENT_EXITED:
        groups_remove(daemon, event->agent_id);
        break;
    case EVENT_LOST:
        follow_again(daemon);
        break;
    default:
        break;
    }
}
