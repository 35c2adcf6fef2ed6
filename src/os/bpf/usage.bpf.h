/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a process uses now: all its threads, memory in both layouts of rss_stat, descriptors.
 *
 * A process whose first thread has exited while others run is a zombie to the eye; its memory
 * and descriptors hang on the others. The usual process has one thread and is read directly;
 * threads and tables are walked with bounded loops.
 */
#ifndef AC_OS_BPF_USAGE_H
#define AC_OS_BPF_USAGE_H

#include "common.bpf.h"

#define THREADS_MAX (1u << 20)

struct process {
    struct bpf_used living; /* what is not in the slot's account of exits */
    struct bpf_used used;   /* whole life, all threads */
    u64 utime;              /* raw: sampled at the clock tick */
    u64 stime;
    u64 mm; /* addresses, 0 = none */
    u64 files;
    u32 threads;
    u32 state; /* of a living thread where there is one, else EXIT_... << 16 */
};

/* Adds what @used, all that a thread used, has beyond what was accounted at its exit. */
static __always_inline void living_add(
    struct process *process, u64 task, u32 flags, const struct bpf_used *used)
{
    struct bpf_used *before = flags & PF_EXITING ? bpf_map_lookup_elem(&dying, &task) : 0;

    used_add(&process->living, used);
    if (before)
        used_subtract(&process->living, before);
}

struct thread_walk {
    struct process *process;
    u64 head; /* of the list */
    u64 node;
    bool member;
    bool ended;
};

/* Adds one thread: everything by probing, because the list's pointers are mere numbers. */
static long thread_visit(u32 index, void *data)
{
    struct thread_walk *walk = data;
    struct process *process = walk->process;

    if (!walk->node || walk->node == walk->head) {
        walk->ended = true;
        return 1;
    }
    struct task_struct *task =
        (void *)(walk->node - bpf_core_field_offset(struct task_struct, thread_node));
    struct bpf_used used = {
        .cpu_ns = BPF_CORE_READ(task, se.sum_exec_runtime),
        .read_bytes = BPF_CORE_READ(task, ioac.read_bytes),
        .written_bytes = BPF_CORE_READ(task, ioac.write_bytes),
    };

    used_add(&process->used, &used);
    process->utime += BPF_CORE_READ(task, utime);
    process->stime += BPF_CORE_READ(task, stime);
    if (walk->member)
        living_add(process, (u64)(unsigned long)task, BPF_CORE_READ(task, flags), &used);
    else
        used_add(&process->living, &used);
    u32 exit_state = BPF_CORE_READ(task, exit_state);
    if (!exit_state) {
        process->threads++;
        u32 state = BPF_CORE_READ(task, __state);
        if (process->state >> 16 || !state)
            process->state = state;
    }
    if (!process->mm)
        process->mm = (u64)(unsigned long)BPF_CORE_READ(task, mm);
    if (!process->files)
        process->files = (u64)(unsigned long)BPF_CORE_READ(task, files);
    walk->node = (u64)(unsigned long)BPF_CORE_READ(task, thread_node.next);
    return 0;
}

/* Fills from a leader with other threads. */
static NOINLINE int threads_walk(struct process *process, u64 signal_address, bool member)
{
    struct signal_struct *signal = (void *)signal_address;
    struct thread_walk walk = {.process = process, .member = member};

    if (!process)
        return 0;
    walk.head = signal_address + bpf_core_field_offset(struct signal_struct, thread_head);
    walk.node = (u64)(unsigned long)BPF_CORE_READ(signal, thread_head.next);
    bpf_loop(THREADS_MAX, thread_visit, &walk, 0);
    if (!walk.ended)
        __sync_fetch_and_add(&health.threads_cut, 1);
    return 0;
}

static __always_inline void process_read(
    struct task_struct *leader, bool member, struct process *ret)
{
    struct signal_struct *signal = leader->signal;

