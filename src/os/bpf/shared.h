/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the BPF programs and the collector share: the layout of maps and of the record stream.
 *
 * Records have the layout of struct proc_record (model/sample.h), so that they are read straight
 * to where they are used; bpf_collector.c asserts that the two agree.
 */
#ifndef AC_OS_BPF_SHARED_H
#define AC_OS_BPF_SHARED_H

#include <linux/types.h>

struct bpf_proc {
    __s32 pid;
    __s32 ppid;
    __s32 pgrp;
    __s32 session;
    __u64 start_ticks;
    __u64 cgroup_id;
    __u64 utime_ns;
    __u64 stime_ns;
    __u64 cutime_ns;
    __u64 cstime_ns;
    __u64 rss_anon_bytes;
    __u64 rss_file_bytes;
    __u64 rss_shmem_bytes;
    __u64 swap_bytes;
    __u64 read_bytes;
    __u64 written_bytes;
    __u64 mm_id;
    __u32 fds;
    __u32 threads;
    __u32 uid;
    __u32 known;
    __u32 slot;
    char state;
    char name[16];
};

/* What a thread, or many, used. */
struct bpf_used {
    __u64 cpu_ns;
    __u64 read_bytes;
    __u64 written_bytes;
};

/*
 * The accounts of one slot. An agent's total is
 *
 *     exited - late + living
 *
 * exited: threads that passed exit, ever, less what processes had used when they were adopted
 * (so it may lie below 0 and wrap; the total does not). late: the part of it by threads that the
 * pass going on (or the last one) had already counted as living. living: threads that the pass
 * met. Only the programs write, but userland sets all to 0 when it gives the slot out, and late
 * and living before each pass.
 */
struct bpf_slot {
    struct bpf_used exited;
    struct bpf_used late;
    struct bpf_used living;
    __u64 processes;        /* adopted and forked, ever */
    __u64 exited_rss_peak;  /* bytes; of one process as a member; userland resets it at each pass */
    __u64 rss_bytes;        /* sum over members at the last pass or look */
    __u64 living_rss_peak;  /* bytes; of one living process as a member; userland resets it */
    __u64 adopted_rss_peak; /* bytes; the most that an adopted process had had before, ever */
    __u32 look;             /* userland: member of the next look */
    __u32 padding[3];       /* whole cache lines: slots are written from many CPUs */
};

/* Slots and membership: one word per pid, `check << BPF_SLOT_BITS | slot`. The check comes from
 * the process's signal_struct, which lives as long as any of its tasks: the word of a pid that
 * was given to another process does not pass. */
#define BPF_SLOT_BITS 17
#define BPF_SLOT_MASK ((1u << BPF_SLOT_BITS) - 1)
#define BPF_SLOTS_MAX BPF_SLOT_MASK

/* Network counters of a watched cgroup. */
struct bpf_net {
    __u64 received_bytes; /* without loopback */
    __u64 sent_bytes;
    __u64 loopback_bytes;
    __u64 packets; /* all */
};

/* Counters of what did not fit or failed; in all since loading. */
struct bpf_health {
    __u64 dying_full;      /* exits accounted at release and not at exit */
    __u64 pid_range;       /* processes whose pid lies beyond the membership map */
    __u64 threads_cut;     /* processes with more threads than one walk visits */
    __u64 records_refused; /* the record stream refused a record (never seen) */
};

#endif
