/* SPDX-License-Identifier: Apache-2.0 */
#include "os/bpf_collector.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "os/bpf_internal.h"

#include "agentcore.skel.h"

static struct bpf_collector *from_source(struct collector_source *source)
{
    return (struct bpf_collector *)source;
}

static uint64_t lost(const struct bpf_collector *collector)
{
    const struct bpf_health *health = &collector->object->bss->health;
    return health->dying_full + health->pid_range + health->threads_cut;
}

static int read_sample(struct collector_source *source, struct sample *ret_sample)
{
    struct bpf_collector *collector = from_source(source);
    struct sample sample = {.when = clock_moment(), .boot_ns = clock_boot_ns()};

    int r = machine_reader_read(collector->machine, &sample.machine);
    if (r < 0)
        return r;
    bpf_accounts_begin(collector);
    r = bpf_pass_tasks(collector);
    if (r < 0)
        return r;
    watch_want_looks(collector->watch, bpf_accounts_end(collector));
    struct group_record *groups;
    sample.n_groups = watch_read(collector->watch, &groups);
    for (size_t i = 0; i < sample.n_groups; i++)
        bpf_net_read(collector, &groups[i]);
    sample.groups = groups;
    sample.procs = collector->procs;
    sample.n_procs = collector->n_procs;
    sample.slots = collector->records;
    sample.n_slots = collector->n_accounts;
    sample.lost = lost(collector);
    *ret_sample = sample;
    return 0;
}

static int adopt_whom(struct bpf_collector *collector, agent_slot slot, const struct bpf_whom *whom)
{
    bool in_use = slot <= collector->max_slot && collector->positions[slot];

    int r = bpf_account_open(collector, slot);
    if (r < 0)
        return r;
    r = bpf_pass_adopt(collector, slot, whom);
    if (r < 0 && !in_use) {
        bpf_pass_clear(collector, slot);
        bpf_account_close(collector, slot);
    }
    return r;
}

static int adopt(
    struct collector_source *source, agent_slot slot, int32_t pid, uint64_t start_ticks)
{
    struct bpf_collector *collector = from_source(source);
    const struct bpf_whom whom = {.pid = pid, .start_ticks = start_ticks};

    int r = adopt_whom(collector, slot, &whom);
    /* Its end at once is a help, not a must. */
    if (r == 0)
        (void)watch_root(collector->watch, slot, pid);
    return r;
}

/* One adoption for all: each takes whole passes. */
static int adopt_group(struct collector_source *source, agent_slot slot, int cgroup_dir_fd)
{
    struct stat status;

    if (fstat(cgroup_dir_fd, &status) < 0)
        return -errno;
    const struct bpf_whom whom = {.cgroup_id = status.st_ino};
    return adopt_whom(from_source(source), slot, &whom);
}

static int watch_cgroup(struct collector_source *source, agent_slot slot, int cgroup_dir_fd)
{
    struct bpf_collector *collector = from_source(source);

    int r = watch_group(collector->watch, slot, cgroup_dir_fd);
    if (r < 0)
        return r;
    r = bpf_net_attach(collector, slot, cgroup_dir_fd);
    return r == -EOPNOTSUPP ? 0 : r; /* network is unknown then */
}

static int event_fd(struct collector_source *source)
{
    return watch_fd(from_source(source)->watch);
}

static int handle_events(struct collector_source *source)
{
    return watch_handle(from_source(source)->watch);
}

static void release(struct collector_source *source, agent_slot slot)
{
    struct bpf_collector *collector = from_source(source);

    if (slot > collector->max_slot)
        return;
    watch_release(collector->watch, slot);
    bpf_net_detach(collector, slot);
    if (!collector->positions[slot])
        return;
    bpf_pass_clear(collector, slot);
    bpf_account_close(collector, slot);
}