    ret->state = leader->exit_state ? (u32)leader->exit_state << 16 : leader->__state;
    if (signal->nr_threads > 1) {
        threads_walk(ret, (u64)(unsigned long)signal, member);
    } else {
        ret->used.cpu_ns = leader->se.sum_exec_runtime;
        ret->used.read_bytes = leader->ioac.read_bytes;
        ret->used.written_bytes = leader->ioac.write_bytes;
        ret->utime = leader->utime;
        ret->stime = leader->stime;
        if (member)
            living_add(ret, (u64)(unsigned long)leader, leader->flags, &ret->used);
        else
            ret->living = ret->used;
        ret->threads = 1;
        ret->mm = (u64)(unsigned long)leader->mm;
        ret->files = (u64)(unsigned long)leader->files;
    }
    /* After the living: a thread that is released in between is then missing for this pass,
     * and not there twice. */
    ret->used.cpu_ns += signal->sum_sched_runtime;
    ret->utime += signal->utime;
    ret->stime += signal->stime;
    ret->used.read_bytes += signal->ioac.read_bytes;
    ret->used.written_bytes += signal->ioac.write_bytes;
}

/* ---- Memory */

struct rss {
    s64 pages[4];
};

/*
 * Offsets of the CPUs' private areas. No program may ask for them; but a per-CPU map of ours has
 * both its unresolved address (in the kernel's own struct of it) and the resolved ones. Found
 * once, by a pass of `mark`; 0 = not found, RSS is then as exact as in /proc.
 */
#define EXACT_CPUS_MAX 16
u64 cpu_offset[EXACT_CPUS_MAX];

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u64);
} ruler SEC(".maps");

/* The number behind a pointer, read back from the stack, where the verifier sees bytes only. */
static __always_inline u64 pointer_number(const void *pointer)
{
    const void *volatile on_stack = pointer;
    u64 number = 0;

    bpf_probe_read_kernel(&number, sizeof(number), (const void *)&on_stack);
    return number;
}

static __always_inline void cpu_offsets_fill(void)
{
    struct bpf_array *array = (void *)pointer_number(&ruler);
    u64 unresolved = 0;
    u32 key = 0;

    bpf_probe_read_kernel(&unresolved, sizeof(unresolved),
        (void *)((u64)array + bpf_core_field_offset(struct bpf_array, pptrs)));
    if (!unresolved)
        return;
    for (u32 cpu = 0; cpu < EXACT_CPUS_MAX && cpu < exact_cpus; cpu++) {
        void *resolved = bpf_map_lookup_percpu_elem(&ruler, &key, cpu);
        if (resolved)
            cpu_offset[cpu] = pointer_number(resolved) - unresolved;
    }
}

/* Adds what CPUs have not yet folded into the counters. All four usually lie side by side. */
static __always_inline void rss_add_cpus(struct rss *rss, const u64 counters[4])
{
    bool together = counters[3] == counters[0] + 3 * sizeof(s32);

    for (u32 cpu = 0; cpu < EXACT_CPUS_MAX && cpu < exact_cpus; cpu++) {
        u64 offset = cpu_offset[cpu];
        s32 part[4] = {};

        if (!offset)
            continue;
        if (together) {
            bpf_probe_read_kernel(part, sizeof(part), (void *)(counters[0] + offset));
        } else {
            for (int i = 0; i < 4; i++)
                bpf_probe_read_kernel(&part[i], sizeof(s32), (void *)(counters[i] + offset));
        }
        for (int i = 0; i < 4; i++)
            rss->pages[i] += part[i];
    }
}

/* Reads by address, as a process without its first thread needs it. */
static NOINLINE int rss_read_far(struct rss *ret, u64 address)
{
    if (!ret)
        return 0;
    if (bpf_core_type_exists(struct mm_rss_stat)) {
        struct mm_struct___old *mm = (void *)address;
        for (int i = 0; i < 4; i++)
            ret->pages[i] = BPF_CORE_READ(mm, rss_stat.count[i].counter);
    } else {
        struct mm_struct *mm = (void *)address;
        for (int i = 0; i < 4; i++)
            ret->pages[i] = BPF_CORE_READ(mm, rss_stat[i].count);
    }
    return 0;
}

static __always_inline void rss_read_old(struct task_struct *leader, struct rss *ret)
{
    struct mm_struct___old *mm = (void *)leader->mm;
    struct task_struct___old *task = (void *)leader;

    /* In one piece: the verifier of 6.1 cannot see into an array of a typedef. */
    bpf_core_read(ret->pages, sizeof(ret->pages), &mm->rss_stat.count);
    if (bpf_core_field_exists(task->rss_stat)) {
        ret->pages[0] += task->rss_stat.count[0];
        ret->pages[1] += task->rss_stat.count[1];
        ret->pages[2] += task->rss_stat.count[2];
        ret->pages[3] += task->rss_stat.count[3];
    }
}

