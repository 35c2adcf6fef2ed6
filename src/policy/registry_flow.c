/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an agent's processes used, each nanosecond and byte once.
 *
 * The kernel hands what a process used on to the one that reaps it: processor time to the
 * reaper's cutime and cstime, I/O into the reaper's own io file. So a reaper's counters grow by
 * all that a child used, also by the part that was counted while the child lived, and by all of
 * children that no pass ever saw. With
 *
 *     shown(c)  what the last pass saw of c, its own reaped children included
 *     grown(q)  by how much the reaped part of q (for I/O: all of it) grew since the last pass
 *
 * the invariant of each pass is
 *
 *     new = sum over living members of own growth
 *         + sum over living members q of grown(q)  -  sum of shown(c) of vanished members c
 *                                                     that were reaped into one of the grown(q)
 *
 * Which c were reaped into which q is not told: c may have been reaped by its parent, by an
 * ancestor that adopts orphans, by init, or by nobody (SIGCHLD ignored: then the kernel hands
 * nothing on). So shown(c) is *due* from the growth of its nearest living ancestor, and where
 * its parent vanished too, what is left is due from the ancestors above. Never more is taken
 * than has grown. That way the sum never exceeds what was used; it is exact where children are
 * waited for; and where something else reaps them, what is missing is their use since the last
 * pass they were seen in, and of that growth at most what one pass brings.
 *
 * A pass is not one instant. Where c was read after q and reaped in between, q grows one pass
 * later: what is due is carried over once. Where c was read before q, was reaped and q was read,
 * q grew one pass earlier and too much was counted: that becomes a debt of the agent, paid from
 * what comes.
 *
 * Collectors that track membership in the kernel see exits themselves: there cutime is ignored,
 * and what a process used is told by its exit record, less what was counted of it.
 */
#include "policy/registry_internal.h"

#include <errno.h>

#include "base/mem.h"

#define ANCESTORS_MAX 4096 /* longer chains (or circles) are cut */

int flows_reserve(struct registry *registry)
{
    /* Only members of the last pass can have grown, and each has one flow at most. */
    uint32_t wanted = MAX(registry->members_count, 16u);
    if (registry->old_flows_capacity >= wanted)
        return 0;
    wanted += wanted / 2;
    struct flow *flows = mem_resize_array(registry->old_flows, wanted, sizeof(*flows));
    if (!flows)
        return -ENOMEM;
    registry->old_flows = flows;
    registry->old_flows_capacity = wanted;
    return 0;
}

static struct flow *flow_of(struct registry *registry, uint32_t m)
{
    struct member *member = &registry->members[m];
    if (!member->flow) {
        registry->flows[registry->n_flows] = (struct flow){.member = m};
        member->flow = ++registry->n_flows;
    }
    return &registry->flows[member->flow - 1];
}

static bool lives(const struct registry *registry, uint32_t m)
{
    return registry->members[m].pass == registry->pass;
}

/* The nearest living ancestor of @m, 0 = none. */
static uint32_t living_ancestor(const struct registry *registry, uint32_t m)
{
    uint32_t q = registry->members[m].parent;
    for (int i = 0; q && !lives(registry, q) && i < ANCESTORS_MAX; i++)
        q = registry->members[q].parent;
    return q && lives(registry, q) ? q : 0;
}

/* Takes as much as possible of what is due from what has grown. */
static void settle(uint64_t *grown, uint64_t *due)
{
    uint64_t part = MIN(*grown, *due);
    *grown -= part;
    *due -= part;
}

/* Carries over what the last pass left open, to the reaper itself or, where that one vanished,
 * to who reaped it. */
