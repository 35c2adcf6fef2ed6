/* SPDX-License-Identifier: Apache-2.0 */
/* Core: allocation, prediction, scaling. */
#include "engine/core_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/usage.h"

/* ---- Allocation and prediction */

void core_predict(struct core *core, enum ac_philosophy philosophy, const char *agent_template,
    struct moment now, struct ac_prediction *ret_prediction)
{
    predict_get(core->predict, philosophy, agent_template, now.wall_ns, ret_prediction);
}

int core_allocate(struct core *core, const struct agent_spec *spec,
    enum ac_allocation_policy policy, struct moment now, struct ac_allocation *ret_allocation,
    struct ac_error *error)
{
    struct ledger_request request = {.agent_id = spec->id,
        .owner_uid = spec->owner_uid,
        .policy = policy,
        .limits = spec->limits};
    struct ac_allocation allocation;
    core_flush(core);
    core->now = now;
    core_predict(core, spec->philosophy, spec->agent_template, now, &request.predicted);
    int r = ledger_request(core->ledger, &request, now, &allocation);
    if (r == -ENOSPC)
        return error_set(error, r,
            "no place for another allocation, or none of yours: release some, or raise "
            "caps.max_agents or caps.max_queue");
    if (r < 0)
        return error_errno(error, r, "allocation for agent %s", spec->id);
    struct event *event = core_event_new(core, EVENT_ALLOCATION, spec->id);
    if (event) {
        event->of.allocation = allocation;
        snprintf(event->text, sizeof(event->text), "%.255s", allocation.explanation);
    }
    *ret_allocation = allocation;
    return 0;
}

int core_release(struct core *core, const char *agent_or_allocation_id, struct moment now)
{
    const struct ac_allocation *found = ledger_get(core->ledger, agent_or_allocation_id);
    if (!found)
        return -ENOENT;
    struct ac_allocation allocation = *found;
    core->now = now;
    int r = ledger_release(core->ledger, allocation.agent_id);
    if (r < 0)
        return r;
    struct event *event = core_event_new(core, EVENT_ALLOCATION, allocation.agent_id);
    if (event) {
        event->of.allocation = allocation;
        snprintf(event->text, sizeof(event->text), "the allocation of agent %s was given back",
            allocation.agent_id);
    }
    return 0;
}

/* ---- Pools */

/* What the agents of a pool use, and what they may use. */
struct pool_sum {
    double cpu_used, cpu_allotted;       /* percent of capacity */
    double memory_used, memory_allotted; /* MiB */
    uint64_t age_ns;                     /* of the oldest usage counted */
    uint32_t agents;
};

/* An agent counts for a resource where both its use and its allotment (its own maximum, else
 * its reservation) are known. */
static uint64_t usage_age(const struct core *core, const struct agent *agent)
{
    if (agent->measured.known != 0)
        return 0;
    uint64_t unheard = 0; /* whatever time a report says it is from */
    if (agent->slot < core->n_slots)
        unheard = mono_since(core->now.mono, (struct mono){core->slots[agent->slot].heard_ns});
    int64_t old = core->now.wall_ns - agent->usage.timestamp_ns;
    return MAX(unheard, (uint64_t)MAX(old, (int64_t)0));
}

static void pool_add(struct core *core, const struct agent *agent, struct pool_sum *sum)
{
    const struct ac_usage *usage = &agent->usage;
    const struct ac_allocation *granted = ledger_get(core->ledger, agent->spec.id);
    double cores = registry_machine(core->registry)->capacity_cores;
    double cpu = 0, memory = agent->spec.limits.max_memory_mb;
    if (agent->spec.limits.max_cpu_cores > 0 && cores > 0)
        cpu = MIN(agent->spec.limits.max_cpu_cores / cores * 100, 100.0);
    if (granted && granted->status == AC_ALLOCATION_GRANTED) {
        cpu = cpu > 0 ? cpu : granted->cpu_percent;
        memory = memory > 0 ? memory : granted->memory_mb;
    }
    if (cpu > 0 && (usage->known & AC_KNOWN_CPU_PERCENT)) {
        sum->cpu_used += usage->cpu_percent;
        sum->cpu_allotted += cpu;
    }
    if (memory > 0 && (usage->known & AC_KNOWN_MEMORY_MB)) {
        sum->memory_used += usage->memory_mb;
        sum->memory_allotted += memory;
    }
    if (usage->known != 0)
        sum->age_ns = MAX(sum->age_ns, usage_age(core, agent));
    sum->agents++;
}

