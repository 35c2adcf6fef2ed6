/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/discovery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/map.h"
#include "base/mem.h"
#include "os/proc_facts.h"
#include "os/procfs.h"
#include "policy/discover.h"

#define TICK_NS     10000000ull
#define SETTLED_NS  (2 * NS_PER_SEC)
#define DEPTH_LIMIT 4096 /* of a chain of parents */

/* An agent that was found here and lives. */
struct claim {
    char id[AC_AGENT_ID_MAX + 1];
    uint32_t rule;
    uint32_t uid;
    int32_t root_pid;
    uint64_t root_start_ticks;
    bool named;
    enum discovery_unit unit;
    char cgroup[DISCOVERY_CGROUP_MAX + 1];
};

struct discovery {
    struct discovery_rule *rules;
    size_t n_rules;
    struct discovery_options options;
    uint32_t needs;
    struct u64map *decided; /* pid -> fingerprint of what was no agent */
    struct u64map *next_decided;
    struct claim *claims;
    size_t n_claims;
    size_t claims_capacity;
    struct discovery_found *found;
    size_t n_found;
    uint32_t *order; /* of records to look at */
    size_t order_capacity;
    struct u64map *by_pid; /* pid -> record, made where a parent is asked for */
    bool by_pid_made;
    bool any_capped; /* some wait for an agent to end */
    struct process_facts facts;
};

int discovery_new(const struct discovery_options *options, struct discovery **ret_discovery)
{
    struct discovery *discovery = mem_alloc(sizeof(*discovery));
    if (!discovery)
        return -ENOMEM;
    discovery->options = *options;
    if (options->looks_max == 0)
        discovery->options.looks_max = DISCOVERY_LOOKS_MAX;
    if (options->found_max == 0)
        discovery->options.found_max = DISCOVERY_FOUND_MAX;
    discovery->rules = mem_alloc_array(MAX(options->n_rules, (size_t)1), sizeof(*options->rules));
    discovery->found = mem_alloc_array(discovery->options.found_max, sizeof(*discovery->found));
    if (!discovery->rules || !discovery->found ||
        u64map_new(options->seed, &discovery->decided) < 0 ||
        u64map_new(options->seed, &discovery->next_decided) < 0 ||
        u64map_new(options->seed, &discovery->by_pid) < 0) {
        discovery_free(discovery);
        return -ENOMEM;
    }
    if (options->n_rules > 0)
        memcpy(discovery->rules, options->rules, options->n_rules * sizeof(*options->rules));
    discovery->n_rules = options->n_rules;
    discovery->options.rules = discovery->rules;
    discovery->needs = discover_needs(discovery->rules, discovery->n_rules);
    *ret_discovery = discovery;
    return 0;
}

void discovery_free(struct discovery *discovery)
{
    if (!discovery)
        return;
    u64map_free(discovery->decided);
    u64map_free(discovery->next_decided);
    u64map_free(discovery->by_pid);
    mem_free(discovery->rules);
    mem_free(discovery->claims);
    mem_free(discovery->found);
    mem_free(discovery->order);
    mem_free(discovery);
}

/* ---- What was decided */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ (hash >> 32);
}

/* Never 0. */
static void *fingerprint(const struct proc_record *proc)
{
    uint64_t words[2], hash = mix(proc->start_ticks, 0x5bd1e995u);
    memcpy(words, proc->name, sizeof(words));
    hash = mix(mix(hash, words[0]), words[1]);
    if (proc->known & PROC_KNOWN_CGROUP)
        hash = mix(hash, proc->cgroup_id);
    return (void *)(uintptr_t)(hash | 1);
}

static bool is_settled(const struct sample *sample, const struct proc_record *proc)
{
    return proc->start_ticks < UINT64_MAX / TICK_NS / 2 &&
           proc->start_ticks * TICK_NS + SETTLED_NS <= sample->boot_ns;
}

/* One that cannot be remembered is looked at again. */
static void remember(struct discovery *discovery, const struct proc_record *proc)
{
    (void)u64map_put(discovery->next_decided, (uint64_t)proc->pid, fingerprint(proc));
}

/* ---- Claims */

static void claim_drop(struct discovery *discovery, size_t i)
{
    discovery->claims[i] = discovery->claims[--discovery->n_claims];
}

