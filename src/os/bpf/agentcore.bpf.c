/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Metering in the kernel: one object, so that all programs share their maps.
 *
 *   tasks  an iterator that writes one record per process (thread group), kernel threads left out
 *   mark   an iterator that makes a process and its descendants members of a slot, or clears one
 *   look   an iterator that only sums the memory of some slots' members
 *   life.bpf.h  fork, exit and release of tasks: membership and accounts
 *   peak.bpf.h  the most memory that processes had as members
 *   net.bpf.h   bytes and packets of watched cgroups
 */
#include "common.bpf.h"

#include "life.bpf.h"
#include "net.bpf.h"
#include "peak.bpf.h"
#include "usage.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define NS_PER_TICK 10000000ull /* user space's clock tick is 1/100 s on every architecture */

static __always_inline char state_letter(u32 state)
{
    if (state >> 16)
        return (state >> 16) & EXIT_ZOMBIE ? 'Z' : 'X';
    if (!state)
        return 'R';
    if (state & 0x0001)
        return 'S';
    if (state & 0x0004)
        return 'T';
    if (state & 0x0008)
        return 't';
    return 'D';
}

/* Splits the exact run time as the sampled user and system times are split, which is what
 * getrusage does. 20 bits of the ratio are kept. */
static __always_inline void split_runtime(const struct process *process, struct bpf_proc *record)
{
    u64 system = process->stime;
    u64 all = process->utime + process->stime;

    if (!all) {
        record->utime_ns = process->used.cpu_ns;
        return;
    }
    if (all >> 40) {
        system >>= 20;
        all >>= 20;
    }
    u64 ratio = (system << 20) / all;
    u64 runtime = process->used.cpu_ns;
    record->stime_ns = (runtime >> 20) * ratio + (((runtime & 0xfffff) * ratio) >> 20);
    record->utime_ns = runtime - record->stime_ns;
}

static __always_inline void record_identity(
    struct task_struct *task, u32 slot, struct bpf_proc *record)
{
    record->pid = task->tgid;
    record->ppid = task->real_parent->tgid;
    struct pid *group = task->signal->pids[PIDTYPE_PGID];
    record->pgrp = group ? group->numbers[0].nr : 0;
    struct pid *session = task->signal->pids[PIDTYPE_SID];
    record->session = session ? session->numbers[0].nr : 0;
    record->start_ticks = task->start_boottime / NS_PER_TICK;
    record->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
    record->uid = task->real_cred->uid.val;
    record->cutime_ns = task->signal->cutime;
    record->cstime_ns = task->signal->cstime;
    record->slot = slot;
    record->known = known_process;
    bpf_probe_read_kernel(record->name, sizeof(record->name), task->comm);
}

static __always_inline void record_memory(
    struct task_struct *task, const struct process *process, struct bpf_proc *record)
{
    struct rss rss = {};

    if (!process->mm)
        return;
    rss_read(task, process->mm, &rss);
    record->rss_anon_bytes = pages_bytes(rss.pages[RSS_ANON]);
    record->rss_file_bytes = pages_bytes(rss.pages[RSS_FILE]);
    record->rss_shmem_bytes = pages_bytes(rss.pages[RSS_SHMEM]);
    record->swap_bytes = pages_bytes(rss.pages[RSS_SWAP]);
    record->known |= known_memory;
    if (task->mm) {
        record->mm_id = pointer_id(task->mm);
        record->known |= known_mm;
    }
}

/* A stack has 512 bytes, and there is never more than one pass at a time. */
static struct process process;
static struct bpf_proc record;

static __always_inline u64 record_rss(const struct bpf_proc *of)
{
    return of->rss_anon_bytes + of->rss_file_bytes + of->rss_shmem_bytes;
}

static __always_inline void account_memory(struct task_struct *task, struct bpf_slot *account)
{
    u64 now = record_rss(&record);

    if (task->mm && is_memory_of_parent(task))
        return;
    account->rss_bytes += now;
    u64 peak = peak_of_living(task, now);
    if (peak > account->living_rss_peak)
        account->living_rss_peak = peak;
}

