/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_metric.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

#define PAGES_PER_MIB 256.0
#define CPU_SCALE     10000.0 /* stored units in one core */
#define BYTES_PER_MIB 1048576.0

static const struct hist_metric_info infos[HIST_METRICS] = {
    [HIST_CPU] = {"cpu", "cores", 1 / CPU_SCALE, 0, 1e5, 1e-9},
    [HIST_MEMORY] = {"memory", "MiB", 1 / PAGES_PER_MIB, -1, 0, 0},
    [HIST_DISK_IO] = {"disk_io", "MiB/s", 1 / BYTES_PER_MIB, 1, 1e3, 1e-3},
    [HIST_NETWORK_IO] = {"network_io", "MiB/s", 1 / BYTES_PER_MIB, 2, 1e3, 1e-3},
    [HIST_FILE_DESCRIPTORS] = {"file_descriptors", "count", 1, -1, 0, 0},
    [HIST_PROCESSES] = {"processes", "count", 1, -1, 0, 0},
    [HIST_CPU_PERCENT] = {"cpu_percent", "%", 0.01, -1, 0, 0},
    [HIST_MEMORY_PERCENT] = {"memory_percent", "%", 0.01, -1, 0, 0},
};

const struct hist_metric_info *hist_metric_info(unsigned metric)
{
    return metric < HIST_METRICS ? &infos[metric] : NULL;
}

int hist_metric_from_name(const char *name, enum hist_metric *ret_metric)
{
    for (unsigned i = 0; i < HIST_METRICS; i++) {
        if (strcmp(name, infos[i].name) == 0) {
            *ret_metric = i;
            return 0;
        }
    }
    return -EINVAL;
}

/* A number that none can be (not finite, below 0) is as unknown as one that is not there. */
static int64_t whole(double value)
{
    if (!isfinite(value) || value < 0)
        return HIST_UNKNOWN;
    return value >= (double)HIST_VALUE_MAX ? HIST_VALUE_MAX : (int64_t)(value + 0.5);
}

static uint64_t implied(double absolute, double percent, double units)
{
    /* Small figures carry too little of the ratio. */
    if (!(absolute > 0) || !(percent > 0.01))
        return 0;
    int64_t capacity = whole(absolute * 100.0 / percent * units);
    return capacity == HIST_UNKNOWN ? 0 : (uint64_t)capacity;
}

void hist_capacity_learn(const struct ac_usage *usage, struct hist_capacity *capacity)
{
    const uint32_t cpu = AC_KNOWN_CPU_CORES | AC_KNOWN_CPU_PERCENT;
    const uint32_t memory = AC_KNOWN_MEMORY_MB | AC_KNOWN_MEMORY_PERCENT;
    if (capacity->cpu == 0 && (usage->known & cpu) == cpu)
        capacity->cpu = implied(usage->cpu_cores, usage->cpu_percent, CPU_SCALE);
    if (capacity->memory == 0 && (usage->known & memory) == memory)
        capacity->memory = implied(usage->memory_mb, usage->memory_percent, PAGES_PER_MIB);
}

/* Whether a percentage follows from its absolute value to within the rounding of both. */
static bool follows(double percent, int64_t stored, uint64_t capacity)
{
    if (stored == HIST_UNKNOWN || capacity == 0)
        return false;
    double derived = (double)stored * 100.0 / (double)capacity;
    return fabs(derived - percent) <= 0.01 + 100.0 / (double)capacity;
}

