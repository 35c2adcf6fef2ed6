/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who belongs to whom. A record that is no member yet becomes one, in this order,
 *
 *   1. because an agent names it as its root;
 *   2. because its collector tracks membership in the kernel and says so;
 *   3. because its parent is a member (of the same agent), or was one until this pass;
 *   4. because it was re-parented and its process group's or its session's leader is or was a
 *      member: a child that forked twice between two passes lost the parent we would know it by.
 *      A child is born into its parent's session and leaves it only by leading one of its own,
 *      so a process in another session than its parent, and not its leader, was re-parented; and
 *      who is in a session descends from its leader. Processes older than the agent are left out.
 *
 *   5. because somebody found that it belongs to an agent, and said so (registry_join).
 *
 * Membership once decided is never overridden, except by 1 and 2: a root named later, say that
 * of an agent which an agent started, moves to its own agent.
 */
#include "policy/registry_internal.h"

#include <errno.h>

#include "base/mem.h"

#define TICK_NS 10000000ull

static int grow_array(void **array, uint32_t *capacity, size_t wanted, size_t size)
{
    if (wanted <= *capacity)
        return 0;
    size_t count = MAX(wanted, (size_t)*capacity * 2);
    if (count > UINT32_MAX / 2)
        return -ENOMEM;
    void *bigger = mem_resize_array(*array, count, size);
    if (!bigger)
        return -ENOMEM;
    *array = bigger;
    *capacity = (uint32_t)count;
    return 0;
}

static int scratch_reserve(struct registry *registry, size_t count)
{
    uint32_t capacity = registry->scratch_capacity;
    if (count <= capacity)
        return 0;
    count = MAX(count, (size_t)capacity * 2);
    uint32_t **arrays[] = {&registry->found, &registry->verdicts, &registry->path};
    for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
        uint32_t have = capacity;
        if (grow_array((void **)arrays[i], &have, count, sizeof(uint32_t)) < 0)
            return -ENOMEM;
    }
    registry->scratch_capacity = (uint32_t)count;
    return 0;
}

int members_reserve(struct registry *registry, const struct sample *sample)
{
    size_t members = (size_t)registry->members_count + sample->n_procs;
    size_t tombs = (size_t)registry->n_tombs + registry->members_count + registry->n_pending;
    if (sample->n_procs > UINT32_MAX / 4)
        return -ENOMEM;
    if (scratch_reserve(registry, sample->n_procs) < 0 ||
        itable_reserve(&registry->sample_by_pid, sample->n_procs) < 0 ||
        itable_reserve(&registry->mms, sample->n_procs) < 0 ||
        itable_reserve(&registry->by_pid, members) < 0 ||
        itable_reserve(&registry->tomb_by_pid, tombs) < 0 ||
        grow_array((void **)&registry->tombs, &registry->tombs_capacity, tombs,
            sizeof(*registry->tombs)) < 0 ||
        grow_array((void **)&registry->members, &registry->members_capacity, members + 1,
            sizeof(*registry->members)) < 0)
        return -ENOMEM;
    return 0;
}

/* ---- The pool and the agents' lists */

static uint32_t member_take(struct registry *registry)
{
    uint32_t m = registry->free_members;
    if (m)
        registry->free_members = registry->members[m].next;
    else
        m = ++registry->members_high;
    registry->members[m] = (struct member){.pass = registry->pass};
    registry->members_count++;
    return m;
}

static void list_add(struct registry *registry, uint32_t m, agent_slot slot)
{
    struct account *account = &registry->accounts[slot];
    struct member *member = &registry->members[m];
    member->slot = slot;
    member->previous = 0;
    member->next = account->members;
    if (member->next)
        registry->members[member->next].previous = m;
    account->members = m;
}

static void list_remove(struct registry *registry, uint32_t m)
{
    struct member *member = &registry->members[m];
    if (member->next)
        registry->members[member->next].previous = member->previous;
    if (member->previous)
        registry->members[member->previous].next = member->next;
    else
        registry->accounts[member->slot].members = member->next;
}

void members_free(struct registry *registry, uint32_t m)
{
    struct member *member = &registry->members[m];
    uint64_t pid = (uint64_t)member->last.pid;
    list_remove(registry, m);
    if (itable_get(&registry->by_pid, pid) == m)
        itable_remove(&registry->by_pid, pid);
    if (member->flow)
        registry->flows[member->flow - 1].member = 0;
    *member = (struct member){.next = registry->free_members};
    registry->free_members = m;
    registry->members_count--;
}

