/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meters the descendants of this process, for `run` without a daemon: samples of /proc for
 * memory, descriptors and the number of processes; the kernel's own accounts (wait4) for CPU and
 * disk of everything that was reaped here, which makes those two exact.
 *
 * This process must be a child subreaper: then its descendants are the agent, whatever they do,
 * and whoever loses its parent becomes our child and is reaped and counted here.
 */
#ifndef AC_CLI_RUN_METER_H
#define AC_CLI_RUN_METER_H

#include <sys/resource.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/agent.h"

struct forks;
struct meter;

/* @forks (borrowed, may be NULL) counts processes since before the command started. Returns 0 or
 * -errno; without a meter the run goes on and what it would know stays unknown. */
int meter_new(const struct agent_spec *spec, struct forks *forks, struct meter **ret_meter,
    struct ac_error *error);
void meter_free(struct meter *meter);

/* Takes a sample now. Failures leave the last one in force. */
void meter_sample(struct meter *meter);

/* When the next sample is due: soon at first, then ten times a second, less often where a pass
 * over /proc is so slow that this would take more than 5 % of a core. */
struct mono meter_due(const struct meter *meter);

/* Adds what one reaped child used in its life, with the children that it had waited for. */
void meter_reaped(struct meter *meter, const struct rusage *usage);

struct meter_totals {
    double cpu_seconds; /* these five NaN = unknown */
    double memory_peak_mb;
    double disk_read_mb;
    double disk_write_mb;
    double file_descriptors_peak;
    uint64_t processes_total; /* exact with forks; else those seen or reaped */
    uint64_t alive;           /* in the last sample */
};

/* What was used up to now: everything reaped plus what the last sample showed of the living. */
void meter_totals(const struct meter *meter, struct meter_totals *ret_totals);

/* Living descendants in the last sample, and their names. Returns their number; fills up to
 * @capacity. */
struct meter_process {
    int32_t pid;
    char name[16];
};
size_t meter_living(
    const struct meter *meter, struct meter_process *ret_processes, size_t capacity);

#endif
