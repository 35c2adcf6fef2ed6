/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of a pass become usage, totals and states.
 *
 * Of three sources for an agent's counters the widest that is there is believed: its own cgroup
 * (also what never was a process of ours), then what its collector counted for it as a whole,
 * then its members. A source that shows up later starts at its value of then; only where the
 * agent was made together with its cgroup, or the collector counts since adoption, its first
 * value counts whole. After a restart the cgroup goes on from the value that was saved; what else
 * happened meanwhile the members tell (registry_resume.c).
 *
 * Rates are over monotonic time, which stands still in suspend, and over RATE_AFTER at least:
 * samples come between ticks too, and counters that the kernel keeps in hundredths of a second, or
 * brings up to date in bursts, say anything over less. A sample that comes sooner leaves the rates
 * as they are; what it adds counts to the next ones.
 */
#include "policy/registry_internal.h"

#include <math.h>

#include "base/mem.h"
#include "model/usage.h"

#define TICK_NS    10000000ull
#define RATE_AFTER (75 * NS_PER_MSEC) /* the shortest tick, 100 ms, and that may come early */
#define RATES      (AC_KNOWN_CPU_PERCENT | AC_KNOWN_CPU_CORES | AC_KNOWN_DISK_IO | AC_KNOWN_NETWORK_IO)

struct account *account_touch(struct registry *registry, agent_slot slot)
{
    struct account *account = &registry->accounts[slot];
    if (account->pass == registry->pass)
        return account;
    account->pass = registry->pass;
    account->live = account->processes = account->threads = account->known = 0;
    account->newborn = 0;
    account->root_lives = account->just_adopted = false;
    for (int k = 0; k < COUNT_COUNT; k++)
        account->added[k] = 0;
    account->rss_bytes = account->fds = account->rss_peak_bytes = 0;
    account->pss_bytes = account->pss_oldest_ns = 0;
    account->pss_lacks = false;
    account->slot_record = NULL;
    account->group_record = NULL;
    return account;
}

bool proc_is_dead(const struct proc_record *proc)
{
    return (proc->state == 'Z' || proc->state == 'X') && proc->threads <= 1;
}

/* Processes that share one address space have one memory between them: whether this is the first
 * of those. */
static bool memory_first(struct registry *registry, const struct proc_record *proc)
{
    if (!(proc->known & PROC_KNOWN_MM) || proc->mm_id == 0)
        return true;
    if (itable_get(&registry->mms, proc->mm_id))
        return false;
    itable_set(&registry->mms, proc->mm_id, 1);
    return true;
}

uint64_t proc_rss(const struct proc_record *proc)
{
    return saturating_add(
        saturating_add(proc->rss_anon_bytes, proc->rss_file_bytes), proc->rss_shmem_bytes);
}

void account_see(struct registry *registry, struct account *account, const struct member *member)
{
    const struct proc_record *proc = &member->last;
    account->known |= proc->known & (PROC_KNOWN_CPU | PROC_KNOWN_IO);
    if (proc_is_dead(proc))
        return;
    account->live++;
    account->processes++;
    account->known |= proc->known & (PROC_KNOWN_RSS | PROC_KNOWN_FDS);
    if (proc->known & PROC_KNOWN_THREADS)
        account->threads += proc->threads;
    if ((proc->known & PROC_KNOWN_RSS) && memory_first(registry, proc)) {
        account->rss_bytes = saturating_add(account->rss_bytes, proc_rss(proc));
        pss_see(account, member);
    }
    if (proc->known & PROC_KNOWN_FDS)
        account->fds += proc->fds;
    if (proc->pid == account->root_pid && proc->start_ticks == account->root_start_ticks)
        account->root_lives = true;
}

static void rates_keep(const struct ac_usage *before, struct ac_usage *usage)
{
    usage->cpu_percent = before->cpu_percent;
    usage->cpu_cores = before->cpu_cores;
    usage->disk_io_mbps = before->disk_io_mbps;
    usage->network_io_mbps = before->network_io_mbps;
    usage->known |= before->known & RATES;
}

/* ---- The machine */

static double rate(uint64_t now, uint64_t before, uint64_t interval_ns)
{
    return (double)(now - before) / ((double)interval_ns / (double)NS_PER_SEC);
}

