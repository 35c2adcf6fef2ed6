/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events and the walk over /proc tell of the same processes, in either order: a process may be
 * listed before its fork is told, and after its end was. By (pid, start_ticks) the registry knows
 * them for one; events do not tell start_ticks, so that they come from the walk as soon as it shows
 * the process, also into the record of an end that was told just before.
 *
 * A member is kept as long as it is listed, and for two samples more.
 */
#include "os/netlink_collector.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "os/netlink_proc.h"
#include "os/watch.h"

#define MEMBERS_MAX   262144u
#define EXITS_MAX     65536u
#define KEEP_PASSES   2
#define TICK_NS       10000000u
#define SETTLE_ROUNDS 64

struct follower {
    int32_t pid;
    agent_slot slot;
    uint64_t start_ticks;    /* 0 = not listed yet */
    uint64_t seen;           /* pass that listed it, or told its fork, last */
    uint64_t ended;          /* pass whose exits its end is in; 0 = lives */
    size_t exit_at;          /* its place in them */
    struct exit_record used; /* by its threads that exited */
};

struct netlink_collector {
    struct collector_source source;
    struct collector_source *procfs;
    struct netlink_proc *netlink;
    struct watch *watch;
    uint32_t max_slot;
    uint64_t pass; /* of the sample that is being collected; the first is 1 */
    uint64_t lost;
    struct u64map *members; /* pid -> struct follower, owned */
    struct proc_record *procs;
    size_t procs_capacity;
    struct exits {
        struct exit_record *records;
        size_t count;
        size_t capacity;
    } exits[2]; /* being collected, and in the last sample, by turns */
    unsigned collecting;
};

static struct netlink_collector *from_source(struct collector_source *source)
{
    return (struct netlink_collector *)source;
}

/* ---- Members */

static struct follower *follower_get(const struct netlink_collector *collector, int32_t pid)
{
    return pid > 0 ? u64map_get(collector->members, (uint64_t)pid) : NULL;
}

static void follower_drop(struct netlink_collector *collector, int32_t pid)
{
    mem_free(u64map_remove(collector->members, (uint64_t)pid));
}

static int follower_add(
    struct netlink_collector *collector, int32_t pid, agent_slot slot, uint64_t start_ticks)
{
    struct follower *before = follower_get(collector, pid);
    const struct follower added = {
        .pid = pid, .slot = slot, .start_ticks = start_ticks, .seen = collector->pass};

    if (before) {
        *before = added;
        return 0;
    }
    if (u64map_count(collector->members) >= MEMBERS_MAX)
        return -ENOSPC;
    struct follower *follower = mem_alloc(sizeof(*follower));
    if (!follower)
        return -ENOMEM;
    *follower = added;
    int r = u64map_put(collector->members, (uint64_t)pid, follower);
    if (r < 0)
        mem_free(follower);
    return r;
}

/* Removes members of @slot, or (0) those that are gone for a while, a few at a time: a map must not
 * change while it is walked. */
static void followers_sweep(struct netlink_collector *collector, agent_slot slot)
{
    int32_t pids[4096];
    size_t n;

    do {
        size_t cursor = 0;
        n = 0;
        for (struct follower *f;
             n < ARRAY_SIZE(pids) && (f = u64map_next(collector->members, &cursor));) {
            bool old = f->seen + KEEP_PASSES <= collector->pass;
            if (slot ? f->slot == slot : old)
                pids[n++] = f->pid;
        }
        for (size_t i = 0; i < n; i++)
            follower_drop(collector, pids[i]);
    } while (n == ARRAY_SIZE(pids));
}

/* ---- Events */

static void on_fork(void *userdata, int32_t parent_tgid, int32_t child_tgid)
{
    struct netlink_collector *collector = userdata;
    const struct follower *parent = follower_get(collector, parent_tgid);
    const struct follower *child = follower_get(collector, child_tgid);

    if (parent && child && child->slot == parent->slot && child->start_ticks && !child->ended)
        return; /* forked during a walk, which has shown it */
    if (!parent)
        follower_drop(collector, child_tgid); /* the pid is somebody else's now */
    else if (follower_add(collector, child_tgid, parent->slot, 0) < 0)
        collector->lost++;
}

/* Returns its place, SIZE_MAX where there is no room. */
static size_t exits_add(struct netlink_collector *collector, const struct exit_record *record)
{
    struct exits *exits = &collector->exits[collector->collecting];

    if (exits->count == exits->capacity) {
        size_t capacity = MAX(exits->capacity * 2, (size_t)64);
        struct exit_record *larger =
            capacity > EXITS_MAX ? NULL
                                 : mem_resize_array(exits->records, capacity, sizeof(*larger));
        if (!larger) {
            collector->lost++;
            return SIZE_MAX;
        }
        exits->records = larger;
        exits->capacity = capacity;
    }
    exits->records[exits->count] = *record;
    return exits->count++;
}