void members_free_agent(struct registry *registry, agent_slot slot)
{
    /* Links to its members from other agents' would point at whoever comes next. */
    if (registry->accounts[slot].members) {
        for (uint32_t m = 1; m <= registry->members_high; m++) {
            uint32_t parent = registry->members[m].parent;
            if (parent && registry->members[parent].slot == slot)
                registry->members[m].parent = 0;
        }
    }
    while (registry->accounts[slot].members)
        members_free(registry, registry->accounts[slot].members);
}

static uint32_t member_add(
    struct registry *registry, const struct sample *sample, uint32_t i, agent_slot slot)
{
    const struct proc_record *proc = &sample->procs[i];
    uint32_t m = member_take(registry);
    struct member *member = &registry->members[m];
    struct account *account = account_touch(registry, slot);
    member->last.pid = proc->pid;
    member->last.start_ticks = proc->start_ticks;
    if (proc->start_ticks >= account->since_ticks)
        member->flags = MEMBER_BORN;
    list_add(registry, m, slot);
    itable_set(&registry->by_pid, (uint64_t)proc->pid, m);
    /* What was there before a restart has been counted. */
    account->newborn += !account->resume || (member->flags & MEMBER_BORN);
    registry->found[i] = m;
    return m;
}

/* ---- Matching */

void members_match(struct registry *registry, const struct sample *sample)
{
    itable_clear(&registry->sample_by_pid);
    for (uint32_t i = 0; i < sample->n_procs; i++) {
        const struct proc_record *proc = &sample->procs[i];
        registry->found[i] = 0;
        registry->verdicts[i] = 0;
        if (proc->pid <= 0 || itable_get(&registry->sample_by_pid, (uint64_t)proc->pid))
            continue; /* nonsense, or listed twice */
        itable_set(&registry->sample_by_pid, (uint64_t)proc->pid, i + 1);
        registry->verdicts[i] = VERDICT_UNKNOWN;
        uint32_t m = itable_get(&registry->by_pid, (uint64_t)proc->pid);
        if (!m || registry->members[m].last.start_ticks != proc->start_ticks)
            continue;
        registry->members[m].pass = registry->pass;
        registry->members[m].flags &= ~(uint32_t)MEMBER_GHOST;
        registry->found[i] = m;
        registry->verdicts[i] = registry->members[m].slot;
    }
}

/* Index + 1 of the record of @pid, 0 = none. */
static uint32_t record_of(const struct registry *registry, int32_t pid)
{
    return pid > 0 ? itable_get(&registry->sample_by_pid, (uint64_t)pid) : 0;
}

static void tomb_put(struct registry *registry, int32_t pid, agent_slot slot)
{
    registry->tombs[registry->n_tombs++] = (struct tomb){.pid = pid, .slot = slot};
    itable_set(&registry->tomb_by_pid, (uint64_t)pid, registry->n_tombs);
}

/* ---- Roots */

static void member_move(struct registry *registry, uint32_t m, agent_slot slot)
{
    struct member *member = &registry->members[m];
    if (member->slot == slot)
        return;
    list_remove(registry, m);
    list_add(registry, m, slot);
    account_touch(registry, slot)->newborn++;
}

/* A root that started at most this long before its agent was added was made for it. */
#define FRESH_NS NS_PER_SEC

static void account_adopt(
    struct registry *registry, struct account *account, const struct sample *sample, uint32_t i)
{
    const struct proc_record *proc = &sample->procs[i];
    uint64_t age = moment_since(sample_moment(sample), account->claimed);
    uint64_t claimed_boot = sample->boot_ns > age ? sample->boot_ns - age : 0;
    uint64_t root_boot =
        proc->start_ticks > UINT64_MAX / TICK_NS ? UINT64_MAX : proc->start_ticks * TICK_NS;
    account->pending = false;
    registry->n_pending--;
    account->adopted = true;
    account->fresh = !account->resume && sample->boot_ns > 0 &&
                     saturating_add(root_boot, FRESH_NS) >= claimed_boot;
    account->since_ticks = account->resume  ? account->resume->since_ticks
                           : account->fresh ? proc->start_ticks
                                            : claimed_boot / TICK_NS + 1;
    registry->min_since_ticks = MIN(registry->min_since_ticks, account->since_ticks);
    account->root_start_ticks = proc->start_ticks;
    account->agent->spec.root_start_ticks = proc->start_ticks;
    account = account_touch(registry, account->agent->slot);
    account->just_adopted = true;
    agent_slot slot = account->agent->slot;
    if (registry->found[i])
        member_move(registry, registry->found[i], slot);
    else
        member_add(registry, sample, i, slot);
    registry->verdicts[i] = slot;
}