static bool machine_cpu(const struct machine_record *now, const struct machine_record *before,
    uint64_t interval_ns, struct ac_usage *usage)
{
    if (!(now->known & before->known & MACHINE_KNOWN_CPU) ||
        now->cpu_busy_ns < before->cpu_busy_ns ||
        (now->cpu_total_ns == 0) != (before->cpu_total_ns == 0))
        return false;
    double busy = (double)(now->cpu_busy_ns - before->cpu_busy_ns);
    if (now->cpu_total_ns > before->cpu_total_ns) {
        double total = (double)(now->cpu_total_ns - before->cpu_total_ns);
        usage_set_cpu(usage, MIN(busy / total, 1.0) * now->capacity_cores, now->capacity_cores);
        return true;
    }
    if (now->cpu_total_ns != 0 || interval_ns == 0)
        return false;
    usage_set_cpu(usage, busy / (double)interval_ns, now->capacity_cores);
    return true;
}

static void machine_rates(const struct machine_record *now, const struct machine_record *before,
    uint64_t interval_ns, struct ac_usage *usage)
{
    uint32_t known = interval_ns > 0 ? now->known & before->known : 0;
    if ((known & MACHINE_KNOWN_DISK) && now->disk_read_bytes >= before->disk_read_bytes &&
        now->disk_written_bytes >= before->disk_written_bytes) {
        usage->disk_io_mbps =
            (rate(now->disk_read_bytes, before->disk_read_bytes, interval_ns) +
                rate(now->disk_written_bytes, before->disk_written_bytes, interval_ns)) /
            USAGE_MIB;
        usage->known |= AC_KNOWN_DISK_IO;
    }
    if ((known & MACHINE_KNOWN_NETWORK) && now->net_received_bytes >= before->net_received_bytes &&
        now->net_sent_bytes >= before->net_sent_bytes) {
        usage->network_io_mbps =
            (rate(now->net_received_bytes, before->net_received_bytes, interval_ns) +
                rate(now->net_sent_bytes, before->net_sent_bytes, interval_ns)) /
            USAGE_MIB;
        usage->known |= AC_KNOWN_NETWORK_IO;
    }
}

void publish_machine(struct registry *registry, const struct sample *sample)
{
    const struct machine_record *now = &sample->machine, *before = &registry->machine_rated;
    struct ac_usage usage;
    uint64_t interval = mono_since(sample->when.mono, registry->rated);
    bool first = !registry->sampled || now->boot_id != before->boot_id;
    ac_usage_init(&usage);
    usage.timestamp_ns = sample->when.wall_ns;
    if (first && (now->known & MACHINE_KNOWN_CPU) && isfinite(now->cpu_boot_percent))
        usage_set_cpu(
            &usage, now->cpu_boot_percent / 100 * now->capacity_cores, now->capacity_cores);
    bool soon = !first && interval < RATE_AFTER;
    if (soon) {
        rates_keep(&registry->machine_usage, &usage);
    } else if (!first) {
        (void)machine_cpu(now, before, interval, &usage);
        machine_rates(now, before, interval, &usage);
    }
    if (now->known & MACHINE_KNOWN_MEMORY)
        usage_set_memory(&usage, (double)now->memory_used_bytes / USAGE_MIB,
            (double)now->capacity_memory_bytes / USAGE_MIB);
    if (now->known & MACHINE_KNOWN_FDS) {
        usage.file_descriptors = now->fds;
        usage.known |= AC_KNOWN_FILE_DESCRIPTORS;
    }
    if (!soon) {
        registry->machine_rated = *now;
        registry->rated = sample->when.mono;
    }
    registry->machine = *now;
    registry->machine_usage = usage;
}

/* ---- Agents */

/* What an agent's counters grew by in this pass. */
struct growth {
    uint64_t counter[COUNT_COUNT];
    uint64_t received;
    uint64_t sent;
    bool cpu_known;
    bool io_known;
    bool network_known;
};

static bool resumes(const struct account *account)
{
    return account->resume && account->just_adopted;
}