static uint64_t ticks_before_now(uint64_t lifetime_us)
{
    uint64_t now = clock_boot_ns();
    uint64_t age = lifetime_us * NS_PER_USEC;
    return now > age ? (now - age) / TICK_NS : 0;
}

static void on_thread_exit(void *userdata, const struct netlink_exit *exited)
{
    struct netlink_collector *collector = userdata;
    struct follower *follower = follower_get(collector, exited->tgid);

    if (!follower)
        return;
    struct exit_record *used = &follower->used;
    used->cpu_ns += exited->cpu_ns;
    used->read_bytes += exited->read_bytes;
    used->written_bytes += exited->written_bytes;
    used->rss_peak_bytes = MAX(used->rss_peak_bytes, exited->rss_peak_bytes);
    if (!exited->last)
        return;
    used->slot = follower->slot;
    used->pid = follower->pid;
    used->processes = 1;
    used->start_ticks =
        follower->start_ticks ? follower->start_ticks : ticks_before_now(exited->lifetime_us);
    follower->exit_at = exits_add(collector, used);
    follower->ended = collector->pass;
}

static int events_drain(struct netlink_collector *collector)
{
    struct netlink_handlers handlers = {on_fork, on_thread_exit, collector};
    return netlink_proc_drain(collector->netlink, &handlers);
}

/* ---- Sampling */

static int procs_copy(struct netlink_collector *collector, struct sample *sample)
{
    if (sample->n_procs > collector->procs_capacity) {
        size_t capacity = sample->n_procs + sample->n_procs / 4;
        struct proc_record *larger = mem_resize_array(collector->procs, capacity, sizeof(*larger));
        if (!larger)
            return -ENOMEM;
        collector->procs = larger;
        collector->procs_capacity = capacity;
    }
    if (sample->n_procs > 0)
        memcpy(collector->procs, sample->procs, sample->n_procs * sizeof(*sample->procs));
    sample->procs = collector->procs;
    return 0;
}

/* The walk shows a process for the first time: so much for its start. Its end may have been told
 * a moment ago, which the kernel does before the process is a zombie; that the pid is already
 * another's shows in a start behind what was told of it. */
static void follower_date(
    struct netlink_collector *collector, struct follower *follower, uint64_t start_ticks)
{
    struct exits *exits = &collector->exits[collector->collecting];

    if (follower->ended && start_ticks > follower->used.start_ticks)
        return;
    follower->start_ticks = start_ticks;
    if (follower->ended == collector->pass && follower->exit_at < exits->count)
        exits->records[follower->exit_at].start_ticks = start_ticks;
}

/* The slot of a listed process. Its pid may have been another's, which no event told. */
static agent_slot slot_of(struct netlink_collector *collector, const struct proc_record *proc)
{
    struct follower *follower = follower_get(collector, proc->pid);

    if (!follower)
        return 0;
    if (follower->start_ticks == 0)
        follower_date(collector, follower, proc->start_ticks);
    if (follower->start_ticks == proc->start_ticks) {
        follower->seen = collector->pass;
        return follower->slot;
    }
    follower_drop(collector, proc->pid);
    return 0;
}

/* Children of members are members, also where no event said so. Returns how many were found. */
static size_t follow_parents(struct netlink_collector *collector, size_t n_procs)
{
    size_t found = 0;

    for (size_t i = 0; i < n_procs; i++) {
        struct proc_record *proc = &collector->procs[i];
        const struct follower *parent = proc->slot ? NULL : follower_get(collector, proc->ppid);
        bool there = parent && (!parent->ended || parent->seen == collector->pass);
        if (!there || proc->start_ticks < parent->start_ticks)
            continue;
        if (follower_add(collector, proc->pid, parent->slot, proc->start_ticks) < 0) {
            collector->lost++;
            continue;
        }
        proc->slot = parent->slot;
        found++;
    }
    return found;
}

static void membership_apply(struct netlink_collector *collector, size_t n_procs)
{
    for (size_t i = 0; i < n_procs; i++) {
        collector->procs[i].slot = slot_of(collector, &collector->procs[i]);
        collector->procs[i].known |= PROC_KNOWN_SLOT;
    }
    for (int round = 0; round < SETTLE_ROUNDS && follow_parents(collector, n_procs) > 0; round++) {
    }
}

