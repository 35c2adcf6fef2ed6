/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The most memory that a process had since it became a member.
 *
 * The kernel's own marks reach back further. That of an address space (mm->hiwater_rss) begins
 * with it; that of a process (signal->maxrss) takes the former in at exec and when the last
 * thread exits, so that after an exec it has the launcher's memory. What stood there at adoption
 * is kept in the task's storage, and counts for nothing until the mark rises above it.
 *
 * Until 6.15 the tracepoint of exits comes when the address space is gone: only maxrss is left of
 * it then, and on_exit_mm looks before, where the kernel lets functions be traced.
 */
#ifndef AC_OS_BPF_PEAK_H
#define AC_OS_BPF_PEAK_H

#include "common.bpf.h"

#include "usage.bpf.h"

/* Of an adopted process; those that are forked as members have none. Hangs on the first thread. */
struct adopted {
    u64 mm_id;   /* its address space; after an exec it has another */
    u64 mm_peak; /* bytes, what that had had; 0: all of it counts */
    u64 maxrss;  /* bytes, at adoption or the last exec */
};

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct adopted);
} adopted SEC(".maps");

#define FRESH_NS                                                                                   \
    1000000000ull /* as in policy/registry: a root this young was made for its agent               \
                   */

static __always_inline u64 rss_bytes(const struct rss *rss)
{
    return pages_bytes(rss->pages[RSS_ANON]) + pages_bytes(rss->pages[RSS_FILE]) +
           pages_bytes(rss->pages[RSS_SHMEM]);
}

/* A child between vfork and exec runs in its parent's memory, which is counted there. */
static __always_inline bool is_memory_of_parent(struct task_struct *task)
{
    return task->real_parent->mm == task->mm;
}

static __always_inline void peak_adopt(
    struct task_struct *leader, bool root, struct bpf_slot *account)
{
    struct mm_struct *mm = leader->mm;
    u64 peak = mm ? (u64)mm->hiwater_rss << page_shift : 0;
    u64 maxrss = (u64)leader->signal->maxrss << page_shift;
    bool fresh = root && bpf_ktime_get_boot_ns() - leader->start_boottime < FRESH_NS;
    struct adopted *of = bpf_task_storage_get(&adopted, leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

    /* A child that is born by vfork takes it over at its exec. */
    if (peak > account->adopted_rss_peak)
        account->adopted_rss_peak = peak;
    if (!of)
        return;
    of->mm_id = mm ? pointer_id(mm) : 0;
    of->mm_peak = fresh ? 0 : peak;
    of->maxrss = maxrss > peak ? maxrss : peak;
}

/* Of the address space of @task, whose memory is @now. */
static __always_inline u64 peak_of_mm(struct task_struct *task, const struct adopted *of, u64 now)
{
    struct mm_struct *mm = task->mm;
    u64 peak = (u64)mm->hiwater_rss << page_shift;

    if (peak <= now || (of && of->mm_id == pointer_id(mm) && peak <= of->mm_peak))
        return now;
    return peak;
}

static __always_inline u64 peak_of_living(struct task_struct *leader, u64 now)
{
    if (!leader->mm)
        return now;
    return peak_of_mm(leader, bpf_task_storage_get(&adopted, leader, 0, 0), now);
}

static __always_inline void peak_note(struct bpf_slot *account, u64 bytes)
{
    /* Two exits at once may lose the smaller or, once, the larger: a lower bound either way. */
    if (bytes > READ_ONCE(account->exited_rss_peak))
        WRITE_ONCE(account->exited_rss_peak, bytes);
}

/* @task is the last thread of its process to exit. */
static __always_inline void peak_of_exit(struct task_struct *task, struct bpf_slot *account)
{
    const struct adopted *of = bpf_task_storage_get(&adopted, task->group_leader, 0, 0);
    u64 maxrss = (u64)task->signal->maxrss << page_shift;
    struct rss rss = {};

    if (task->mm && is_memory_of_parent(task))
        return;
    if (maxrss > (of ? of->maxrss : account->adopted_rss_peak))
        peak_note(account, maxrss);
    if (!task->mm)
        return;
    rss_read(task, 0, &rss);
    peak_note(account, peak_of_mm(task, of, rss_bytes(&rss)));
}

static __always_inline bool is_last_thread(const struct task_struct *task)
{
    return task->signal->live.counter == 0;
}

SEC("fentry/exit_mm_release")
int BPF_PROG(on_exit_mm, struct task_struct *task, struct mm_struct *mm)
{
    if (!mm || !is_last_thread(task))
        return 0;
    u32 slot = member_slot(task->tgid, task->signal);
    struct bpf_slot *account = slot ? slot_get(slot) : 0;
    if (account)
        peak_of_exit(task, account);
    return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
    if (!member_slot(task->tgid, task->signal))
        return 0;
    struct adopted *of = bpf_task_storage_get(&adopted, task, 0, 0);
    if (of)
        of->maxrss = (u64)task->signal->maxrss << page_shift;
    return 0;
}

#endif