static void growth_from_members(const struct registry *registry, struct account *account,
    const struct sample *sample, struct growth *growth)
{
    for (int k = 0; k < COUNT_COUNT; k++)
        growth->counter[k] = account->added[k];
    if (resumes(account))
        resume_growth(registry, account, sample, growth->counter);
    growth->cpu_known = account->known & PROC_KNOWN_CPU;
    growth->io_known = account->known & PROC_KNOWN_IO;
    uint64_t paid = MIN(account->debt_cpu, growth->counter[COUNT_CPU]);
    growth->counter[COUNT_CPU] -= paid;
    account->debt_cpu -= paid;
}

/* After a restart the collector begins anew, and sees no more than the members tell. */
static void slot_advance(
    struct account *account, enum counter which, uint64_t now, struct growth *growth)
{
    uint64_t grown = counter_advance(&account->slot_seen[which], now);
    growth->counter[which] = resumes(account) ? MAX(grown, growth->counter[which]) : grown;
}

static void growth_from_slot(struct account *account, struct growth *growth)
{
    const struct slot_record *record = account->slot_record;
    if (!record)
        return;
    if (record->known & SLOT_KNOWN_CPU) {
        slot_advance(account, COUNT_CPU, record->cpu_ns, growth);
        growth->cpu_known = true;
    }
    if (record->known & SLOT_KNOWN_IO) {
        slot_advance(account, COUNT_READ, record->read_bytes, growth);
        slot_advance(account, COUNT_WRITTEN, record->written_bytes, growth);
        growth->io_known = true;
    }
}

/* One counter of the cgroup. @total: what was counted of the agent so far. False where it only
 * starts now, at a value of which nothing is known. */
static bool group_advance(const struct account *account, bool seen_before, uint64_t *seen,
    uint64_t now, uint64_t total, uint64_t *ret_growth)
{
    if (seen_before) {
        *ret_growth = counter_advance(seen, now);
        return true;
    }
    *seen = now;
    if (!account->fresh)
        return false;
    *ret_growth = now > total ? now - total : 0;
    return true;
}

static void growth_from_group(struct account *account, struct growth *growth)
{
    const struct group_record *record = account->group_record;
    const struct agent_totals *totals = &account->agent->totals;
    uint32_t before = account->group_known, known = record ? record->known : 0;
    if (record && record->cgroup_id != account->cgroup_id)
        before = 0; /* another one's values */
    account->group_known = known;
    account->cgroup_id = record ? record->cgroup_id : 0;
    if ((known & GROUP_KNOWN_CPU) &&
        group_advance(account, before & GROUP_KNOWN_CPU, &account->group_seen[COUNT_CPU],
            record->cpu_ns, totals->cpu_ns, &growth->counter[COUNT_CPU]))
        growth->cpu_known = true;
    if (known & GROUP_KNOWN_IO) {
        bool seen = before & GROUP_KNOWN_IO;
        bool told = group_advance(account, seen, &account->group_seen[COUNT_READ],
            record->read_bytes, totals->disk_read_bytes, &growth->counter[COUNT_READ]);
        told |= group_advance(account, seen, &account->group_seen[COUNT_WRITTEN],
            record->written_bytes, totals->disk_written_bytes, &growth->counter[COUNT_WRITTEN]);
        growth->io_known |= told;
    }
    if (known & GROUP_KNOWN_NETWORK) {
        bool seen = before & GROUP_KNOWN_NETWORK;
        bool told = group_advance(account, seen, &account->net_seen[0], record->received_bytes,
            totals->net_received_bytes, &growth->received);
        told |= group_advance(account, seen, &account->net_seen[1], record->sent_bytes,
            totals->net_sent_bytes, &growth->sent);
        growth->network_known = told;
    }
}