/* Events first: one that comes during the walk is then told at the next sample. */
static int read_sample(struct collector_source *source, struct sample *ret_sample)
{
    struct netlink_collector *collector = from_source(source);
    struct group_record *groups;
    struct sample sample;

    int r = events_drain(collector);
    if (r < 0)
        return r;
    r = collector->procfs->ops->read(collector->procfs, &sample);
    if (r < 0)
        return r;
    r = procs_copy(collector, &sample);
    if (r < 0)
        return r;
    membership_apply(collector, sample.n_procs);
    followers_sweep(collector, 0);
    const struct exits *exits = &collector->exits[collector->collecting];
    collector->pass++;
    collector->collecting ^= 1;
    collector->exits[collector->collecting].count = 0;
    sample.exits = exits->records;
    sample.n_exits = exits->count;
    sample.n_groups = watch_read(collector->watch, &groups);
    sample.groups = groups;
    sample.lost += collector->lost + netlink_proc_overruns(collector->netlink);
    *ret_sample = sample;
    return 0;
}

/* ---- The rest */

static int adopt(
    struct collector_source *source, agent_slot slot, int32_t pid, uint64_t start_ticks)
{
    struct netlink_collector *collector = from_source(source);

    if (slot == 0 || slot > collector->max_slot)
        return -ERANGE;
    /* The event of its own fork, by no member, must not come behind this. */
    int r = events_drain(collector);
    if (r == 0)
        r = follower_add(collector, pid, slot, start_ticks);
    if (r == 0)
        (void)watch_root(collector->watch, slot, pid);
    return r;
}

static void release(struct collector_source *source, agent_slot slot)
{
    struct netlink_collector *collector = from_source(source);

    if (slot == 0)
        return;
    followers_sweep(collector, slot);
    watch_release(collector->watch, slot);
}

static int watch_cgroup(struct collector_source *source, agent_slot slot, int cgroup_dir_fd)
{
    return watch_group(from_source(source)->watch, slot, cgroup_dir_fd);
}

static int event_fd(struct collector_source *source)
{
    return watch_fd(from_source(source)->watch);
}

static int handle_events(struct collector_source *source)
{
    return watch_handle(from_source(source)->watch);
}

static void collector_free(struct collector_source *source)
{
    struct netlink_collector *collector = from_source(source);

    if (collector->members) {
        size_t cursor = 0;
        for (void *f; (f = u64map_next(collector->members, &cursor));)
            mem_free(f);
    }
    u64map_free(collector->members);
    if (collector->procfs)
        collector->procfs->ops->free(collector->procfs);
    netlink_proc_free(collector->netlink);
    watch_free(collector->watch);
    mem_free(collector->procs);
    mem_free(collector->exits[0].records);
    mem_free(collector->exits[1].records);
    mem_free(collector);
}

static void collector_freep(struct netlink_collector **collector)
{
    if (*collector)
        collector_free(&(*collector)->source);
}

static const struct collector_ops ops = {
    .name = "procfs+netlink",
    .read = read_sample,
    .adopt = adopt,
    .release = release,
    .watch_group = watch_cgroup,
    .event_fd = event_fd,
    .handle_events = handle_events,
    .free = collector_free,
};

/* The costly files only of members, and of what may become one at this sample. */
static bool is_wanted(void *userdata, int32_t pid, uint64_t start_ticks, int32_t ppid)
{
    const struct netlink_collector *collector = userdata;
    (void)start_ticks;
    return follower_get(collector, pid) || follower_get(collector, ppid);
}

int netlink_collector_new(const struct procfs_options *options, uint32_t max_slot,
    struct collector_source **ret_source, struct ac_error *error)
{
    struct netlink_collector *collector CLEANUP(collector_freep) = mem_alloc(sizeof(*collector));

    if (!collector)
        return error_errno(error, -ENOMEM, "cannot start the collector");
    collector->source.ops = &ops;
    collector->max_slot = max_slot;
    collector->pass = 1;
    int r = netlink_proc_new(&collector->netlink, error);
    if (r < 0)
        return r;
    r = u64map_new(clock_mono().ns, &collector->members);
    if (r == 0)
        r = watch_new(max_slot, &collector->watch);
    if (r < 0)
        return error_errno(error, r, "cannot start the collector");
    r = procfs_new(options, &collector->procfs, error);
    if (r < 0)
        return r;
    if (!options->thorough)
        procfs_set_wanted(collector->procfs, is_wanted, collector);
    *ret_source = &TAKE_PTR(collector)->source;
    return 0;
}