static void carry(struct registry *registry, const struct flow *old)
{
    uint32_t m = old->member;
    bool same = lives(registry, m);
    uint32_t q = same ? m : living_ancestor(registry, m);
    if (!q)
        return;
    struct flow *flow = flow_of(registry, q);
    for (int k = 0; k < COUNT_COUNT; k++) {
        if (same)
            flow->old_direct[k] = saturating_add(flow->old_direct[k], old->direct[k]);
        else
            flow->old_deep[k] = saturating_add(flow->old_deep[k], old->direct[k]);
        flow->old_deep[k] = saturating_add(flow->old_deep[k], old->deep[k]);
    }
    if (same)
        flow->counted_cpu = old->counted_cpu;
}

void flows_begin(struct registry *registry)
{
    struct flow *flows = registry->flows;
    uint32_t capacity = registry->flows_capacity;
    uint32_t n_old = registry->n_flows;
    registry->flows = registry->old_flows;
    registry->flows_capacity = registry->old_flows_capacity;
    registry->n_flows = 0;
    registry->old_flows = flows;
    registry->old_flows_capacity = capacity;
    for (uint32_t i = 0; i < n_old; i++) {
        if (flows[i].member)
            registry->members[flows[i].member].flow = 0;
    }
    for (uint32_t i = 0; i < n_old; i++) {
        if (flows[i].member)
            carry(registry, &flows[i]);
    }
}

/* ---- Members that vanished */

/* Whether @q itself reaped its child: a zombie's children were handed to somebody above. */
static bool reaps(const struct registry *registry, const struct sample *sample, uint32_t q)
{
    uint64_t pid = (uint64_t)registry->members[q].last.pid;
    uint32_t i = itable_get(&registry->sample_by_pid, pid);
    return i && sample->procs[i - 1].state != 'Z' && sample->procs[i - 1].state != 'X';
}

static void due_from_ancestor(
    struct registry *registry, const struct sample *sample, const struct member *member)
{
    uint32_t q = living_ancestor(registry, (uint32_t)(member - registry->members));
    if (!q)
        return;
    uint64_t shown[COUNT_COUNT] = {saturating_add(member->cpu_seen, member->children_seen),
        member->io_seen[0], member->io_seen[1]};
    bool direct = q == member->parent && reaps(registry, sample, q);
    struct flow *flow = flow_of(registry, q);
    uint64_t *due = direct ? flow->direct : flow->deep;
    for (int k = 0; k < COUNT_COUNT; k++)
        due[k] = saturating_add(due[k], shown[k]);
    if (direct && member->order < registry->members[q].order)
        flow->early_cpu = saturating_add(flow->early_cpu, shown[COUNT_CPU]);
}

void flows_vanished(struct registry *registry, const struct sample *sample)
{
    bool exits_expected = sample->n_slots == 0;
    for (uint32_t m = 1; m <= registry->members_high; m++) {
        struct member *member = &registry->members[m];
        if (member->pass == 0 || lives(registry, m) || (member->flags & MEMBER_GHOST))
            continue;
        if (!(member->last.known & PROC_KNOWN_SLOT))
            due_from_ancestor(registry, sample, member);
        else if (exits_expected && !(member->flags & MEMBER_CLOSED))
            member->flags |= MEMBER_GHOST;
    }
}

/* ---- Members that live */

static void account_add(struct account *account, enum counter which, uint64_t amount)
{
    account->added[which] = saturating_add(account->added[which], amount);
}

static void update_cpu(
    struct registry *registry, struct account *account, uint32_t m, const struct proc_record *proc)
{
    struct member *member = &registry->members[m];
    uint64_t own = saturating_add(proc->utime_ns, proc->stime_ns);
    if (member->flags & MEMBER_CPU)
        account_add(account, COUNT_CPU, counter_advance(&member->cpu_seen, own));
    else if (member->flags & MEMBER_BORN)
        account_add(account, COUNT_CPU, own);
    if (!(member->flags & MEMBER_CPU))
        member->cpu_seen = own;
}

