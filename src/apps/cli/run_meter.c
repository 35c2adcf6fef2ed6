/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/run_meter.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "apps/cli/run_forks.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/usage.h"
#include "os/procfs.h"
#include "policy/registry.h"

#define FIRST_INTERVAL_NS (5 * NS_PER_MSEC)
#define INTERVAL_NS       (100 * NS_PER_MSEC)
#define COST_FACTOR       20   /* a pass may take one part in this of the time */
#define SECTOR            512  /* ru_inblock and ru_oublock count these */
#define CHAIN_MAX         1000 /* ancestors looked at: a damaged chain must not hang us */

struct meter {
    struct collector_source *source;
    struct forks *forks;
    struct registry *registry;
    agent_slot slot;
    struct u64map *parents;     /* pid -> record of the sample being looked at */
    struct u64map *descendants; /* pids known to be ours, for the collector */
    struct proc_record *members;
    size_t n_members;
    size_t capacity;
    struct mono due;
    uint64_t interval_ns;
    uint64_t reaped;
    uint64_t reaped_cpu_us;
    uint64_t reaped_read_bytes;
    uint64_t reaped_written_bytes;
    uint64_t reaped_peak_bytes; /* of any single process */
    bool counts_io;             /* the kernel keeps accounts of disk I/O */
    bool sampled;
};

/* The collector asks whose I/O and descriptors to read: ours only. Parents come before their
 * children in most passes; a child that comes first is read in full from the next pass on. */
static bool is_wanted(void *userdata, int32_t pid, uint64_t start_ticks, int32_t ppid)
{
    struct meter *meter = userdata;
    (void)start_ticks;
    bool ours = ppid == getpid() || u64map_get(meter->descendants, (uint64_t)pid) ||
                u64map_get(meter->descendants, (uint64_t)ppid);
    if (ours)
        u64map_put(meter->descendants, (uint64_t)pid, meter);
    return ours;
}

static int meter_open(struct meter *meter, const struct agent_spec *spec, struct ac_error *error)
{
    const struct procfs_options options = {.processes = true};
    const struct agent *agent;
    uint64_t seed = clock_mono().ns;
    int r = procfs_new(&options, &meter->source, error);
    if (r < 0)
        return r;
    r = registry_new(1, seed, &meter->registry);
    if (r == 0)
        r = u64map_new(seed, &meter->parents);
    if (r == 0)
        r = u64map_new(seed, &meter->descendants);
    if (r == 0)
        r = registry_add(meter->registry, spec, clock_moment(), &agent);
    if (r < 0)
        return error_errno(error, r, "metering %s", spec->id);
    meter->slot = agent->slot;
    procfs_set_wanted(meter->source, is_wanted, meter);
    return 0;
}

int meter_new(const struct agent_spec *spec, struct forks *forks, struct meter **ret_meter,
    struct ac_error *error)
{
    struct meter *meter = mem_alloc(sizeof(*meter));
    if (!meter)
        return error_errno(error, -ENOMEM, "metering %s", spec->id);
    int r = meter_open(meter, spec, error);
    if (r < 0) {
        meter_free(meter);
        return r;
    }
    meter->forks = forks;
    meter->interval_ns = FIRST_INTERVAL_NS;
    meter->due = clock_mono();
    meter->counts_io = access("/proc/self/io", F_OK) == 0;
    *ret_meter = meter;
    return 0;
}

void meter_free(struct meter *meter)
{
    if (!meter)
        return;
    if (meter->source)
        meter->source->ops->free(meter->source);
    registry_free(meter->registry);
    u64map_free(meter->parents);
    u64map_free(meter->descendants);
    mem_free(meter->members);
    mem_free(meter);
}

static bool descends_from_us(const struct meter *meter, const struct proc_record *proc)
{
    pid_t self = getpid();
    for (unsigned i = 0; proc && i < CHAIN_MAX; i++) {
        if (proc->ppid == self)
            return true;
        if (proc->ppid <= 1 || proc->ppid == proc->pid)
            return false;
        proc = u64map_get(meter->parents, (uint64_t)proc->ppid);
    }
    return false;
}

static int keep_member(struct meter *meter, const struct proc_record *proc)
{
    if (meter->n_members == meter->capacity) {
        size_t capacity = meter->capacity ? meter->capacity * 2 : 64;
        struct proc_record *members =
            mem_resize_array(meter->members, capacity, sizeof(struct proc_record));
        if (!members)
            return -ENOMEM;
        meter->members = members;
        meter->capacity = capacity;
    }
    struct proc_record *member = &meter->members[meter->n_members++];
    *member = *proc;
    member->slot = meter->slot;
    member->known |= PROC_KNOWN_SLOT;
    return 0;
}

