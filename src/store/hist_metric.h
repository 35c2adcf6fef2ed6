/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metric registry of the history, version 1: what is stored, and in which whole units.
 * Ids are for ever; a later version may append metrics, never change one.
 *
 *     id  name              unit of a stored 1     kind
 *     0   cpu               0.01 % of one core     rate; its counter is CPU ns
 *     1   memory            4 KiB                  gauge
 *     2   disk_io           byte/s                 rate; its counter is 1/1000 byte
 *     3   network_io        byte/s                 rate; its counter is 1/1000 byte
 *     4   file_descriptors  1                      gauge
 *     5   processes         1                      gauge
 *     6   cpu_percent       0.01 % of capacity     gauge, only where cores are unknown
 *     7   memory_percent    0.01 % of capacity     gauge, only where MiB are unknown
 *
 * Percentages of capacity follow from cpu and memory and from the machine's capacity, which is
 * stored once per tick; they have columns of their own only for agents that report nothing else.
 * An unknown value is HIST_UNKNOWN in memory and a run of its own on disk, never 0.
 *
 * Pure functions; any thread.
 */
#ifndef AC_STORE_HIST_METRIC_H
#define AC_STORE_HIST_METRIC_H

#include <agentcore.h>

#include "store/hist_column.h"

#define HIST_REGISTRY_VERSION 1

enum hist_metric {
    HIST_CPU,
    HIST_MEMORY,
    HIST_DISK_IO,
    HIST_NETWORK_IO,
    HIST_FILE_DESCRIPTORS,
    HIST_PROCESSES,
    HIST_CPU_PERCENT,
    HIST_MEMORY_PERCENT,
    HIST_METRICS
};

/* Metrics with an exact counter, in the order of struct hist_totals. */
#define HIST_COUNTERS 3

struct hist_metric_info {
    const char *name;
    const char *unit;     /* of a public value */
    double scale;         /* public value = stored * scale */
    int counter;          /* index into totals, -1 = none */
    double counter_rate;  /* growth of the counter per second at a stored 1 */
    double counter_scale; /* public total (seconds, bytes) = counter * scale */
};

/* NULL for an id that this version does not know. */
const struct hist_metric_info *hist_metric_info(unsigned metric);

/* Returns 0 or -EINVAL. */
int hist_metric_from_name(const char *name, enum hist_metric *ret_metric);

/* What the machine may use at a tick: 0 = unknown. */
struct hist_capacity {
    uint64_t cpu;    /* 0.01 % of a core */
    uint64_t memory; /* 4 KiB */
};

/* The capacity that a usage implies (its percentages against its absolute values), for what
 * @ret_capacity does not know yet. */
void hist_capacity_learn(const struct ac_usage *usage, struct hist_capacity *capacity);

/* Whole numbers of a usage, rounded to the nearest, capped at HIST_VALUE_MAX. @processes: -1 =
 * unknown. */
void hist_quantise(const struct ac_usage *usage, const struct hist_capacity *capacity,
    int64_t processes, int64_t ret_values[HIST_METRICS]);

/* The reverse; @values may be means (doubles, NaN = unknown). Fills .known. */
void hist_restore(const double values[HIST_METRICS], const struct hist_capacity *capacity,
    struct ac_usage *ret_usage);

#endif
