/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sample of a machine: what a collector (os/) hands to the pipeline. Plain counters and
 * gauges as the kernel gives them; rates are made later, from two samples (policy/registry).
 *
 * Every record says which of its fields are known; an unknown field is 0 and means nothing.
 * Arrays belong to the collector and are valid until its next read.
 */
#ifndef AC_MODEL_SAMPLE_H
#define AC_MODEL_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

/* Which agent something belongs to: an index given out by policy/registry, reused only after
 * the agent is gone and its totals are closed. 0 = none. */
typedef uint32_t agent_slot;

enum proc_known {
    PROC_KNOWN_CPU = 1u << 0,          /* utime_ns, stime_ns */
    PROC_KNOWN_CHILDREN_CPU = 1u << 1, /* cutime_ns, cstime_ns: reaped children */
    PROC_KNOWN_RSS = 1u << 2,          /* the sum of the three rss fields */
    PROC_KNOWN_RSS_SPLIT = 1u << 3,    /* each of them (else all is in rss_anon_bytes) */
    PROC_KNOWN_SWAP = 1u << 4,
    PROC_KNOWN_IO = 1u << 5, /* read_bytes, written_bytes: storage, not page cache */
    PROC_KNOWN_FDS = 1u << 6,
    PROC_KNOWN_THREADS = 1u << 7,
    PROC_KNOWN_CGROUP = 1u << 8,
    PROC_KNOWN_MM = 1u << 9,
    PROC_KNOWN_UID = 1u << 10,
    PROC_KNOWN_SLOT = 1u << 11,    /* the collector tracks membership itself (BPF) */
    PROC_KNOWN_SESSION = 1u << 12, /* pgrp, session */
};

/* A process. (pid, start_ticks) names it for ever. */
struct proc_record {
    int32_t pid;
    int32_t ppid;
    int32_t pgrp;
    int32_t session;
    uint64_t start_ticks; /* since boot, in clock ticks (100 per second), as in /proc/PID/stat */
    uint64_t cgroup_id;   /* inode of its cgroup v2 directory */
    uint64_t utime_ns;    /* living threads and exited ones of this process */
    uint64_t stime_ns;
    uint64_t cutime_ns; /* children it waited for, and theirs */
    uint64_t cstime_ns;
    uint64_t rss_anon_bytes;
    uint64_t rss_file_bytes;
    uint64_t rss_shmem_bytes;
    uint64_t swap_bytes;
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t mm_id; /* equal for processes that share one address space (CLONE_VM); 0 = none */
    uint32_t fds;
    uint32_t threads;
    uint32_t uid;
    uint32_t known; /* enum proc_known */
    agent_slot slot;
    char state;    /* 'R', 'S', 'D', 'Z', ...; 0 = unknown */
    char name[16]; /* comm, NUL-terminated, hostile */
};

/* What processes that exited since the last sample used in all their life, per agent slot: only
 * from collectors that see exits themselves. The part that earlier samples already showed of
 * them is in it too: (cpu_ns - seen_...) is the registry's business. */
struct exit_record {
    agent_slot slot;
    int32_t pid;
    uint64_t start_ticks;
    uint64_t cpu_ns; /* whole life, all threads */
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t rss_peak_bytes; /* 0 = unknown */
    uint32_t processes;      /* usually 1; more where the collector had to fold records */
};

enum slot_known {
    SLOT_KNOWN_CPU = 1u << 0,
    SLOT_KNOWN_IO = 1u << 1,
    SLOT_KNOWN_PROCESSES = 1u << 2,
    SLOT_KNOWN_RSS = 1u << 3, /* rss_min/mean/max_bytes: looks between this sample and the last */
    SLOT_KNOWN_EXITED_RSS = 1u << 4,
};

/*
 * What a collector that tracks membership itself (PROC_KNOWN_SLOT) knows of an agent as a whole.
 * Where there is such a record it is the truth about the agent's counters: the usage of an
 * interval is the difference of two of them, and the same counters of proc_records and
 * exit_records are not added to it. Living and exited members together, each counted once, since
 * the slot was adopted (what a process used before does not count). They never go back. A slot
 * keeps its record until it is released, also when all its processes are gone: the last
 * slice of a process may arrive one sample after the process vanished from procs.
 */
struct slot_record {
    agent_slot slot;
    uint32_t known; /* enum slot_known */
    uint64_t cpu_ns;
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t processes_total; /* adopted and forked, ever */
    uint64_t rss_min_bytes;   /* gauges of this interval alone, by looks inside it */
    uint64_t rss_mean_bytes;
    uint64_t rss_max_bytes;
    uint64_t exited_rss_peak_bytes; /* largest peak, as a member, of one process that exited */
    uint32_t rss_looks;
};

