/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Fork, exit and release: membership goes to children, and what a thread used goes to its slot.
 *
 * A thread's CPU time is complete only after its last switch: a slice is added when the task is
 * next accounted, and a thread of a few milliseconds may never have been. So what is known at
 * exit is accounted at exit, and the rest when the kernel releases the task, whose numbers are
 * final then. `dying` remembers the first part; for a zombie the iterator counts the rest as
 * living. Where `dying` is full the thread stays "living" until it is released.
 */
#ifndef AC_OS_BPF_LIFE_H
#define AC_OS_BPF_LIFE_H

#include "common.bpf.h"

#include "peak.bpf.h"

static __always_inline void task_used(const struct task_struct *task, struct bpf_used *ret)
{
    ret->cpu_ns = task->se.sum_exec_runtime;
    ret->read_bytes = task->ioac.read_bytes;
    ret->written_bytes = task->ioac.write_bytes;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
    u32 tgid = child->tgid;

    if (child->pid != child->tgid)
        return 0; /* a thread: belongs to its process */
    u32 slot = member_slot(parent->tgid, parent->signal);
    member_set(tgid, child->signal, slot);
    if (!slot)
        return 0;
    struct bpf_slot *account = slot_get(slot);
    if (account)
        __sync_fetch_and_add(&account->processes, 1);
    return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
    u32 tgid = task->tgid;
    u32 slot = member_slot(tgid, task->signal);

    if (!slot)
        return 0;
    struct bpf_slot *account = slot_get(slot);
    if (!account)
        return 0;
    if (is_last_thread(task))
        peak_of_exit(task, account);
    u64 key = (u64)(unsigned long)task;
    struct bpf_used used;
    task_used(task, &used);
    if (bpf_map_update_elem(&dying, &key, &used, BPF_ANY)) {
        __sync_fetch_and_add(&health.dying_full, 1);
        return 0;
    }
    if (tgid <= READ_ONCE(cursor))
        used_add_atomic(&account->late, &used);
    used_add_atomic(&account->exited, &used);
    return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(on_release, struct task_struct *task)
{
    u64 key = (u64)(unsigned long)task;
    u32 slot = member_slot(task->tgid, task->signal);
    struct bpf_used *before = bpf_map_lookup_elem(&dying, &key);
    struct bpf_used used;

    /* Also where it is no member any more: the entry must go with the task. */
    if (!before && !slot)
        return 0;
    task_used(task, &used);
    if (before) {
        used_subtract(&used, before);
        bpf_map_delete_elem(&dying, &key);
    }
    struct bpf_slot *account = slot ? slot_get(slot) : 0;
    if (!account)
        return 0;
    used_add_atomic(&account->exited, &used);
    return 0;
}

#endif