/* The root was gone before anybody looked. What it left behind may still be in its session. */
static void root_missed(struct registry *registry, struct account *account, bool pid_is_free)
{
    agent_slot slot = account->agent->slot;
    account->pending = false;
    registry->n_pending--;
    account->adopted = true;
    account->since_ticks =
        account->resume ? account->resume->since_ticks : account->root_start_ticks;
    registry->min_since_ticks = MIN(registry->min_since_ticks, account->since_ticks);
    account_touch(registry, slot)->just_adopted = true;
    if (pid_is_free)
        tomb_put(registry, account->root_pid, slot);
}

static void adopt_roots(struct registry *registry, const struct sample *sample)
{
    for (uint32_t slot = 1; registry->n_pending > 0 && slot <= registry->high; slot++) {
        struct account *account = &registry->accounts[slot];
        if (!account->agent || !account->pending)
            continue;
        uint32_t i = record_of(registry, account->root_pid);
        if (i && (account->root_start_ticks == 0 ||
                     account->root_start_ticks == sample->procs[i - 1].start_ticks)) {
            account_adopt(registry, account, sample, i - 1);
        } else if (sample->when.mono.ns > account->claimed.mono.ns) {
            root_missed(registry, account, i == 0);
        }
    }
}

/* ---- Deciding */

static bool slot_runs(const struct registry *registry, agent_slot slot)
{
    const struct account *account = registry_account(registry, slot);
    return account && account->rooted && !account->exited;
}

agent_slot members_known_slot(const struct registry *registry, const struct proc_record *proc)
{
    if (!(proc->known & PROC_KNOWN_SLOT) || !slot_runs(registry, proc->slot))
        return 0;
    return proc->slot;
}

/* The slot of a leader that is or was a member. */
static agent_slot leader_slot(const struct registry *registry, int32_t pid)
{
    if (pid <= 0)
        return 0;
    uint32_t i = record_of(registry, pid);
    if (i)
        return registry->found[i - 1] ? registry->members[registry->found[i - 1]].slot : 0;
    uint32_t m = itable_get(&registry->by_pid, (uint64_t)pid);
    if (m)
        return registry->members[m].slot;
    uint32_t tomb = itable_get(&registry->tomb_by_pid, (uint64_t)pid);
    return tomb ? registry->tombs[tomb - 1].slot : 0;
}

static agent_slot slot_for(
    const struct registry *registry, agent_slot slot, const struct proc_record *proc)
{
    if (!slot_runs(registry, slot) || proc->start_ticks < registry->accounts[slot].since_ticks)
        return 0;
    return slot;
}

/* Rules 3 (a parent of the last pass) and 4, for a record whose parent is no member. */
static agent_slot orphan_slot(
    const struct registry *registry, const struct sample *sample, const struct proc_record *proc)
{
    if (proc->start_ticks < registry->min_since_ticks || (proc->known & PROC_KNOWN_SLOT))
        return 0;
    uint32_t parent = record_of(registry, proc->ppid);
    if (!parent && proc->ppid > 0) {
        uint32_t m = itable_get(&registry->by_pid, (uint64_t)proc->ppid);
        if (m && registry->members[m].last.start_ticks <= proc->start_ticks)
            return slot_for(registry, registry->members[m].slot, proc);
    }
    if (!(proc->known & PROC_KNOWN_SESSION) || proc->session == proc->pid ||
        (parent && (!(sample->procs[parent - 1].known & PROC_KNOWN_SESSION) ||
                       sample->procs[parent - 1].session == proc->session)))
        return 0;
    agent_slot slot = slot_for(registry, leader_slot(registry, proc->pgrp), proc);
    return slot ? slot : slot_for(registry, leader_slot(registry, proc->session), proc);
}

static agent_slot joined_slot(const struct registry *registry, const struct proc_record *proc)
{
    uint32_t i = registry->n_joins > 0 && proc->pid > 0
                     ? itable_get(&registry->join_by_pid, (uint64_t)proc->pid)
                     : 0;
    if (!i || registry->joins[i - 1].start_ticks != proc->start_ticks ||
        !slot_runs(registry, registry->joins[i - 1].slot))
        return 0;
    return registry->joins[i - 1].slot;
}

