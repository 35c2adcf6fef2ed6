/* SPDX-License-Identifier: Apache-2.0 */
#include <agentcore.h>

#include <errno.h>
#include <math.h>

#include "base/error.h"
#include "base/export.h"
#include "base/mem.h"

static const struct {
    const char *name;
    size_t offset;
    double minimum;
    double maximum;
} limit_fields[] = {
    {"max_cpu_percent", offsetof(struct ac_limits, max_cpu_percent), 1, 100},
    {"max_memory_percent", offsetof(struct ac_limits, max_memory_percent), 1, 100},
    {"max_disk_io_mbps", offsetof(struct ac_limits, max_disk_io_mbps), 0.001, 1e9},
    {"max_network_io_mbps", offsetof(struct ac_limits, max_network_io_mbps), 0.001, 1e9},
    {"alert_threshold_percent", offsetof(struct ac_limits, alert_threshold_percent), 0, 100},
    {"emergency_memory_percent", offsetof(struct ac_limits, emergency_memory_percent), 1, 100},
    {"emergency_file_descriptor_percent",
        offsetof(struct ac_limits, emergency_file_descriptor_percent), 1, 100},
    {"emergency_stall_percent", offsetof(struct ac_limits, emergency_stall_percent), 1, 100},
    {"clear_margin_percent", offsetof(struct ac_limits, clear_margin_percent), 0, 50},
};

EXPORT void ac_limits_init(struct ac_limits *ret_limits)
{
    *ret_limits = (struct ac_limits){
        .size = sizeof(*ret_limits),
        .max_cpu_percent = 80,
        .max_memory_percent = 80,
        .max_disk_io_mbps = 100,
        .max_network_io_mbps = 100,
        .max_file_descriptors = 1000,
        .alert_threshold_percent = 75,
        .emergency_memory_percent = 95,
        .emergency_file_descriptor_percent = 95,
        .emergency_stall_percent = 40,
        .clear_margin_percent = 5,
    };
}

EXPORT int ac_limits_validate(const struct ac_limits *limits, struct ac_error *error)
{
    if (!limits || limits->size < sizeof(*limits))
        return error_set(error, -EINVAL, "limits: not initialised with ac_limits_init");
    for (size_t i = 0; i < ARRAY_SIZE(limit_fields); i++) {
        double value = *(const double *)((const char *)limits + limit_fields[i].offset);
        if (!isfinite(value) || value < limit_fields[i].minimum || value > limit_fields[i].maximum)
            return error_set(error, -EINVAL, "%s: %g is outside %g to %g", limit_fields[i].name,
                value, limit_fields[i].minimum, limit_fields[i].maximum);
    }
    if (limits->max_file_descriptors < 1)
        return error_set(error, -EINVAL, "max_file_descriptors: 0 is below 1");
    return 0;
}