static __always_inline struct task_struct *leader_of_pass(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;

    if (!task || task->pid != task->tgid || (task->flags & PF_KTHREAD))
        return 0;
    return task;
}

/* Runs again for the same task where the record did not fit any more: it changes nothing before
 * the record is written. */
SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
    struct task_struct *task = leader_of_pass(ctx);

    if (!task)
        return 0;
    __builtin_memset(&process, 0, sizeof(process));
    __builtin_memset(&record, 0, sizeof(record));
    WRITE_ONCE(cursor, task->tgid);
    u32 slot = member_slot(task->tgid, task->signal);
    record_identity(task, slot, &record);
    process_read(task, slot != 0, &process);
    split_runtime(&process, &record);
    record.read_bytes = process.used.read_bytes;
    record.written_bytes = process.used.written_bytes;
    record.threads = process.threads;
    record.state = state_letter(process.state);
    record_memory(task, &process, &record);
    if (process.files) {
        record.fds = fds_count(task, process.files);
        record.known |= known_files;
    }
    if (bpf_seq_write(ctx->meta->seq, &record, sizeof(record)) || !slot)
        return 0;
    struct bpf_slot *account = slot_get(slot);
    if (account) {
        used_add(&account->living, &process.living);
        account_memory(task, account);
    }
    return 0;
}

/* ---- Membership by hand: a pass with these arguments */
u32 mark_slot;
s32 mark_pid;
u64 mark_ticks;  /* 0 = whatever has the pid */
u64 mark_cgroup; /* whoever is in it, too; 0 = none */
bool mark_clear;
bool mark_found; /* the process itself, or one in the cgroup */
u32 mark_count;  /* processes that the pass changed */

static __always_inline void mark_adopt(struct task_struct *task, u32 old, bool root)
{
    struct bpf_slot *account = slot_get(mark_slot);

    if (!account)
        return;
    __builtin_memset(&process, 0, sizeof(process));
    process_read(task, old != 0, &process);
    if (old) {
        struct bpf_slot *before = slot_get(old);
        if (before)
            used_add_atomic(&before->exited, &process.living);
    }
    /* Then member: a thread that exits in between is accounted as a whole when it is released,
     * which cannot be before this program ends. */
    struct bpf_used minus = {};
    used_subtract(&minus, &process.living);
    used_add_atomic(&account->exited, &minus);
    __sync_fetch_and_add(&account->processes, 1);
    peak_adopt(task, root, account);
    member_set(task->tgid, task->signal, mark_slot);
    mark_count++;
}

SEC("iter/task")
int mark(struct bpf_iter__task *ctx)
{
    struct task_struct *task = leader_of_pass(ctx);

    if (!task)
        return 0;
    if (cpu_offset[0] == 0)
        cpu_offsets_fill();
    u32 slot = member_slot(task->tgid, task->signal);
    if (mark_clear) {
        if (slot == mark_slot) {
            member_set(task->tgid, task->signal, 0);
            mark_count++;
        }
        return 0;
    }
    bool root =
        task->tgid == mark_pid && (!mark_ticks || task->start_boottime / NS_PER_TICK == mark_ticks);
    bool inside = mark_cgroup && task->cgroups->dfl_cgrp->kn->id == mark_cgroup;
    if (root || inside)
        mark_found = true;
    if (slot == mark_slot)
        return 0;
    struct task_struct *parent = task->real_parent;
    if (root || inside || (!slot && member_slot(parent->tgid, parent->signal) == mark_slot))
        mark_adopt(task, slot, root);
    return 0;
}

/* ---- Memory between two passes */

SEC("iter/task")
int look(struct bpf_iter__task *ctx)
{
    struct task_struct *task = leader_of_pass(ctx);
    struct rss rss = {};

    if (!task)
        return 0;
    u32 slot = member_slot(task->tgid, task->signal);
    struct bpf_slot *account = slot ? slot_get(slot) : 0;
    if (!account || !account->look)
        return 0;
    if (!task->mm || is_memory_of_parent(task))
        return 0;
    rss_read(task, 0, &rss);
    account->rss_bytes += rss_bytes(&rss);
    return 0;
}