/* Agents that ended, were removed, or whose id somebody else has now. */
static void claims_prune(struct discovery *discovery, const struct registry *registry)
{
    for (size_t i = discovery->n_claims; registry && i > 0; i--) {
        const struct claim *claim = &discovery->claims[i - 1];
        const struct agent *agent = registry_get(registry, claim->id);
        if (!agent || agent->state == AGENT_EXITED || agent->spec.root_pid != claim->root_pid ||
            agent->spec.root_start_ticks != claim->root_start_ticks) {
            claim_drop(discovery, i - 1);
            if (discovery->any_capped)
                u64map_clear(discovery->decided);
            discovery->any_capped = false;
        }
    }
}

static struct claim *claim_of_id(const struct discovery *discovery, const char *id)
{
    for (size_t i = 0; i < discovery->n_claims; i++) {
        if (strcmp(discovery->claims[i].id, id) == 0)
            return &discovery->claims[i];
    }
    return NULL;
}

/* The agent whose cgroup this process is in. */
static struct claim *claim_of_cgroup(
    const struct discovery *discovery, const struct process_facts *facts)
{
    for (size_t i = 0; (facts->known & FACTS_CGROUP) && i < discovery->n_claims; i++) {
        struct claim *claim = &discovery->claims[i];
        if (claim->unit == DISCOVERY_CGROUP && discover_is_below(facts->cgroup, claim->cgroup))
            return claim;
    }
    return NULL;
}

static struct claim *claim_of_root(const struct discovery *discovery, int32_t pid)
{
    for (size_t i = 0; i < discovery->n_claims; i++) {
        if (discovery->claims[i].root_pid == pid)
            return &discovery->claims[i];
    }
    return NULL;
}

static int claim_add(struct discovery *discovery, const struct discover_match *match,
    const struct process_facts *facts, const char *id)
{
    if (discovery->n_claims == discovery->claims_capacity) {
        size_t capacity = MAX(discovery->claims_capacity * 2, (size_t)16);
        struct claim *claims = mem_resize_array(discovery->claims, capacity, sizeof(*claims));
        if (!claims)
            return -ENOMEM;
        discovery->claims = claims;
        discovery->claims_capacity = capacity;
    }
    struct claim *claim = &discovery->claims[discovery->n_claims++];
    *claim = (struct claim){.rule = match->rule,
        .uid = facts->uid,
        .root_pid = facts->pid,
        .root_start_ticks = facts->start_ticks,
        .named = match->named,
        .unit = match->unit};
    snprintf(claim->id, sizeof(claim->id), "%s", id);
    memcpy(claim->cgroup, match->cgroup, sizeof(claim->cgroup));
    return 0;
}

static bool cap_reached(const struct discovery *discovery, uint32_t rule)
{
    uint32_t count = 0;
    if (discovery->n_claims >= discovery->options.max_agents)
        return true;
    for (size_t i = 0; i < discovery->n_claims; i++)
        count += discovery->claims[i].rule == rule;
    return discovery->rules[rule].max_agents > 0 && count >= discovery->rules[rule].max_agents;
}

/* ---- Parents */

static const struct proc_record *record_of(
    struct discovery *discovery, const struct sample *sample, int32_t pid)
{
    if (!discovery->by_pid_made) {
        discovery->by_pid_made = true;
        for (size_t i = 0; i < sample->n_procs; i++)
            (void)u64map_put(discovery->by_pid, (uint64_t)sample->procs[i].pid,
                (void *)(uintptr_t)&sample->procs[i]);
    }
    return u64map_get(discovery->by_pid, (uint64_t)pid);
}

/* Whether it is below an agent that was found (and is no member yet), or below ourselves. */
static bool is_covered(
    struct discovery *discovery, const struct sample *sample, const struct proc_record *proc)
{
    for (unsigned depth = 0; proc && depth < DEPTH_LIMIT; depth++) {
        if (discovery->options.self > 0 && proc->pid == discovery->options.self)
            return true;
        if (depth > 0 && claim_of_root(discovery, proc->pid))
            return true;
        if (proc->ppid <= 1 || proc->ppid == proc->pid)
            return false;
        proc = record_of(discovery, sample, proc->ppid);
    }
    return false;
}

/* ---- A scan */

static int compare_starts(const void *a, const void *b, void *userdata)
{
    const struct sample *sample = userdata;
    const struct proc_record *left = &sample->procs[*(const uint32_t *)a];
    const struct proc_record *right = &sample->procs[*(const uint32_t *)b];
    if (left->start_ticks != right->start_ticks)
        return left->start_ticks < right->start_ticks ? -1 : 1;
    return left->pid < right->pid ? -1 : left->pid > right->pid;
}

