/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/registry.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/usage.h"
#include "policy/registry_internal.h"

#define SLOTS_MIN 16

uint64_t saturating_add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

uint64_t counter_advance(uint64_t *seen, uint64_t now)
{
    uint64_t before = *seen;
    if (now < before && now >= before / 2)
        return 0;
    *seen = now;
    return now >= before ? now - before : now;
}

static void registry_freep(struct registry **registry)
{
    registry_free(*registry);
}

int registry_new(uint32_t max_agents, uint64_t seed, struct registry **ret_registry)
{
    struct registry *registry CLEANUP(registry_freep) = mem_alloc(sizeof(*registry));
    if (!registry || strmap_new(seed, &registry->ids) < 0)
        return -ENOMEM;
    registry->max_agents = max_agents;
    ac_usage_init(&registry->machine_usage);
    *ret_registry = TAKE_PTR(registry);
    return 0;
}

void registry_free(struct registry *registry)
{
    if (!registry)
        return;
    for (uint32_t slot = 1; slot <= registry->high; slot++) {
        mem_free(registry->accounts[slot].agent);
        mem_free(registry->accounts[slot].resume);
    }
    strmap_free(registry->ids);
    mem_free(registry->accounts);
    mem_free(registry->exited);
    mem_free(registry->orphaned);
    mem_free(registry->members);
    mem_free(registry->flows);
    mem_free(registry->old_flows);
    mem_free(registry->tombs);
    mem_free(registry->joins);
    mem_free(registry->found);
    mem_free(registry->verdicts);
    mem_free(registry->path);
    itable_done(&registry->by_pid);
    itable_done(&registry->pending_by_pid);
    itable_done(&registry->tomb_by_pid);
    itable_done(&registry->join_by_pid);
    itable_done(&registry->sample_by_pid);
    itable_done(&registry->mms);
    mem_free(registry);
}

/* ---- Slots */

static int slots_resize(agent_slot **array, size_t count)
{
    agent_slot *bigger = mem_resize_array(*array, count, sizeof(**array));
    if (!bigger)
        return -ENOMEM;
    *array = bigger;
    return 0;
}

/* Room for one more slot. Arrays of more than .capacity do no harm where a later one fails. */
static int slots_reserve(struct registry *registry)
{
    if (registry->free_slots || registry->high + 1 < registry->capacity)
        return 0;
    uint64_t wanted = MAX((uint64_t)registry->capacity * 2, (uint64_t)SLOTS_MIN);
    uint32_t capacity = (uint32_t)MIN(wanted, (uint64_t)registry->max_agents + 1);
    if (slots_resize(&registry->exited, capacity) < 0 ||
        slots_resize(&registry->orphaned, capacity) < 0)
        return -ENOMEM;
    struct account *accounts =
        mem_resize_array(registry->accounts, capacity, sizeof(*registry->accounts));
    if (!accounts)
        return -ENOMEM;
    registry->accounts = accounts;
    registry->capacity = capacity;
    return 0;
}

static agent_slot slot_take(struct registry *registry)
{
    agent_slot slot = registry->free_slots;
    if (slot)
        registry->free_slots = registry->accounts[slot].next_free;
    else
        slot = ++registry->high;
    registry->accounts[slot] = (struct account){0};
    return slot;
}

/* The id is left to the caller. */
static void agent_drop(struct registry *registry, struct agent *agent)
{
    agent_slot slot = agent->slot;
    members_free_agent(registry, slot);
    registry->n_pending -= registry->accounts[slot].pending;
    for (uint32_t i = 0; i < registry->n_tombs; i++) {
        if (registry->tombs[i].slot == slot)
            registry->tombs[i].slot = 0;
    }
    for (uint32_t i = 0; i < registry->n_joins; i++) {
        if (registry->joins[i].slot == slot)
            registry->joins[i].slot = 0;
    }
    mem_free(agent);
    mem_free(registry->accounts[slot].resume);
    registry->accounts[slot] = (struct account){.next_free = registry->free_slots};
    registry->free_slots = slot;
    registry->count--;
}

/* ---- Agents */

static int pending_reserve(struct registry *registry)
{
    if (registry->n_pending == 0)
        itable_clear(&registry->pending_by_pid);
    return itable_reserve(&registry->pending_by_pid, registry->pending_by_pid.count + 1);
}

/* With room in pending_by_pid. */
static void account_claim(struct registry *registry, struct account *account, int32_t pid,
    uint64_t start_ticks, struct moment now)
{
    if (pid > 0)
        itable_set(&registry->pending_by_pid, (uint64_t)pid, account->agent->slot);
    account->rooted = account->pending = true;
    registry->n_pending++;
    account->root_pid = pid;
    account->root_start_ticks = start_ticks;
    account->claimed = now;
}