/* Decides about record @i and all undecided ones above it, from the top down. */
static void decide(struct registry *registry, const struct sample *sample, uint32_t i)
{
    uint32_t n = 0, parent = i + 1;
    while (parent && registry->verdicts[parent - 1] == VERDICT_UNKNOWN) {
        registry->verdicts[parent - 1] = VERDICT_OPEN;
        registry->path[n++] = parent - 1;
        parent = record_of(registry, sample->procs[parent - 1].ppid);
    }
    agent_slot slot = parent ? registry->verdicts[parent - 1] : 0;
    if (slot == VERDICT_OPEN) /* parents in a circle: no kernel says so */
        slot = 0;
    while (n > 0) {
        uint32_t at = registry->path[--n];
        const struct proc_record *proc = &sample->procs[at];
        agent_slot known = members_known_slot(registry, proc);
        if (known)
            slot = known;
        else if (!slot_runs(registry, slot))
            slot = orphan_slot(registry, sample, proc);
        if (!slot)
            slot = joined_slot(registry, proc);
        registry->verdicts[at] = slot;
        if (slot)
            member_add(registry, sample, at, slot);
    }
}

void members_resolve(struct registry *registry, const struct sample *sample)
{
    adopt_roots(registry, sample);
    for (uint32_t i = 0; i < sample->n_procs; i++) {
        if (registry->verdicts[i] == VERDICT_UNKNOWN)
            decide(registry, sample, i);
        uint32_t m = registry->found[i];
        if (!m)
            continue;
        agent_slot known = members_known_slot(registry, &sample->procs[i]);
        struct account *account = &registry->accounts[registry->members[m].slot];
        bool is_root = account->root_pid == sample->procs[i].pid &&
                       account->root_start_ticks == sample->procs[i].start_ticks;
        if (known && !is_root)
            member_move(registry, m, known);
        registry->members[m].order = i;
    }
}

void members_link(struct registry *registry, const struct sample *sample)
{
    for (uint32_t i = 0; i < sample->n_procs; i++) {
        uint32_t m = registry->found[i];
        if (!m)
            continue;
        uint32_t parent = record_of(registry, sample->procs[i].ppid);
        registry->members[m].parent = parent ? registry->found[parent - 1] : 0;
    }
}

/* ---- Sweeping */

/* One that is gone stays known while a group or session that it led lives on. It may have begun
 * to lead one after the last pass, so all are kept until nobody refers to them. */
static void tomb_add(struct registry *registry, const struct member *member)
{
    if ((member->last.known & PROC_KNOWN_SESSION) && record_of(registry, member->last.pid) == 0)
        tomb_put(registry, member->last.pid, member->slot);
}

static void tomb_visit(struct registry *registry, int32_t pid)
{
    uint32_t tomb = pid > 0 ? itable_get(&registry->tomb_by_pid, (uint64_t)pid) : 0;
    if (tomb)
        registry->tombs[tomb - 1].pass = registry->pass;
}

static void sweep_tombs(struct registry *registry, const struct sample *sample)
{
    uint32_t kept = 0;
    if (registry->n_tombs == 0)
        return;
    for (size_t i = 0; i < sample->n_procs; i++) {
        if (!(sample->procs[i].known & PROC_KNOWN_SESSION))
            continue;
        tomb_visit(registry, sample->procs[i].session);
        tomb_visit(registry, sample->procs[i].pgrp);
    }
    itable_clear(&registry->tomb_by_pid);
    for (uint32_t i = 0; i < registry->n_tombs; i++) {
        struct tomb tomb = registry->tombs[i];
        if (tomb.pass != registry->pass || tomb.slot == 0 || record_of(registry, tomb.pid))
            continue;
        registry->tombs[kept++] = tomb;
        itable_set(&registry->tomb_by_pid, (uint64_t)tomb.pid, kept);
    }
    registry->n_tombs = kept;
}

void members_sweep(struct registry *registry, const struct sample *sample)
{
    for (uint32_t m = 1; m <= registry->members_high; m++) {
        struct member *member = &registry->members[m];
        if (member->pass == 0 || member->pass == registry->pass)
            continue;
        bool waits = (member->flags & MEMBER_GHOST) && registry->pass - member->pass < 2;
        if (waits)
            continue;
        tomb_add(registry, member);
        members_free(registry, m);
    }
    sweep_tombs(registry, sample);
    registry->n_joins = 0;
    itable_clear(&registry->join_by_pid);
}