/* Collects what is new, oldest first. Returns the number or -ENOMEM. */
static int64_t collect(
    struct discovery *discovery, const struct registry *registry, const struct sample *sample)
{
    size_t n = 0;
    if (sample->n_procs > discovery->order_capacity) {
        uint32_t *order = mem_resize_array(discovery->order, sample->n_procs, sizeof(*order));
        if (!order)
            return -ENOMEM;
        discovery->order = order;
        discovery->order_capacity = sample->n_procs;
    }
    for (size_t i = 0; i < sample->n_procs; i++) {
        const struct proc_record *proc = &sample->procs[i];
        if (proc->pid <= 0 || proc->state == 'Z' || proc->pid == discovery->options.self ||
            (registry && registry_slot_of(registry, proc->pid, proc->start_ticks)))
            continue;
        if (u64map_get(discovery->decided, (uint64_t)proc->pid) == fingerprint(proc))
            remember(discovery, proc);
        else
            discovery->order[n++] = (uint32_t)i;
    }
    qsort_r(discovery->order, n, sizeof(*discovery->order), compare_starts, (void *)sample);
    return (int64_t)n;
}

static struct discovery_found *found_add(struct discovery *discovery, const char *id)
{
    const struct process_facts *facts = &discovery->facts;
    struct discovery_found *found = &discovery->found[discovery->n_found++];
    *found = (struct discovery_found){.cgroup_v2 = facts->cgroup_v2};
    snprintf(found->spec.id, sizeof(found->spec.id), "%s", id);
    found->spec.root_pid = facts->pid;
    found->spec.root_start_ticks = facts->start_ticks;
    found->spec.owner_uid = facts->uid;
    discover_command(facts, found->spec.command);
    return found;
}

static void add_join(
    struct discovery *discovery, const char *id, uint32_t rule, const struct claim *claim)
{
    struct discovery_found *found = found_add(discovery, id);
    found->joins = true;
    found->unit = claim ? claim->unit : DISCOVERY_TREE;
    found->spec.philosophy = discovery->rules[rule].philosophy;
    memcpy(found->rule, discovery->rules[rule].name, sizeof(found->rule));
    if (claim)
        memcpy(found->cgroup, claim->cgroup, sizeof(found->cgroup));
}

/* A living agent that the process names as its own, of the same user. */
static const struct agent *namesake(const struct discovery *discovery,
    const struct registry *registry, const struct discover_match *match)
{
    const struct agent *agent = registry && match->named ? registry_get(registry, match->id) : NULL;
    return agent && agent->state != AGENT_EXITED && agent->spec.owner_uid == discovery->facts.uid
               ? agent
               : NULL;
}

static bool id_taken(
    const struct discovery *discovery, const struct registry *registry, const char *id)
{
    const struct agent *agent = registry ? registry_get(registry, id) : NULL;
    return claim_of_id(discovery, id) || (agent && agent->state != AGENT_EXITED);
}

static int add_agent(struct discovery *discovery, const struct registry *registry,
    const struct discover_match *match)
{
    char id[AC_AGENT_ID_MAX + 1];
    memcpy(id, match->id, sizeof(id));
    /* One that only reports gets its processes; another one of that name keeps it. */
    bool reporter = namesake(discovery, registry, match) && !claim_of_id(discovery, id);
    if (!reporter && id_taken(discovery, registry, id))
        discover_make_unique(id, discovery->facts.pid);
    if (!reporter && id_taken(discovery, registry, id))
        return 0; /* somebody plays games */
    int r = claim_add(discovery, match, &discovery->facts, id);
    if (r < 0)
        return r;
    struct discovery_found *found = found_add(discovery, id);
    found->unit = match->unit;
    found->spec.philosophy = match->philosophy;
    memcpy(found->spec.agent_template, match->agent_template, sizeof(match->agent_template));
    memcpy(found->rule, discovery->rules[match->rule].name, sizeof(found->rule));
    memcpy(found->cgroup, match->cgroup, sizeof(found->cgroup));
    /* Others of this cgroup may have been looked at before it was an agent's. */
    if (match->unit == DISCOVERY_CGROUP)
        u64map_clear(discovery->next_decided);
    (void)agent_spec_set_label(&found->spec, DISCOVERY_LABEL, found->rule, NULL);
    return 0;
}

/* Fills the facts. Returns false where the process is gone. */
static bool look(struct discovery *discovery, const struct proc_record *proc)
{
    struct process_facts *facts = &discovery->facts;
    facts->pid = proc->pid;
    facts->ppid = proc->ppid;
    facts->start_ticks = proc->start_ticks;
    memcpy(facts->name, proc->name, sizeof(facts->name));
    facts->uid = proc->uid;
    if (!(proc->known & PROC_KNOWN_UID) &&
        procfs_owner(discovery->options.proc_fd, proc->pid, &facts->uid) < 0)
        return false;
    return proc_facts_read(discovery->options.proc_fd, proc->pid, discovery->needs, facts) == 0;
}