static double pool_utilization(const struct pool_sum *sum)
{
    double cpu = sum->cpu_allotted > 0 ? sum->cpu_used / sum->cpu_allotted * 100 : NAN;
    double memory = sum->memory_allotted > 0 ? sum->memory_used / sum->memory_allotted * 100 : NAN;
    return fmax(cpu, memory); /* a NaN beside a number gives the number */
}

static void pool_decide(
    struct core *core, enum ac_philosophy philosophy, const struct pool_sum *sum)
{
    struct scale_decision decision;
    enum scale_direction before = core->decisions[philosophy].direction;
    core->pool_agents[philosophy] = sum->agents;
    core->utilization[philosophy] = pool_utilization(sum);
    scale_decide(&core->scale, philosophy, core->utilization[philosophy], sum->age_ns,
        core->now.mono, &decision);
    core->decisions[philosophy] = decision;
    if (decision.direction == SCALE_HOLD || decision.direction == before)
        return;
    struct event *event = core_event_new(core, EVENT_SCALE, "");
    if (!event)
        return;
    event->of.scale.philosophy = philosophy;
    event->of.scale.from = decision.from;
    event->of.scale.to = decision.to;
    snprintf(event->text, sizeof(event->text), "pool %s should go from %u to %u: %s",
        ac_philosophy_name(philosophy), decision.from, decision.to, decision.reason);
}

void core_pools_update(struct core *core)
{
    struct pool_sum sums[AC_PHILOSOPHY_COUNT] = {0};
    agent_slot cursor = 0;
    const struct agent *agent;
    while ((agent = registry_next(core->registry, &cursor))) {
        if (agent->state == AGENT_EXITED)
            continue;
        pool_add(core, agent, &sums[agent->spec.philosophy]);
    }
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        pool_decide(core, (enum ac_philosophy)i, &sums[i]);
}

void core_pool(
    struct core *core, enum ac_philosophy philosophy, struct moment now, struct core_pool *ret_pool)
{
    const struct scale_pool *pool = &core->scale.pools[philosophy];
    uint64_t left = 0, cooldown = core->scale.options.cooldown_ns;
    if (scale_cooling_down(&core->scale, philosophy, now.mono)) {
        uint64_t gone = now.mono.ns > pool->last_action_ns ? now.mono.ns - pool->last_action_ns : 0;
        left = cooldown > gone ? cooldown - gone : 0;
    }
    *ret_pool = (struct core_pool){
        .philosophy = philosophy,
        .scale = pool->scale,
        .agents = core->pool_agents[philosophy],
        .utilization_percent = core->utilization[philosophy],
        .cooldown_left_ns = left,
        .decision = core->decisions[philosophy],
    };
}

int core_scale_record(struct core *core, enum ac_philosophy philosophy, uint32_t new_scale,
    struct moment now, struct ac_error *error)
{
    uint32_t from = core->scale.pools[philosophy].scale;
    core->now = now;
    int r = scale_record(&core->scale, philosophy, new_scale, now.mono);
    if (r < 0)
        return error_set(error, r, "scale: %u is outside %u to %u", new_scale,
            MAX(core->scale.options.minimum, 1u),
            core->scale.options.maximum ? core->scale.options.maximum : UINT32_MAX);
    struct event *event = core_event_new(core, EVENT_SCALE, "");
    if (event) {
        event->of.scale.philosophy = philosophy;
        event->of.scale.from = from;
        event->of.scale.to = new_scale;
        snprintf(event->text, sizeof(event->text), "pool %s went from %u to %u",
            ac_philosophy_name(philosophy), from, new_scale);
    }
    core_pools_update(core); /* what was decided was about the scale before */
    return 0;
}