static void publish_totals(struct account *account, const struct growth *growth)
{
    struct agent_totals *totals = &account->agent->totals;
    totals->cpu_ns = saturating_add(totals->cpu_ns, growth->counter[COUNT_CPU]);
    totals->disk_read_bytes = saturating_add(totals->disk_read_bytes, growth->counter[COUNT_READ]);
    totals->disk_written_bytes =
        saturating_add(totals->disk_written_bytes, growth->counter[COUNT_WRITTEN]);
    totals->net_received_bytes = saturating_add(totals->net_received_bytes, growth->received);
    totals->net_sent_bytes = saturating_add(totals->net_sent_bytes, growth->sent);
    totals->processes_total += account->newborn;
    if (account->slot_record && (account->slot_record->known & SLOT_KNOWN_PROCESSES)) {
        uint64_t counted = account->slot_record->processes_total;
        if (resumes(account)) /* it counted those that were there as new */
            account->processes_before = totals->processes_total - counted;
        totals->processes_total = MAX(totals->processes_total, account->processes_before + counted);
    }
    totals->known |= (growth->cpu_known ? TOTALS_KNOWN_CPU : 0) |
                     (growth->io_known ? TOTALS_KNOWN_DISK : 0) |
                     (growth->network_known ? TOTALS_KNOWN_NETWORK : 0) |
                     (totals->processes_total > 0 ? TOTALS_KNOWN_PROCESSES : 0);
}

/* The time in which the growth since the last rates was used; 0 = it cannot be told. */
static uint64_t interval_of(const struct account *account, const struct sample *sample)
{
    if (!account->just_adopted)
        return mono_since(sample->when.mono, account->rated);
    uint64_t start = account->root_start_ticks * TICK_NS;
    uint64_t age = account->fresh && sample->boot_ns > start ? sample->boot_ns - start : 0;
    return age >= RATE_AFTER ? age : 0;
}

/* What its processes have now, or its group where that tells. False where neither is known. */
static bool memory_now(const struct account *account, uint64_t *ret_bytes)
{
    const struct group_record *group = account->group_record;
    bool told = group && (group->known & GROUP_KNOWN_MEMORY);
    if (!told && !(account->known & PROC_KNOWN_RSS))
        return false;
    *ret_bytes = told ? group->memory_bytes : account->rss_bytes;
    return true;
}

/* The most between the last sample and this one. What is in the group of an agent that is gone is
 * not the agent's. */
static uint64_t memory_peak(const struct account *account)
{
    const struct slot_record *slot = account->slot_record;
    const struct group_record *group = account->exited ? NULL : account->group_record;
    uint64_t peak = account->rss_peak_bytes;
    if (slot && (slot->known & SLOT_KNOWN_RSS))
        peak = MAX(peak, slot->rss_max_bytes);
    if (slot && (slot->known & SLOT_KNOWN_EXITED_RSS))
        peak = MAX(peak, slot->exited_rss_peak_bytes);
    if (group && (group->known & GROUP_KNOWN_MEMORY_RANGE))
        peak = MAX(peak, group->memory_max_bytes);
    if (group && (group->known & GROUP_KNOWN_MEMORY_PEAK))
        peak = MAX(peak, group->memory_peak_bytes);
    return peak;
}

/* Also of an agent that is gone: its last process's peak may come after its end. */
static void publish_memory_peak(const struct account *account)
{
    struct agent_totals *totals = &account->agent->totals;
    uint64_t now = 0;
    bool known = !account->exited && memory_now(account, &now);
    uint64_t peak = MAX(memory_peak(account), now);
    if (peak > 0 || known) {
        totals->memory_peak_bytes = MAX(totals->memory_peak_bytes, peak);
        totals->known |= TOTALS_KNOWN_MEMORY;
    }
}

static void publish_memory(
    const struct registry *registry, const struct account *account, struct ac_usage *usage)
{
    uint64_t bytes;
    if (memory_now(account, &bytes))
        usage_set_memory(usage, (double)bytes / USAGE_MIB,
            (double)registry->machine.capacity_memory_bytes / USAGE_MIB);
}

/* Rates of all that grew since the last ones. */
static void publish_rates(const struct registry *registry, struct account *account,
    const struct growth *growth, const struct sample *sample, struct ac_usage *usage)
{
    uint64_t interval = interval_of(account, sample);
    uint64_t *unrated = account->unrated;
    for (int k = 0; k < COUNT_COUNT; k++)
        unrated[k] = saturating_add(unrated[k], growth->counter[k]);
    account->unrated_net =
        saturating_add(account->unrated_net, saturating_add(growth->received, growth->sent));
    if (!account->just_adopted && interval < RATE_AFTER) {
        rates_keep(&account->agent->measured, usage);
        return;
    }
    if (growth->cpu_known && interval > 0)
        usage_set_cpu(
            usage, (double)unrated[COUNT_CPU] / (double)interval, registry->machine.capacity_cores);
    if (growth->io_known && interval > 0) {
        usage->disk_io_mbps =
            (rate(unrated[COUNT_READ], 0, interval) + rate(unrated[COUNT_WRITTEN], 0, interval)) /
            USAGE_MIB;
        usage->known |= AC_KNOWN_DISK_IO;
    }
    if (growth->network_known && interval > 0) {
        usage->network_io_mbps = rate(account->unrated_net, 0, interval) / USAGE_MIB;
        usage->known |= AC_KNOWN_NETWORK_IO;
    }
    for (int k = 0; k < COUNT_COUNT; k++)
        unrated[k] = 0;
    account->unrated_net = 0;
    account->rated = sample->when.mono;
}

