/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Core: usage that runtimes report. A report is put to use at once: history, thresholds, ledger.
 * Beyond REPORTS_PER_SECOND of one agent, reports only replace each other in the agent's inbox,
 * and the last one is put to use at the next tick or look: nothing that a person sees is older
 * for it, and an agent that reports in a tight loop costs next to nothing.
 */
#include "engine/core_internal.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "model/usage.h"

/* As many samples of a second as history in memory keeps. */
#define REPORTS_PER_SECOND 16

/* A coarse clock is behind by up to a tick of the kernel's: what is from later than that is from no
 * time that has been. */
#define COARSE_NS ((int64_t)(10 * NS_PER_MSEC))

struct core_inbox {
    struct ac_usage usage; /* where .waiting */
    uint64_t second_ns;    /* start of the second that .count counts */
    uint32_t count;
    bool waiting; /* .usage is to be put to use */
    bool listed;  /* in core->waiting, where each slot stands once */
};

static struct core_inbox *inbox_at(struct core *core, agent_slot slot)
{
    if (slot < core->n_inboxes)
        return &core->inboxes[slot];
    uint32_t n = MAX(slot + 1, MAX(core->n_inboxes * 2, 16u));
    struct core_inbox *inboxes = mem_resize_array(core->inboxes, n, sizeof(*inboxes));
    if (!inboxes)
        return NULL;
    core->inboxes = inboxes;
    agent_slot *waiting = mem_resize_array(core->waiting, n, sizeof(*waiting));
    if (!waiting)
        return NULL;
    core->waiting = waiting;
    memset(inboxes + core->n_inboxes, 0, (n - core->n_inboxes) * sizeof(*inboxes));
    core->n_inboxes = n;
    return &inboxes[slot];
}

void core_inbox_reset(struct core *core, agent_slot slot)
{
    if (slot < core->n_inboxes)
        core->inboxes[slot] = (struct core_inbox){.listed = core->inboxes[slot].listed};
}

/* History, thresholds and ledger of what the registry has taken in. */
static int report_use(
    struct core *core, const struct agent *agent, const struct ac_usage *usage, struct moment now)
{
    int r = 0;
    if (agent->measured.known == 0) {
        struct rules_subject subject = core_subject(core, agent);
        r = recent_append(core->recent, agent->slot, usage);
        rules_check(core->rules, &subject, &agent->usage, now);
    }
    int used = core_ledger_use(core, agent);
    return r < 0 ? r : used;
}

/* What runs no more can use nothing. One that only reports comes back by reporting. */
static bool has_ended(const struct agent *agent)
{
    return agent->state == AGENT_EXITED && agent->spec.root_pid != 0;
}

void core_flush_slow(struct core *core)
{
    for (uint32_t i = 0; i < core->n_waiting; i++) {
        struct core_inbox *inbox = &core->inboxes[core->waiting[i]];
        const struct agent *agent = registry_at(core->registry, core->waiting[i]);
        inbox->listed = false;
        if (!agent || !inbox->waiting)
            continue;
        inbox->waiting = false;
        if (has_ended(agent))
            continue;
        if (registry_report(
                core->registry, agent->spec.id, &inbox->usage, core->now, false, &agent) == 0)
            (void)report_use(core, agent, &inbox->usage, core->now);
    }
    core->n_waiting = 0;
}

/* Whether the agent has reported enough for this second: then @usage waits in its inbox. */
static bool report_waits(struct core *core, struct core_inbox *inbox, agent_slot slot,
    const struct ac_usage *usage, struct moment now)
{
    if (mono_since(now.mono, (struct mono){inbox->second_ns}) >= NS_PER_SEC) {
        inbox->second_ns = now.mono.ns;
        inbox->count = 0;
    }
    if (inbox->count < REPORTS_PER_SECOND) {
        inbox->count++;
        inbox->waiting = false; /* this one is newer */
        return false;
    }
    inbox->usage = *usage;
    inbox->waiting = true;
    if (!inbox->listed)
        core->waiting[core->n_waiting++] = slot;
    inbox->listed = true;
    return true;
}

static int report_error(const char *id, int r, struct ac_error *error)
{
    switch (r) {
    case -ENOENT:
        return error_set(error, r, "agent %s is not known", id);
    case -ENOSPC:
        return error_set(
            error, r, "agent %s: there are as many agents as caps.max_agents allows", id);
    default:
        return error_errno(error, r, "agent %s", id);
    }
}

int core_agent_heard(struct core *core, const struct agent **agent, struct moment now)
{
    if ((*agent)->state == AGENT_EXITED && (*agent)->spec.root_pid == 0) {
        struct agent_spec spec = (*agent)->spec;
        int r = core_agent_add(core, &spec, now, agent, NULL);
        if (r < 0)
            return r;
    }
    struct core_slot *memory = core_slot_at(core, (*agent)->slot);
    if (memory)
        memory->heard_ns = MAX(memory->heard_ns, now.mono.ns);
    return 0;
}

uint64_t core_silent_ns(const struct core *core, const struct agent *agent)
{
    uint64_t most = core->options.report_timeout_ns;
    if (most == 0 || agent->spec.root_pid != 0 || agent->state != AGENT_RUNNING ||
        agent->slot >= core->n_slots)
        return 0;
    uint64_t silent = mono_since(core->now.mono, (struct mono){core->slots[agent->slot].heard_ns});
    return silent >= most ? silent : 0;
}

/* The agent of @id, added where it is new and @create. */
static int report_agent(struct core *core, const char *id, struct moment now, bool create,
    const struct agent **ret_agent, struct ac_error *error)
{
    const struct agent *agent = id ? registry_get(core->registry, id) : NULL;
    if (agent && has_ended(agent) && !create)
        return error_set(error, -EALREADY, "agent %s has ended already", id);
    if (agent && !has_ended(agent)) {
        *ret_agent = agent;
        return core_agent_heard(core, ret_agent, now);
    }
    struct agent_spec spec = {.owner_uid = UINT32_MAX};
    int r = core_check_id(id, error);
    if (r < 0)
        return r;
    if (!create)
        return report_error(id, -ENOENT, error);
    memcpy(spec.id, id, strlen(id) + 1);
    return core_agent_add(core, &spec, now, ret_agent, error);
}

int core_report(struct core *core, const char *id, const struct ac_usage *usage, struct moment now,
    bool create, struct ac_error *error)
{
    const struct agent *agent;
    int r = ac_usage_validate(usage, error);
    if (r == 0)
        r = report_agent(core, id, now, create, &agent, error);
    if (r < 0)
        return r;
    core->now = now;
    struct core_inbox *inbox = inbox_at(core, agent->slot);
    if (!inbox)
        return error_errno(error, -ENOMEM, "agent %s", id);
    struct ac_usage stamped = *usage;
    if (stamped.timestamp_ns == 0 || stamped.timestamp_ns > now.wall_ns + COARSE_NS)
        stamped.timestamp_ns = now.wall_ns;
    if (report_waits(core, inbox, agent->slot, &stamped, now))
        return 0;
    r = registry_report(core->registry, agent->spec.id, &stamped, now, false, &agent);
    return r < 0 ? report_error(id, r, error) : report_use(core, agent, &stamped, now);
}