/* Returns 0, or -ENOMEM. */
static int consider(struct discovery *discovery, const struct registry *registry,
    const struct sample *sample, const struct proc_record *proc, struct discovery_plan *plan)
{
    struct discover_match match;
    uint64_t ticks;
    if (!look(discovery, proc))
        return 0;
    plan->looked_at++;
    const struct process_facts *facts = &discovery->facts;
    plan->unreadable += (discovery->needs & FACTS_ENVIRONMENT) &&
                        !(facts->known & FACTS_ENVIRONMENT) && facts->command_size > 0;
    const struct claim *claim = claim_of_cgroup(discovery, facts);
    bool matches = !claim && discover_match(discovery->rules, discovery->n_rules, facts, &match);
    const struct claim *named = matches && match.named ? claim_of_id(discovery, match.id) : NULL;
    if (!claim && named && named->named && named->uid == facts->uid)
        claim = named;
    /* Between the sample and the look another one may have got the pid. */
    if ((claim || matches) &&
        (procfs_start_ticks(discovery->options.proc_fd, proc->pid, &ticks) < 0 ||
            ticks != proc->start_ticks))
        return 0;
    if ((claim || matches) && is_covered(discovery, sample, proc))
        return 0;
    if (claim) {
        add_join(discovery, claim->id, claim->rule, claim);
        return 0;
    }
    const struct agent *own = matches ? namesake(discovery, registry, &match) : NULL;
    if (own && own->spec.root_pid != 0) {
        add_join(discovery, match.id, match.rule, NULL);
        return 0;
    }
    if (matches && cap_reached(discovery, match.rule)) {
        plan->capped++;
        discovery->any_capped = true;
        remember(discovery, proc);
        return 0;
    }
    if (matches)
        return add_agent(discovery, registry, &match);
    if (is_settled(sample, proc))
        remember(discovery, proc);
    return 0;
}

int discovery_scan(struct discovery *discovery, const struct registry *registry,
    const struct sample *sample, struct discovery_plan *ret_plan)
{
    struct discovery_plan plan = {.found = discovery->found};
    discovery->n_found = 0;
    discovery->by_pid_made = false;
    u64map_clear(discovery->by_pid);
    u64map_clear(discovery->next_decided);
    claims_prune(discovery, registry);
    int64_t n = collect(discovery, registry, sample);
    int r = n < 0 ? (int)n : 0;
    for (int64_t i = 0; r == 0 && i < n; i++) {
        plan.more = plan.looked_at >= discovery->options.looks_max ||
                    discovery->n_found >= discovery->options.found_max;
        if (plan.more)
            break;
        r = consider(discovery, registry, sample, &sample->procs[discovery->order[i]], &plan);
    }
    struct u64map *decided = discovery->decided;
    discovery->decided = discovery->next_decided;
    discovery->next_decided = decided;
    if (r < 0)
        return r;
    plan.n_found = discovery->n_found;
    *ret_plan = plan;
    return 0;
}

void discovery_undo(struct discovery *discovery, const char *id)
{
    const struct claim *claim = claim_of_id(discovery, id);
    if (claim)
        claim_drop(discovery, (size_t)(claim - discovery->claims));
}

bool discovery_reclaim(
    struct discovery *discovery, const struct agent *agent, struct discovery_found *ret_found)
{
    struct discover_match match;
    uint64_t ticks;
    struct proc_record proc = {.pid = agent->spec.root_pid,
        .start_ticks = agent->spec.root_start_ticks,
        .uid = agent->spec.owner_uid};
    if (agent->state != AGENT_RUNNING || proc.pid <= 0 || claim_of_id(discovery, agent->spec.id) ||
        !look(discovery, &proc) || discovery->facts.uid != agent->spec.owner_uid ||
        procfs_start_ticks(discovery->options.proc_fd, proc.pid, &ticks) < 0 ||
        ticks != proc.start_ticks ||
        !discover_match(discovery->rules, discovery->n_rules, &discovery->facts, &match) ||
        claim_add(discovery, &match, &discovery->facts, agent->spec.id) < 0)
        return false;
    *ret_found = (struct discovery_found){
        .spec = agent->spec, .unit = match.unit, .cgroup_v2 = discovery->facts.cgroup_v2};
    memcpy(ret_found->cgroup, match.cgroup, sizeof(ret_found->cgroup));
    return true;
}