void hist_quantise(const struct ac_usage *usage, const struct hist_capacity *capacity,
    int64_t processes, int64_t ret_values[HIST_METRICS])
{
    for (unsigned i = 0; i < HIST_METRICS; i++)
        ret_values[i] = HIST_UNKNOWN;
    if (usage->known & AC_KNOWN_CPU_CORES)
        ret_values[HIST_CPU] = whole(usage->cpu_cores * CPU_SCALE);
    if (usage->known & AC_KNOWN_MEMORY_MB)
        ret_values[HIST_MEMORY] = whole(usage->memory_mb * PAGES_PER_MIB);
    if (usage->known & AC_KNOWN_DISK_IO)
        ret_values[HIST_DISK_IO] = whole(usage->disk_io_mbps * BYTES_PER_MIB);
    if (usage->known & AC_KNOWN_NETWORK_IO)
        ret_values[HIST_NETWORK_IO] = whole(usage->network_io_mbps * BYTES_PER_MIB);
    if (usage->known & AC_KNOWN_FILE_DESCRIPTORS)
        ret_values[HIST_FILE_DESCRIPTORS] =
            (int64_t)MIN(usage->file_descriptors, (uint64_t)HIST_VALUE_MAX);
    if (processes >= 0)
        ret_values[HIST_PROCESSES] = MIN(processes, HIST_VALUE_MAX);
    if ((usage->known & AC_KNOWN_CPU_PERCENT) &&
        !follows(usage->cpu_percent, ret_values[HIST_CPU], capacity->cpu))
        ret_values[HIST_CPU_PERCENT] = whole(usage->cpu_percent * 100.0);
    if ((usage->known & AC_KNOWN_MEMORY_PERCENT) &&
        !follows(usage->memory_percent, ret_values[HIST_MEMORY], capacity->memory))
        ret_values[HIST_MEMORY_PERCENT] = whole(usage->memory_percent * 100.0);
}

static void restore_one(
    double stored, unsigned metric, double *field, uint32_t bit, uint32_t *known)
{
    if (isnan(stored))
        return;
    *field = stored * infos[metric].scale;
    *known |= bit;
}

void hist_restore(const double values[HIST_METRICS], const struct hist_capacity *capacity,
    struct ac_usage *ret_usage)
{
    struct ac_usage *u = ret_usage;
    int64_t when = u->timestamp_ns;
    ac_usage_init(u);
    u->timestamp_ns = when;
    restore_one(values[HIST_CPU], HIST_CPU, &u->cpu_cores, AC_KNOWN_CPU_CORES, &u->known);
    restore_one(values[HIST_MEMORY], HIST_MEMORY, &u->memory_mb, AC_KNOWN_MEMORY_MB, &u->known);
    restore_one(values[HIST_DISK_IO], HIST_DISK_IO, &u->disk_io_mbps, AC_KNOWN_DISK_IO, &u->known);
    restore_one(values[HIST_NETWORK_IO], HIST_NETWORK_IO, &u->network_io_mbps, AC_KNOWN_NETWORK_IO,
        &u->known);
    restore_one(values[HIST_CPU_PERCENT], HIST_CPU_PERCENT, &u->cpu_percent, AC_KNOWN_CPU_PERCENT,
        &u->known);
    restore_one(values[HIST_MEMORY_PERCENT], HIST_MEMORY_PERCENT, &u->memory_percent,
        AC_KNOWN_MEMORY_PERCENT, &u->known);
    if (!isnan(values[HIST_FILE_DESCRIPTORS])) {
        u->file_descriptors = (uint64_t)(values[HIST_FILE_DESCRIPTORS] + 0.5);
        u->known |= AC_KNOWN_FILE_DESCRIPTORS;
    }
    if (!(u->known & AC_KNOWN_CPU_PERCENT) && (u->known & AC_KNOWN_CPU_CORES) &&
        capacity->cpu > 0) {
        u->cpu_percent = MIN(values[HIST_CPU] * 100.0 / (double)capacity->cpu, 100.0);
        u->known |= AC_KNOWN_CPU_PERCENT;
    }
    if (!(u->known & AC_KNOWN_MEMORY_PERCENT) && (u->known & AC_KNOWN_MEMORY_MB) &&
        capacity->memory > 0) {
        u->memory_percent = MIN(values[HIST_MEMORY] * 100.0 / (double)capacity->memory, 100.0);
        u->known |= AC_KNOWN_MEMORY_PERCENT;
    }
}
