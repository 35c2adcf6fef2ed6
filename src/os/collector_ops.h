/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every collector of samples can do: procfs, BPF, a replayed file. engine/collector chooses
 * one at run time. A collector is used by one thread.
 */
#ifndef AC_OS_COLLECTOR_OPS_H
#define AC_OS_COLLECTOR_OPS_H

#include "base/error.h"
#include "model/sample.h"

/* The head of every implementation's own struct. */
struct collector_source {
    const struct collector_ops *ops;
};

struct collector_ops {
    const char *name; /* "procfs", "bpf", "replay" */

    /* Takes a sample. Arrays in it are valid until the next call. Returns 0; -ENODATA at the
     * end of a replay; -errno where nothing could be measured at all. */
    int (*read)(struct collector_source *source, struct sample *ret_sample);

    /* From now on @pid (with that start time) and what it forks belong to @slot; from now on
     * nothing does. Both may be NULL: the registry then finds out from parents alone. */
    int (*adopt)(
        struct collector_source *source, agent_slot slot, int32_t pid, uint64_t start_ticks);
    void (*release)(struct collector_source *source, agent_slot slot);

    /* Adopts all processes that are in a cgroup v2 directory (borrowed), whoever their parents are.
     * NULL where adopting one after the other costs no more. Returns 0; -ESRCH: nobody is in it. */
    int (*adopt_group)(struct collector_source *source, agent_slot slot, int cgroup_dir_fd);

    /* Watches the cgroup v2 directory of an agent: its files, and its network. May be NULL.
     * Takes a directory descriptor (borrowed; duplicated). */
    int (*watch_group)(struct collector_source *source, agent_slot slot, int cgroup_dir_fd);

    /* A descriptor that becomes readable when something happened that should not wait for the
     * tick, or -1. May be NULL. */
    int (*event_fd)(struct collector_source *source);

    /* Call when event_fd is readable: empties it and does what is the collector's own business (a
     * look between two samples). Returns 1 where a sample should be taken now and not only at the
     * tick, 0 where not. NULL where event_fd is. */
    int (*handle_events)(struct collector_source *source);

    void (*free)(struct collector_source *source);
};

#endif