static void publish_measured(const struct registry *registry, struct account *account,
    const struct growth *growth, const struct sample *sample)
{
    struct agent *agent = account->agent;
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.timestamp_ns = sample->when.wall_ns;
    publish_rates(registry, account, growth, sample, &usage);
    publish_memory(registry, account, &usage);
    if (account->known & PROC_KNOWN_FDS) {
        usage.file_descriptors = account->fds;
        usage.known |= AC_KNOWN_FILE_DESCRIPTORS;
        agent->totals.fds_peak = MAX(agent->totals.fds_peak, account->fds);
        agent->totals.known |= TOTALS_KNOWN_FDS;
    }
    if (usage.known & AC_KNOWN_CPU_PERCENT)
        agent->totals.cpu_peak_percent = MAX(agent->totals.cpu_peak_percent, usage.cpu_percent);
    agent->measured = usage;
}

static void publish_state(
    struct registry *registry, struct account *account, const struct sample *sample)
{
    struct agent *agent = account->agent;
    agent->processes = account->processes;
    agent->threads = account->threads;
    if (account->live == 0) {
        agent->state = AGENT_EXITED;
        agent->ended = sample_moment(sample);
        account->exited = true;
        ac_usage_init(&agent->measured);
        registry->exited[registry->n_exited++] = agent->slot;
    } else if (!account->root_lives && agent->state == AGENT_RUNNING) {
        agent->state = AGENT_ORPHANS;
        registry->orphaned[registry->n_orphaned++] = agent->slot;
    }
}

static void publish_agent(
    struct registry *registry, struct account *account, const struct sample *sample)
{
    struct agent *agent = account->agent;
    struct growth growth = {0};
    growth_from_members(registry, account, sample, &growth);
    growth_from_slot(account, &growth);
    growth_from_group(account, &growth);
    if (account->group_record)
        agent->group = *account->group_record;
    else
        agent->group.known = 0;
    publish_totals(account, &growth);
    publish_memory_peak(account);
    if (resumes(account))
        mem_free(TAKE_PTR(account->resume));
    if (account->exited)
        return; /* the last slice of one that is gone */
    publish_measured(registry, account, &growth, sample);
    if (sample->n_procs > 0)
        publish_state(registry, account, sample);
    pss_publish(account, sample);
    publish_usage(agent);
}

static void records_attach(struct registry *registry, const struct sample *sample)
{
    for (size_t i = 0; i < sample->n_slots; i++) {
        if (registry_account(registry, sample->slots[i].slot))
            account_touch(registry, sample->slots[i].slot)->slot_record = &sample->slots[i];
    }
    for (size_t i = 0; i < sample->n_groups; i++) {
        if (registry_account(registry, sample->groups[i].slot))
            account_touch(registry, sample->groups[i].slot)->group_record = &sample->groups[i];
    }
}

void publish_agents(struct registry *registry, const struct sample *sample)
{
    registry->n_exited = registry->n_orphaned = 0;
    registry->min_since_ticks = UINT64_MAX;
    records_attach(registry, sample);
    for (uint32_t slot = 1; slot <= registry->high; slot++) {
        struct account *account = &registry->accounts[slot];
        if (!account->agent)
            continue;
        if (account->adopted && !account->exited && sample->n_procs > 0)
            (void)account_touch(registry, slot);
        if (account->pass == registry->pass)
            publish_agent(registry, account, sample);
        if (account->adopted && !account->exited)
            registry->min_since_ticks = MIN(registry->min_since_ticks, account->since_ticks);
    }
}
