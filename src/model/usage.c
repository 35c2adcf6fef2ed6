/* SPDX-License-Identifier: Apache-2.0 */
#include "model/usage.h"

#include <errno.h>
#include <float.h>
#include <math.h>

#include "base/error.h"
#include "base/export.h"
#include "base/mem.h"

/* The double fields in the order of their bits. */
static const struct {
    const char *name;
    size_t offset;
    uint32_t bit;
    double maximum; /* 0 = none */
} usage_fields[] = {
    {"cpu_percent", offsetof(struct ac_usage, cpu_percent), AC_KNOWN_CPU_PERCENT, 100.5},
    {"cpu_cores", offsetof(struct ac_usage, cpu_cores), AC_KNOWN_CPU_CORES, 0},
    {"memory_mb", offsetof(struct ac_usage, memory_mb), AC_KNOWN_MEMORY_MB, 0},
    {"memory_percent", offsetof(struct ac_usage, memory_percent), AC_KNOWN_MEMORY_PERCENT, 100.5},
    {"disk_io_mbps", offsetof(struct ac_usage, disk_io_mbps), AC_KNOWN_DISK_IO, 0},
    {"network_io_mbps", offsetof(struct ac_usage, network_io_mbps), AC_KNOWN_NETWORK_IO, 0},
};

static double *usage_field(struct ac_usage *usage, size_t i)
{
    return (double *)((char *)usage + usage_fields[i].offset);
}

static double usage_field_value(const struct ac_usage *usage, size_t i)
{
    return *(const double *)((const char *)usage + usage_fields[i].offset);
}

EXPORT void ac_usage_init(struct ac_usage *ret_usage)
{
    *ret_usage = (struct ac_usage){
        .cpu_percent = NAN,
        .cpu_cores = NAN,
        .memory_mb = NAN,
        .memory_percent = NAN,
        .disk_io_mbps = NAN,
        .network_io_mbps = NAN,
    };
}

/* Whether a field is unknown, or a number from 0 to @maximum (NaN is neither). */
static inline bool in_range(uint32_t known, uint32_t bit, double value, double maximum)
{
    return !(known & bit) || (value >= 0 && value <= maximum);
}

/* Most usages are fine: a few comparisons say so. What is wrong is found out by the table. */
static inline bool usage_is_fine(const struct ac_usage *u)
{
    return in_range(u->known, AC_KNOWN_CPU_PERCENT, u->cpu_percent, 100.5) &&
           in_range(u->known, AC_KNOWN_CPU_CORES, u->cpu_cores, DBL_MAX) &&
           in_range(u->known, AC_KNOWN_MEMORY_MB, u->memory_mb, DBL_MAX) &&
           in_range(u->known, AC_KNOWN_MEMORY_PERCENT, u->memory_percent, 100.5) &&
           in_range(u->known, AC_KNOWN_DISK_IO, u->disk_io_mbps, DBL_MAX) &&
           in_range(u->known, AC_KNOWN_NETWORK_IO, u->network_io_mbps, DBL_MAX) &&
           !(u->known & ~(uint32_t)AC_KNOWN_ALL) && u->timestamp_ns >= 0;
}

EXPORT int ac_usage_validate(const struct ac_usage *usage, struct ac_error *error)
{
    if (!usage)
        return error_set(error, -EINVAL, "usage: missing");
    if (__builtin_expect(usage_is_fine(usage), 1))
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(usage_fields); i++) {
        double value = usage_field_value(usage, i);
        if (!(usage->known & usage_fields[i].bit))
            continue;
        if (!isfinite(value) || value < 0)
            return error_set(error, -EINVAL, "%s: %g is not a finite number of 0 or more",
                usage_fields[i].name, value);
        if (usage_fields[i].maximum > 0 && value > usage_fields[i].maximum)
            return error_set(error, -EINVAL, "%s: %g is above 100", usage_fields[i].name, value);
    }
    if (usage->known & ~(uint32_t)AC_KNOWN_ALL)
        return error_set(error, -EINVAL, "known: 0x%x has unknown bits", usage->known);
    if (usage->timestamp_ns < 0)
        return error_set(error, -EINVAL, "timestamp: lies before 1970");
    return 0;
}

void usage_fill(struct ac_usage *target, const struct ac_usage *source)
{
    uint32_t missing = source->known & ~target->known;
    for (size_t i = 0; missing != 0 && i < ARRAY_SIZE(usage_fields); i++) {
        if (missing & usage_fields[i].bit)
            *usage_field(target, i) = usage_field_value(source, i);
    }
    if (missing & AC_KNOWN_FILE_DESCRIPTORS)
        target->file_descriptors = source->file_descriptors;
    target->known |= missing;
}

double usage_value(const struct ac_usage *usage, enum ac_resource resource)
{
    switch (resource) {
    case AC_CPU:
        return usage->known & AC_KNOWN_CPU_PERCENT ? usage->cpu_percent : NAN;
    case AC_MEMORY:
        return usage->known & AC_KNOWN_MEMORY_PERCENT ? usage->memory_percent : NAN;
    case AC_DISK_IO:
        return usage->known & AC_KNOWN_DISK_IO ? usage->disk_io_mbps : NAN;
    case AC_NETWORK_IO:
        return usage->known & AC_KNOWN_NETWORK_IO ? usage->network_io_mbps : NAN;
    case AC_FILE_DESCRIPTORS:
        return usage->known & AC_KNOWN_FILE_DESCRIPTORS ? (double)usage->file_descriptors : NAN;
    case AC_RESOURCE_COUNT:
        break;
    }
    return NAN;
}

void usage_set_cpu(struct ac_usage *usage, double cores, double capacity_cores)
{
    if (!isfinite(cores) || cores < 0)
        return;
    usage->cpu_cores = cores;
    usage->known |= AC_KNOWN_CPU_CORES;
    if (capacity_cores > 0) {
        usage->cpu_percent = MIN(cores / capacity_cores * 100, 100.0);
        usage->known |= AC_KNOWN_CPU_PERCENT;
    }
}

void usage_set_memory(struct ac_usage *usage, double mib, double capacity_mib)
{
    if (!isfinite(mib) || mib < 0)
        return;
    usage->memory_mb = mib;
    usage->known |= AC_KNOWN_MEMORY_MB;
    if (capacity_mib > 0) {
        usage->memory_percent = MIN(mib / capacity_mib * 100, 100.0);
        usage->known |= AC_KNOWN_MEMORY_PERCENT;
    }
}