static void update_children(
    struct registry *registry, struct account *account, uint32_t m, const struct proc_record *proc)
{
    struct member *member = &registry->members[m];
    uint64_t children = saturating_add(proc->cutime_ns, proc->cstime_ns);
    if (member->flags & MEMBER_CHILDREN) {
        uint64_t growth = counter_advance(&member->children_seen, children);
        if (growth > 0)
            flow_of(registry, m)->grown[COUNT_CPU] = growth;
        return;
    }
    member->children_seen = children;
    /* All that a process reaped before anybody saw it was born into the agent as well. */
    if ((member->flags & MEMBER_BORN) && !(member->flags & MEMBER_CPU))
        account_add(account, COUNT_CPU, children);
}

static void update_io(
    struct registry *registry, struct account *account, uint32_t m, const struct proc_record *proc)
{
    struct member *member = &registry->members[m];
    const uint64_t now[2] = {proc->read_bytes, proc->written_bytes};
    for (int k = 0; k < 2; k++) {
        enum counter which = k == 0 ? COUNT_READ : COUNT_WRITTEN;
        if (member->flags & MEMBER_IO) {
            uint64_t growth = counter_advance(&member->io_seen[k], now[k]);
            if (growth > 0)
                flow_of(registry, m)->grown[which] = growth;
            continue;
        }
        member->io_seen[k] = now[k];
        if (member->flags & MEMBER_BORN)
            account_add(account, which, now[k]);
    }
    member->flags |= MEMBER_IO;
}

void flows_update(struct registry *registry, uint32_t m, const struct proc_record *proc)
{
    struct member *member = &registry->members[m];
    struct account *account = account_touch(registry, member->slot);
    bool closed = member->flags & MEMBER_CLOSED;
    if (!closed && (proc->known & PROC_KNOWN_CHILDREN_CPU) && !(proc->known & PROC_KNOWN_SLOT)) {
        update_children(registry, account, m, proc);
        member->flags |= MEMBER_CHILDREN;
    }
    if (!closed && (proc->known & PROC_KNOWN_CPU)) {
        update_cpu(registry, account, m, proc);
        member->flags |= MEMBER_CPU;
    }
    if (!closed && (proc->known & PROC_KNOWN_IO))
        update_io(registry, account, m, proc);
    member->last = *proc;
    account_see(registry, account, member);
}

/* ---- Matching */

/* What is due for descendants whose parents vanished too may have gone to any ancestor that
 * adopts orphans; whether it still lives, or handed all on to its own reaper, above as well. */
static void settle_above(struct registry *registry, struct flow *flow, int k)
{
    uint32_t u = registry->members[flow->member].parent;
    for (int i = 0; u && flow->deep[k] + flow->old_deep[k] > 0 && i < ANCESTORS_MAX; i++) {
        if (registry->members[u].flow) {
            struct flow *above = &registry->flows[registry->members[u].flow - 1];
            settle(&above->grown[k], &flow->old_deep[k]);
            settle(&above->grown[k], &flow->deep[k]);
        }
        u = registry->members[u].parent;
    }
}

static void settle_own(struct flow *flow, int k)
{
    settle(&flow->grown[k], &flow->old_direct[k]);
    settle(&flow->grown[k], &flow->old_deep[k]);
    settle(&flow->grown[k], &flow->direct[k]);
    settle(&flow->grown[k], &flow->deep[k]);
}

/* Children that were read before their parent and are not in its growth now were in it one pass
 * ago (they cannot come later), if at all. */
static void settle_early(struct flow *flow, struct account *account)
{
    uint64_t early = MIN(flow->early_cpu, flow->direct[COUNT_CPU]);
    uint64_t twice = MIN(early, flow->counted_cpu);
    account->debt_cpu = saturating_add(account->debt_cpu, twice);
    flow->direct[COUNT_CPU] -= early;
}