static struct agent *agent_new(const struct agent_spec *spec, struct moment now)
{
    struct agent *agent = mem_alloc(sizeof(*agent));
    if (!agent)
        return NULL;
    agent->spec = *spec;
    agent->state = AGENT_RUNNING;
    agent->added = now;
    ac_usage_init(&agent->measured);
    ac_usage_init(&agent->reported);
    ac_usage_init(&agent->usage);
    agent->gpu_memory_mb = agent->gpu_percent = agent->gpu_memory_peak_mb = NAN;
    agent->pss_mb = agent->pss_age_seconds = NAN;
    return agent;
}

int registry_add(struct registry *registry, const struct agent_spec *spec, struct moment now,
    const struct agent **ret_agent)
{
    struct agent *old = strmap_get(registry->ids, spec->id);
    if (old && old->state != AGENT_EXITED)
        return -EEXIST;
    if (!old && registry->count >= registry->max_agents)
        return -ENOSPC;
    struct agent *agent cleanup_free = agent_new(spec, now);
    if (!agent)
        return -ENOMEM;
    /* An old agent's slot becomes free, so that only a new one needs room. */
    int r = old ? 0 : slots_reserve(registry);
    if (r == 0)
        r = pending_reserve(registry);
    if (r == 0)
        r = strmap_put(registry->ids, agent->spec.id, agent);
    if (r < 0)
        return r;
    if (old)
        agent_drop(registry, old);
    agent->slot = slot_take(registry);
    struct account *account = &registry->accounts[agent->slot];
    account->agent = agent;
    if (spec->root_pid > 0)
        account_claim(registry, account, spec->root_pid, spec->root_start_ticks, now);
    registry->count++;
    *ret_agent = TAKE_PTR(agent);
    return 0;
}

int registry_set_root(struct registry *registry, const struct agent_spec *spec)
{
    struct agent *agent = strmap_get(registry->ids, spec->id);
    if (!agent)
        return -ENOENT;
    struct account *account = &registry->accounts[agent->slot];
    if (account->rooted)
        return -EEXIST;
    if (pending_reserve(registry) < 0)
        return -ENOMEM;
    struct moment claimed = agent->added;
    if (registry->sampled && registry->when.mono.ns > claimed.mono.ns)
        claimed = registry->when;
    account_claim(registry, account, spec->root_pid, spec->root_start_ticks, claimed);
    uint32_t owner = agent->spec.owner_uid;
    agent->spec = *spec;
    if (owner != UINT32_MAX)
        agent->spec.owner_uid = owner;
    return 0;
}

int registry_join(struct registry *registry, const char *id, int32_t pid, uint64_t start_ticks)
{
    const struct agent *agent = strmap_get(registry->ids, id);
    if (!agent || pid <= 0)
        return -ENOENT;
    const struct account *account = &registry->accounts[agent->slot];
    if (!account->rooted || account->exited)
        return -ESRCH;
    if (registry->n_joins >= JOINS_MAX)
        return -ENOSPC;
    if (registry->n_joins >= registry->joins_capacity) {
        uint32_t capacity = MAX(registry->joins_capacity * 2, 16u);
        struct join *joins = mem_resize_array(registry->joins, capacity, sizeof(*joins));
        if (!joins)
            return -ENOMEM;
        registry->joins = joins;
        registry->joins_capacity = capacity;
    }
    int r = itable_reserve(&registry->join_by_pid, (size_t)registry->n_joins + 1);
    if (r < 0)
        return r;
    registry->joins[registry->n_joins++] =
        (struct join){.pid = pid, .start_ticks = start_ticks, .slot = agent->slot};
    itable_set(&registry->join_by_pid, (uint64_t)pid, registry->n_joins);
    return 0;
}

int registry_end(struct registry *registry, const char *id, struct moment now)
{
    struct agent *agent = strmap_get(registry->ids, id);
    if (!agent)
        return -ENOENT;
    struct account *account = &registry->accounts[agent->slot];
    if (account->rooted)
        return -EBUSY;
    agent->state = AGENT_EXITED;
    agent->ended = now;
    account->exited = true;
    return 0;
}

int registry_remove(struct registry *registry, const char *id)
{
    struct agent *agent = strmap_get(registry->ids, id);
    if (!agent)
        return -ENOENT;
    strmap_remove(registry->ids, id);
    agent_drop(registry, agent);
    return 0;
}

const struct agent *registry_get(const struct registry *registry, const char *id)
{
    return strmap_get(registry->ids, id);
}

const struct agent *registry_at(const struct registry *registry, agent_slot slot)
{
    const struct account *account = registry_account(registry, slot);
    return account ? account->agent : NULL;
}

uint32_t registry_count(const struct registry *registry)
{
    return registry->count;
}