static void collector_free(struct collector_source *source)
{
    struct bpf_collector *collector = from_source(source);

    if (!collector)
        return;
    for (agent_slot slot = 0; collector->net_links && slot <= collector->max_slot; slot++)
        bpf_net_detach(collector, slot);
    mem_free(collector->net_links);
    mem_free(collector->net_counters);
    if (collector->slots)
        munmap(collector->slots, collector->slots_size);
    agentcore_bpf__destroy(collector->object);
    machine_reader_free(collector->machine);
    watch_free(collector->watch);
    mem_free(collector->accounts);
    mem_free(collector->records);
    mem_free(collector->positions);
    mem_free(collector->procs);
    mem_free(collector);
}

static void collector_freep(struct bpf_collector **collector)
{
    if (*collector)
        collector_free(&(*collector)->source);
}

/* Every mapped page of the map counts as ours, used or not: it is mapped as far as slots go. */
int bpf_slots_reserve(struct bpf_collector *collector, agent_slot slot)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t all = sizeof(struct bpf_slot) * ((size_t)collector->max_slot + 1);
    size_t size = sizeof(struct bpf_slot) * ((size_t)slot + 1);

    if (size <= collector->slots_size)
        return 0;
    size = MIN(MAX(size, collector->slots_size * 2), all);
    size = (size + page - 1) / page * page;
    if (fault_hit(FAULT_SYSCALL))
        return -ENOMEM;
    void *slots = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
        bpf_map__fd(collector->object->maps.slots), 0);
    if (slots == MAP_FAILED)
        return -errno;
    if (collector->slots)
        munmap(collector->slots, collector->slots_size);
    collector->slots = slots;
    collector->slots_size = size;
    return 0;
}

static const struct collector_ops ops = {
    .name = "bpf",
    .read = read_sample,
    .adopt = adopt,
    .adopt_group = adopt_group,
    .release = release,
    .watch_group = watch_cgroup,
    .event_fd = event_fd,
    .handle_events = handle_events,
    .free = collector_free,
};

/* The parts that may fail; the caller frees a half-built collector. */
static int build(
    struct bpf_collector *collector, const struct bpf_options *options, struct ac_error *error)
{
    struct procfs_options machine = options->machine;
    struct bpf_load_options load = {
        .max_slot = options->max_slot,
        .network = bpf_has_capability(CAP_NET_ADMIN) || bpf_has_capability(CAP_SYS_ADMIN),
    };

    collector->source.ops = &ops;
    collector->max_slot = options->max_slot;
    collector->positions = mem_alloc_array((size_t)options->max_slot + 1, sizeof(uint32_t));
    if (!collector->positions)
        return error_errno(error, -ENOMEM, "cannot start the BPF collector");
    int r = watch_new(options->max_slot, &collector->watch);
    if (r < 0)
        return error_errno(error, r, "cannot start the BPF collector");
    watch_set_look(collector->watch, bpf_accounts_look, collector);
    machine.processes = false;
    r = machine_reader_new(&machine, &collector->machine, error);
    if (r < 0)
        return r;
    r = bpf_load(&load, &collector->object, error);
    if (r < 0)
        return r;
    r = bpf_slots_reserve(collector, 0);
    if (r < 0)
        return error_errno(error, r, "cannot map the accounts of the BPF programs");
    /* Learns where CPUs keep their part of RSS. */
    collector->object->bss->mark_clear = true;
    r = bpf_pass_run(collector->object->links.mark);
    return r < 0 ? error_errno(error, r, "cannot run the BPF iterator") : 0;
}

int bpf_collector_new(
    const struct bpf_options *options, struct collector_source **ret_source, struct ac_error *error)
{
    int r = bpf_usable(error);
    if (r < 0)
        return r;
    struct bpf_collector *collector CLEANUP(collector_freep) = mem_alloc(sizeof(*collector));
    if (!collector)
        return error_errno(error, -ENOMEM, "cannot start the BPF collector");
    r = build(collector, options, error);
    if (r < 0)
        return r;
    *ret_source = &TAKE_PTR(collector)->source;
    return 0;
}
