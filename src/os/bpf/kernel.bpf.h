/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The parts of kernel structures that the programs read. Only names and types matter: libbpf
 * relocates every access to where the running kernel has the field.
 *
 * A name with ___ and a suffix is another layout of the same kernel type.
 */
#ifndef AC_OS_BPF_KERNEL_H
#define AC_OS_BPF_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>

/* Macros, so that the generated header knows the types of global variables. */
#define s32 __s32
#define s64 __s64
#define u32 __u32
#define u64 __u64

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
    int counter;
} atomic_t;

typedef struct {
    s64 counter;
} atomic64_t;

struct list_head {
    struct list_head *next;
};

struct task_io_accounting {
    u64 read_bytes;
    u64 write_bytes;
};

struct upid {
    int nr;
};

struct pid {
    struct upid numbers[1]; /* [0]: in the first namespace */
};

/* Of signal_struct.pids */
#define PIDTYPE_PGID 2
#define PIDTYPE_SID  3

struct signal_struct {
    atomic_t live; /* threads that have not begun to exit */
    int nr_threads;
    struct list_head thread_head;
    struct pid *pids[4];
    u64 utime; /* of threads that exited */
    u64 stime;
    u64 cutime; /* of children that were waited for */
    u64 cstime;
    unsigned long maxrss; /* pages; brought up to date at exec and when the last thread exits */
    struct task_io_accounting ioac;
    unsigned long long sum_sched_runtime;
};

struct fdtable {
    unsigned int max_fds;
    unsigned long *open_fds;
};

struct files_struct {
    struct fdtable *fdt;
};

/* Since 6.2 */
struct percpu_counter {
    s64 count;
    s32 *counters; /* per CPU */
};

struct mm_struct {
    unsigned long hiwater_rss; /* pages; brought up to date when memory is given back */
    struct percpu_counter rss_stat[4];
};

/* Before 6.2 */
struct mm_rss_stat {
    atomic64_t count[4];
};

struct mm_struct___old {
    struct mm_rss_stat rss_stat;
};

struct kernfs_node {
    u64 id;
};

struct cgroup {
    struct kernfs_node *kn;
};

struct css_set {
    struct cgroup *dfl_cgrp; /* in the v2 hierarchy */
};

typedef struct {
    unsigned int val;
} kuid_t;

struct cred {
    kuid_t uid;
};

struct sched_entity {
    u64 sum_exec_runtime;
};

/* Before 6.2: what a thread has not yet added to its mm. */
struct task_rss_stat {
    int count[4];
};

struct task_struct___old {
    struct task_rss_stat rss_stat;
};

struct task_struct {
    unsigned int __state;
    unsigned int flags;
    struct sched_entity se;
    struct mm_struct *mm;
    int exit_state;
    int pid;
    int tgid;
    struct task_struct *real_parent;
    struct task_struct *group_leader;
    struct list_head thread_node;
    u64 utime;
    u64 stime;
    u64 start_boottime;
    const struct cred *real_cred;
    char comm[16];
    struct files_struct *files;
    struct signal_struct *signal;
    struct task_io_accounting ioac;
    struct css_set *cgroups;
};

struct bpf_array {
    void *pptrs[0]; /* of a per-CPU array */
};

struct seq_file;

struct bpf_iter_meta {
    struct seq_file *seq;
    u64 session_id;
    u64 seq_num;
};

struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
};

#pragma clang attribute pop

/* enum of the members of rss_stat */
#define RSS_FILE  0
#define RSS_ANON  1
#define RSS_SWAP  2
#define RSS_SHMEM 3

#define PF_EXITING  0x00000004
#define PF_KTHREAD  0x00200000
#define EXIT_DEAD   0x10
#define EXIT_ZOMBIE 0x20

#endif