static __always_inline void rss_read_new(struct task_struct *leader, struct rss *ret)
{
    struct mm_struct *mm = leader->mm;

    ret->pages[0] = mm->rss_stat[0].count;
    ret->pages[1] = mm->rss_stat[1].count;
    ret->pages[2] = mm->rss_stat[2].count;
    ret->pages[3] = mm->rss_stat[3].count;
    if (exact_cpus) {
        u64 counters[4] = {(u64)(unsigned long)mm->rss_stat[0].counters,
            (u64)(unsigned long)mm->rss_stat[1].counters,
            (u64)(unsigned long)mm->rss_stat[2].counters,
            (u64)(unsigned long)mm->rss_stat[3].counters};
        rss_add_cpus(ret, counters);
    }
}

static __always_inline void rss_read(struct task_struct *leader, u64 mm, struct rss *ret)
{
    if (!leader->mm)
        rss_read_far(ret, mm);
    else if (bpf_core_type_exists(struct mm_rss_stat))
        rss_read_old(leader, ret);
    else
        rss_read_new(leader, ret);
}

static __always_inline u64 pages_bytes(s64 pages)
{
    return pages > 0 ? (u64)pages << page_shift : 0;
}

/* ---- Descriptors */

#define FD_CHUNK_WORDS 16

struct fd_walk {
    u64 bits; /* address */
    u32 words;
    u32 count;
};

static __always_inline u32 bits_count(u64 word)
{
    word -= (word >> 1) & 0x5555555555555555ull;
    word = (word & 0x3333333333333333ull) + ((word >> 2) & 0x3333333333333333ull);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return (u32)((word * 0x0101010101010101ull) >> 56);
}

static long fd_chunk(u32 index, void *data)
{
    struct fd_walk *walk = data;
    u64 words[FD_CHUNK_WORDS];
    u32 first = index * FD_CHUNK_WORDS;

    if (first >= walk->words)
        return 1;
    u32 n = walk->words - first;
    if (n > FD_CHUNK_WORDS)
        n = FD_CHUNK_WORDS;
    if (bpf_probe_read_kernel(words, n * sizeof(u64), (void *)(walk->bits + first * sizeof(u64))))
        return 1;
    for (u32 i = 0; i < FD_CHUNK_WORDS; i++) {
        if (i < n)
            walk->count += bits_count(words[i]);
    }
    return 0;
}

static NOINLINE u32 fds_count_many(u64 bits, u32 words)
{
    struct fd_walk walk = {.bits = bits, .words = words};

    bpf_loop((words + FD_CHUNK_WORDS - 1) / FD_CHUNK_WORDS, fd_chunk, &walk, 0);
    return walk.count;
}

/* A table starts with one word inside files_struct; the next size is four. */
static __always_inline u32 fds_count_bits(u64 bits, u32 words)
{
    u64 word[4] = {};

    if (words == 1) {
        bpf_probe_read_kernel(word, sizeof(word[0]), (void *)bits);
        return bits_count(word[0]);
    }
    if (words == 4) {
        bpf_probe_read_kernel(word, sizeof(word), (void *)bits);
        return bits_count(word[0]) + bits_count(word[1]) + bits_count(word[2]) +
               bits_count(word[3]);
    }
    return fds_count_many(bits, words);
}

static NOINLINE u32 fds_count_far(u64 files_address)
{
    struct files_struct *files = (void *)files_address;
    struct fdtable *table = BPF_CORE_READ(files, fdt);

    return fds_count_bits(
        (u64)(unsigned long)BPF_CORE_READ(table, open_fds), BPF_CORE_READ(table, max_fds) / 64);
}

static __always_inline u32 fds_count(struct task_struct *leader, u64 files_address)
{
    struct files_struct *files = leader->files;

    if (!files)
        return fds_count_far(files_address);
    struct fdtable *table = files->fdt;
    return fds_count_bits((u64)(unsigned long)table->open_fds, table->max_fds / 64);
}

#endif