/* Keeps the records of our descendants, zombies left out: those are accounted for by wait4. */
static int find_members(struct meter *meter, const struct sample *sample)
{
    meter->n_members = 0;
    u64map_clear(meter->parents);
    u64map_clear(meter->descendants);
    for (size_t i = 0; i < sample->n_procs; i++) {
        int r =
            u64map_put(meter->parents, (uint64_t)sample->procs[i].pid, (void *)&sample->procs[i]);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < sample->n_procs; i++) {
        const struct proc_record *proc = &sample->procs[i];
        if (proc->state == 'Z' || proc->state == 'X' || !descends_from_us(meter, proc))
            continue;
        int r = keep_member(meter, proc);
        if (r == 0)
            r = u64map_put(meter->descendants, (uint64_t)proc->pid, meter);
        if (r < 0)
            return r;
    }
    return 0;
}

static void plan_next(struct meter *meter, struct mono start)
{
    struct mono now = clock_mono();
    uint64_t least = mono_since(now, start) * COST_FACTOR;
    meter->due.ns = now.ns + MAX(meter->interval_ns, least);
    meter->interval_ns = MIN(meter->interval_ns * 2, INTERVAL_NS);
}

void meter_sample(struct meter *meter)
{
    struct mono start = clock_mono();
    struct sample sample;
    struct registry_changes changes;
    if (meter->forks)
        forks_read(meter->forks);
    if (meter->source->ops->read(meter->source, &sample) == 0 &&
        find_members(meter, &sample) == 0) {
        sample.procs = meter->members;
        sample.n_procs = meter->n_members;
        if (registry_apply(meter->registry, &sample, &changes) == 0)
            meter->sampled = true;
    }
    plan_next(meter, start);
}

struct mono meter_due(const struct meter *meter)
{
    return meter->due;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec;
}

void meter_reaped(struct meter *meter, const struct rusage *usage)
{
    meter->reaped++;
    meter->reaped_cpu_us += microseconds(usage->ru_utime) + microseconds(usage->ru_stime);
    meter->reaped_read_bytes += (uint64_t)usage->ru_inblock * SECTOR;
    meter->reaped_written_bytes += (uint64_t)usage->ru_oublock * SECTOR;
    meter->reaped_peak_bytes = MAX(meter->reaped_peak_bytes, (uint64_t)usage->ru_maxrss * 1024);
}

/* What the living have used so far, as the last sample had it. */
static void add_living(const struct meter *meter, struct meter_totals *totals)
{
    for (size_t i = 0; i < meter->n_members; i++) {
        const struct proc_record *proc = &meter->members[i];
        if (proc->known & PROC_KNOWN_CPU)
            totals->cpu_seconds += (double)(proc->utime_ns + proc->stime_ns) / NS_PER_SEC;
        if (proc->known & PROC_KNOWN_CHILDREN_CPU)
            totals->cpu_seconds += (double)(proc->cutime_ns + proc->cstime_ns) / NS_PER_SEC;
        if (proc->known & PROC_KNOWN_IO) {
            totals->disk_read_mb += (double)proc->read_bytes / USAGE_MIB;
            totals->disk_write_mb += (double)proc->written_bytes / USAGE_MIB;
        }
    }
}

void meter_totals(const struct meter *meter, struct meter_totals *ret_totals)
{
    const struct agent *agent = registry_at(meter->registry, meter->slot);
    const struct agent_totals *seen = &agent->totals;
    struct meter_totals totals = {.cpu_seconds = (double)meter->reaped_cpu_us / 1e6,
        .disk_read_mb = (double)meter->reaped_read_bytes / USAGE_MIB,
        .disk_write_mb = (double)meter->reaped_written_bytes / USAGE_MIB,
        .memory_peak_mb = (double)meter->reaped_peak_bytes / USAGE_MIB,
        .file_descriptors_peak = NAN,
        .processes_total = meter->reaped + meter->n_members,
        .alive = meter->n_members};
    add_living(meter, &totals);
    if (!meter->counts_io)
        totals.disk_read_mb = totals.disk_write_mb = NAN;
    if (meter->sampled && (seen->known & TOTALS_KNOWN_MEMORY))
        totals.memory_peak_mb =
            MAX(totals.memory_peak_mb, (double)seen->memory_peak_bytes / USAGE_MIB);
    if (meter->sampled && (seen->known & TOTALS_KNOWN_FDS))
        totals.file_descriptors_peak = (double)seen->fds_peak;
    if (meter->sampled && (seen->known & TOTALS_KNOWN_PROCESSES))
        totals.processes_total = MAX(totals.processes_total, seen->processes_total);
    if (meter->forks)
        totals.processes_total = MAX(totals.processes_total, forks_count(meter->forks));
    *ret_totals = totals;
}

size_t meter_living(const struct meter *meter, struct meter_process *ret_processes, size_t capacity)
{
    for (size_t i = 0; i < meter->n_members && i < capacity; i++) {
        ret_processes[i].pid = meter->members[i].pid;
        memcpy(ret_processes[i].name, meter->members[i].name, sizeof(ret_processes[i].name));
    }
    return meter->n_members;
}