const struct agent *registry_next(const struct registry *registry, agent_slot *cursor)
{
    while (*cursor < registry->high) {
        const struct agent *agent = registry->accounts[++*cursor].agent;
        if (agent)
            return agent;
    }
    return NULL;
}

/* ---- Reports */

static int report_create(
    struct registry *registry, const char *id, struct moment now, struct agent **ret_agent)
{
    struct agent_spec spec;
    const struct agent *agent;
    if (!ac_agent_id_valid(id))
        return -EINVAL;
    memset(&spec, 0, sizeof(spec));
    snprintf(spec.id, sizeof(spec.id), "%s", id);
    int r = registry_add(registry, &spec, now, &agent);
    if (r < 0)
        return r;
    *ret_agent = registry->accounts[agent->slot].agent;
    return 0;
}

/* Peaks of what only the runtime tells. */
static void report_peaks(struct agent *agent, const struct ac_usage *usage)
{
    struct agent_totals *totals = &agent->totals;
    uint32_t told = usage->known & ~agent->measured.known;
    if (told & AC_KNOWN_CPU_PERCENT)
        totals->cpu_peak_percent = MAX(totals->cpu_peak_percent, usage->cpu_percent);
    if (told & AC_KNOWN_MEMORY_MB) {
        double bytes = usage->memory_mb * USAGE_MIB;
        uint64_t peak = bytes < 18446744073709549568.0 ? (uint64_t)bytes : UINT64_MAX;
        totals->memory_peak_bytes = MAX(totals->memory_peak_bytes, peak);
        totals->known |= TOTALS_KNOWN_MEMORY;
    }
    if (told & AC_KNOWN_FILE_DESCRIPTORS) {
        totals->fds_peak = MAX(totals->fds_peak, usage->file_descriptors);
        totals->known |= TOTALS_KNOWN_FDS;
    }
}

int registry_raise_peaks(struct registry *registry, const char *id, const struct ac_usage *peaks)
{
    struct agent *agent = strmap_get(registry->ids, id);
    if (!agent)
        return -ENOENT;
    report_peaks(agent, peaks);
    return 0;
}

void publish_usage(struct agent *agent)
{
    if (agent->measured.known == 0) {
        agent->usage = agent->reported;
        return;
    }
    agent->usage = agent->measured;
    if (agent->reported.known & ~agent->measured.known)
        usage_fill(&agent->usage, &agent->reported);
}

int registry_report(struct registry *registry, const char *id, const struct ac_usage *usage,
    struct moment now, bool create, const struct agent **ret_agent)
{
    struct agent *agent = strmap_get(registry->ids, id);
    if (!agent) {
        if (!create)
            return -ENOENT;
        int r = report_create(registry, id, now, &agent);
        if (r < 0)
            return r;
    }
    agent->reported = *usage;
    if (usage->timestamp_ns == 0)
        agent->reported.timestamp_ns = now.wall_ns;
    report_peaks(agent, usage);
    publish_usage(agent);
    *ret_agent = agent;
    return 0;
}

/* ---- Looking */

const struct ac_usage *registry_machine_usage(const struct registry *registry)
{
    return &registry->machine_usage;
}

const struct machine_record *registry_machine(const struct registry *registry)
{
    return &registry->machine;
}

size_t registry_members(const struct registry *registry, agent_slot slot,
    struct proc_record *ret_procs, size_t capacity)
{
    const struct account *account = registry_account(registry, slot);
    size_t count = 0;
    for (uint32_t m = account ? account->members : 0; m; m = registry->members[m].next) {
        const struct member *member = &registry->members[m];
        if (member->flags & MEMBER_GHOST)
            continue;
        if (count < capacity) {
            ret_procs[count] = member->last;
            ret_procs[count].slot = slot;
        }
        count++;
    }
    return count;
}

static agent_slot pending_slot(const struct registry *registry, int32_t pid, uint64_t start_ticks)
{
    agent_slot slot = pid > 0 ? itable_get(&registry->pending_by_pid, (uint64_t)pid) : 0;
    const struct account *account = registry_account(registry, slot);
    bool same = account && account->pending && account->root_pid == pid &&
                (account->root_start_ticks == 0 || start_ticks == 0 ||
                    account->root_start_ticks == start_ticks);
    return same ? slot : 0;
}

agent_slot registry_slot_of(const struct registry *registry, int32_t pid, uint64_t start_ticks)
{
    uint32_t m = pid > 0 ? itable_get(&registry->by_pid, (uint64_t)pid) : 0;
    if (m && (start_ticks == 0 || registry->members[m].last.start_ticks == start_ticks))
        return registry->members[m].slot;
    return registry->n_pending > 0 ? pending_slot(registry, pid, start_ticks) : 0;
}
