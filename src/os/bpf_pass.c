/* SPDX-License-Identifier: Apache-2.0 */
/* A pass is one new descriptor of an iterator, read to its end. */
#include "os/bpf_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"

#include "agentcore.skel.h"

#define PROCS_FIRST     1024
#define PROCS_MAX       4194304u /* PID_MAX_LIMIT: there cannot be more */
#define MEMBERSHIP_RUNS 64       /* passes until nothing changes; usually 2 */

/* The programs write records in the layout of the model. */
#define SAME(field)                                                                                \
    _Static_assert(offsetof(struct bpf_proc, field) == offsetof(struct proc_record, field),        \
        "layout of " #field)
SAME(ppid);
SAME(session);
SAME(start_ticks);
SAME(cgroup_id);
SAME(cstime_ns);
SAME(swap_bytes);
SAME(mm_id);
SAME(known);
SAME(slot);
SAME(state);
SAME(name);
_Static_assert(sizeof(struct bpf_proc) == sizeof(struct proc_record), "size of the record");

static int pass_open(struct bpf_link *link)
{
    if (fault_hit(FAULT_SYSCALL))
        return -EMFILE;
    int fd = bpf_iter_create(bpf_link__fd(link));
    return fd < 0 ? -errno : fd;
}

static ssize_t pass_read(int fd, void *buffer, size_t size)
{
    for (;;) {
        if (fault_hit(FAULT_SYSCALL))
            return -EIO;
        ssize_t n = read(fd, buffer, size);
        if (n >= 0)
            return n;
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
}

int bpf_pass_run(struct bpf_link *link)
{
    char nothing[64];
    int fd cleanup_close = pass_open(link);

    if (fd < 0)
        return fd;
    for (;;) {
        ssize_t n = pass_read(fd, nothing, sizeof(nothing));
        if (n <= 0)
            return (int)n;
    }
}

static int procs_reserve(struct bpf_collector *collector)
{
    size_t capacity = collector->procs_capacity ? collector->procs_capacity * 2 : PROCS_FIRST;

    if (capacity > PROCS_MAX)
        return -E2BIG;
    struct proc_record *procs = mem_resize_array(collector->procs, capacity, sizeof(*procs));
    if (!procs)
        return -ENOMEM;
    collector->procs = procs;
    collector->procs_capacity = capacity;
    return 0;
}

/* A read may end inside a record where the buffer does: bytes count, not records. */
int bpf_pass_tasks(struct bpf_collector *collector)
{
    size_t bytes = 0;
    int fd cleanup_close = pass_open(collector->object->links.tasks);

    if (fd < 0)
        return fd;
    for (;;) {
        if (bytes == collector->procs_capacity * sizeof(struct proc_record)) {
            int r = procs_reserve(collector);
            if (r < 0)
                return r;
        }
        ssize_t n = pass_read(fd, (char *)collector->procs + bytes,
            collector->procs_capacity * sizeof(struct proc_record) - bytes);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        bytes += (size_t)n;
    }
    if (bytes % sizeof(struct proc_record))
        return -EPROTO;
    collector->n_procs = bytes / sizeof(struct proc_record);
    return 0;
}

/* A child that is forked while a pass goes by may be missed: pass again until nothing changes.
 * Forks of members inherit by themselves, so that it ends. */
static int membership_settle(struct bpf_collector *collector)
{
    for (int run = 0; run < MEMBERSHIP_RUNS; run++) {
        collector->object->bss->mark_count = 0;
        int r = bpf_pass_run(collector->object->links.mark);
        if (r < 0)
            return r;
        if (collector->object->bss->mark_count == 0)
            return 0;
    }
    return -EAGAIN;
}

int bpf_pass_adopt(struct bpf_collector *collector, agent_slot slot, const struct bpf_whom *whom)
{
    collector->object->bss->mark_slot = slot;
    collector->object->bss->mark_pid = whom->pid;
    collector->object->bss->mark_ticks = whom->start_ticks;
    collector->object->bss->mark_cgroup = whom->cgroup_id;
    collector->object->bss->mark_clear = false;
    collector->object->bss->mark_found = false;
    int r = membership_settle(collector);
    if (r < 0)
        return r;
    return collector->object->bss->mark_found ? 0 : -ESRCH;
}

int bpf_pass_clear(struct bpf_collector *collector, agent_slot slot)
{
    collector->object->bss->mark_slot = slot;
    collector->object->bss->mark_clear = true;
    return membership_settle(collector);
}

int bpf_pass_look(struct bpf_collector *collector)
{
    return bpf_pass_run(collector->object->links.look);
}