void flows_settle(struct registry *registry)
{
    for (uint32_t i = 0; i < registry->n_flows; i++) {
        for (int k = 0; k < COUNT_COUNT; k++)
            settle_own(&registry->flows[i], k);
    }
    for (uint32_t i = 0; i < registry->n_flows; i++) {
        for (int k = 0; k < COUNT_COUNT; k++)
            settle_above(registry, &registry->flows[i], k);
    }
    for (uint32_t i = 0; i < registry->n_flows; i++) {
        struct flow *flow = &registry->flows[i];
        struct account *account = account_touch(registry, registry->members[flow->member].slot);
        settle_early(flow, account);
        flow->early_cpu = 0;
        flow->counted_cpu = flow->grown[COUNT_CPU];
        for (int k = 0; k < COUNT_COUNT; k++) {
            account_add(account, (enum counter)k, flow->grown[k]);
            flow->grown[k] = flow->old_direct[k] = flow->old_deep[k] = 0;
        }
    }
}

/* ---- Exit records */

static uint64_t excess(uint64_t whole, uint64_t seen)
{
    return whole > seen ? whole - seen : 0;
}

static void exit_of_member(
    struct account *account, struct member *member, const struct exit_record *record)
{
    if (member->flags & MEMBER_CLOSED)
        return;
    if (member->flags & (MEMBER_CPU | MEMBER_BORN))
        account_add(account, COUNT_CPU, excess(record->cpu_ns, member->cpu_seen));
    member->cpu_seen = MAX(member->cpu_seen, record->cpu_ns);
    if (member->flags & (MEMBER_IO | MEMBER_BORN)) {
        account_add(account, COUNT_READ, excess(record->read_bytes, member->io_seen[0]));
        account_add(account, COUNT_WRITTEN, excess(record->written_bytes, member->io_seen[1]));
    }
    member->flags |= MEMBER_CLOSED;
}

/* A record of several processes, or of one that no pass saw. What was counted of members that
 * vanished without a record of their own is in it. */
static void exit_of_others(
    struct registry *registry, struct account *account, const struct exit_record *record)
{
    uint64_t seen[COUNT_COUNT] = {0};
    account->newborn += record->processes;
    account->known |= PROC_KNOWN_CPU | PROC_KNOWN_IO;
    if (account->resume)
        return; /* in what they were reaped into, which goes on from the value that was saved */
    for (uint32_t m = account->members; record->processes > 1 && m; m = registry->members[m].next) {
        struct member *member = &registry->members[m];
        if (!(member->flags & MEMBER_GHOST) || (member->flags & MEMBER_CLOSED))
            continue;
        seen[COUNT_CPU] = saturating_add(seen[COUNT_CPU], member->cpu_seen);
        seen[COUNT_READ] = saturating_add(seen[COUNT_READ], member->io_seen[0]);
        seen[COUNT_WRITTEN] = saturating_add(seen[COUNT_WRITTEN], member->io_seen[1]);
        member->flags |= MEMBER_CLOSED;
    }
    account_add(account, COUNT_CPU, excess(record->cpu_ns, seen[COUNT_CPU]));
    account_add(account, COUNT_READ, excess(record->read_bytes, seen[COUNT_READ]));
    account_add(account, COUNT_WRITTEN, excess(record->written_bytes, seen[COUNT_WRITTEN]));
}

void flows_exits(struct registry *registry, const struct sample *sample)
{
    for (size_t i = 0; i < sample->n_exits; i++) {
        const struct exit_record *record = &sample->exits[i];
        uint32_t m = record->pid > 0 ? itable_get(&registry->by_pid, (uint64_t)record->pid) : 0;
        bool member = m && registry->members[m].last.start_ticks == record->start_ticks;
        agent_slot slot = member ? registry->members[m].slot : record->slot;
        if (!registry_account(registry, slot))
            continue;
        struct account *account = account_touch(registry, slot);
        /* Of a process that is older than its membership it reaches back to before that. */
        bool born = member ? registry->members[m].flags & MEMBER_BORN
                           : record->processes > 1 || record->start_ticks >= account->since_ticks;
        if (born)
            account->rss_peak_bytes = MAX(account->rss_peak_bytes, record->rss_peak_bytes);
        if (member && record->processes <= 1)
            exit_of_member(account, &registry->members[m], record);
        else if (record->processes > 1 || born)
            exit_of_others(registry, account, record);
    }
}