enum group_known {
    GROUP_KNOWN_CPU = 1u << 0,
    GROUP_KNOWN_MEMORY = 1u << 1,
    GROUP_KNOWN_MEMORY_PEAK = 1u << 2,
    GROUP_KNOWN_IO = 1u << 3,
    GROUP_KNOWN_NETWORK = 1u << 4,
    GROUP_KNOWN_PIDS = 1u << 5,
    GROUP_KNOWN_EVENTS = 1u << 6,
    GROUP_KNOWN_PRESSURE = 1u << 7,
    GROUP_KNOWN_MEMORY_RANGE = 1u << 8, /* memory_min/mean/max_bytes */
};

/* An agent's own cgroup. Counters since its creation. */
struct group_record {
    agent_slot slot;
    uint32_t known; /* enum group_known */
    uint64_t cgroup_id;
    uint64_t cpu_ns;
    uint64_t memory_bytes;      /* memory.current less inactive file cache */
    uint64_t memory_peak_bytes; /* the most that memory_bytes was since the last sample */
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t received_bytes; /* without loopback */
    uint64_t sent_bytes;
    uint64_t loopback_bytes;
    uint64_t packets;
    uint64_t pids;
    uint64_t memory_high_events;
    uint64_t memory_max_events;
    uint64_t oom_kills;
    double memory_full_percent; /* PSI full avg10 */
    uint64_t memory_min_bytes;  /* of this interval, by looks inside it */
    uint64_t memory_mean_bytes;
    uint64_t memory_max_bytes;
};

enum machine_known {
    MACHINE_KNOWN_CPU = 1u << 0,
    MACHINE_KNOWN_MEMORY = 1u << 1,
    MACHINE_KNOWN_DISK = 1u << 2,
    MACHINE_KNOWN_NETWORK = 1u << 3,
    MACHINE_KNOWN_FDS = 1u << 4,
    MACHINE_KNOWN_PRESSURE = 1u << 5,
};

/* The machine, or the container we run in. */
struct machine_record {
    uint32_t known;
    double capacity_cores;          /* what we may use: min(online CPUs, cpu.max, affinity) */
    uint64_t capacity_memory_bytes; /* min(MemTotal, memory.max) */
    uint64_t cpu_busy_ns;           /* counter; all but idle and iowait, of capacity's scope */
    uint64_t cpu_total_ns;          /* counter; 0 where only busy time is known (a cgroup's) */
    uint64_t memory_used_bytes;     /* capacity less what is available */
    uint64_t disk_read_bytes;       /* counters over whole devices */
    uint64_t disk_written_bytes;
    uint64_t net_received_bytes; /* counters without loopback */
    uint64_t net_sent_bytes;
    uint64_t fds;               /* open files of the whole system */
    uint64_t fds_max;           /* 0 = no limit known */
    double memory_full_percent; /* PSI full avg10 */
    double cpu_boot_percent;    /* mean busy since boot: all there is after one sample */
    uint64_t boot_id;           /* a hash; changes at reboot */
};

enum gpu_known {
    GPU_KNOWN_MEMORY = 1u << 0,
    GPU_KNOWN_COMPUTE = 1u << 1,
};

/* A process on a GPU. One that uses two has two. */
struct gpu_process {
    int32_t pid;
    uint32_t device;
    uint32_t known;     /* enum gpu_known */
    bool memory_hidden; /* it has some, and the driver does not say how much */
    uint64_t memory_bytes;
    double compute_percent; /* of the device's multiprocessors, since the last read */
};

/* A process whose proportional memory should be read. */
struct pss_want {
    int32_t pid;
    uint64_t start_ticks;
};

/* Its proportional memory: a page that n processes share counts 1/n in each. Reading it is costly:
 * a few processes at a time are, and what was read comes with a later sample. */
struct pss_record {
    int32_t pid;
    uint32_t readable; /* 1; 0 = we may not read it */
    uint64_t start_ticks;
    uint64_t pss_bytes;
    uint64_t read_ns; /* monotonic */
};

struct sample {
    struct moment when;
    uint64_t boot_ns; /* CLOCK_BOOTTIME: shows suspended time against when.mono */
    struct machine_record machine;
    const struct proc_record *procs;
    size_t n_procs;
    const struct exit_record *exits;
    size_t n_exits;
    const struct slot_record *slots;
    size_t n_slots;
    const struct group_record *groups;
    size_t n_groups;
    const struct gpu_process *gpus;
    size_t n_gpus;
    uint32_t gpus_known; /* enum gpu_known: what every device told of all its processes */
    const struct pss_record *pss;
    size_t n_pss;
    uint64_t lost; /* records that did not fit since the start: counted, shown, never hidden */
};

/* When it was taken, on all clocks: a recording has .boot_ns only. */
static inline struct moment sample_moment(const struct sample *sample)
{
    struct moment moment = sample->when;
    moment.boot_ns = sample->boot_ns;
    return moment;
}

#endif
