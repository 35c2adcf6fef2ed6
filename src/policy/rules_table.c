/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rules_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/usage.h"

/* ---- Values */

static double cpu_value(const struct ac_usage *usage)
{
    return usage_value(usage, AC_CPU);
}

static double memory_value(const struct ac_usage *usage)
{
    return usage_value(usage, AC_MEMORY);
}

static double disk_value(const struct ac_usage *usage)
{
    return usage_value(usage, AC_DISK_IO);
}

static double network_value(const struct ac_usage *usage)
{
    return usage_value(usage, AC_NETWORK_IO);
}

static double fds_value(const struct ac_usage *usage)
{
    return usage_value(usage, AC_FILE_DESCRIPTORS);
}

static double cores_value(const struct ac_usage *usage)
{
    return usage->known & AC_KNOWN_CPU_CORES ? usage->cpu_cores : NAN;
}

static double mib_value(const struct ac_usage *usage)
{
    return usage->known & AC_KNOWN_MEMORY_MB ? usage->memory_mb : NAN;
}

/* ---- Thresholds */

#define MAXIMUM_FUNCTION(function, field)                                                          \
    static double function(const struct ac_limits *limits, const struct rules_subject *subject)    \
    {                                                                                              \
        (void)subject;                                                                             \
        return (double)limits->field;                                                              \
    }

MAXIMUM_FUNCTION(cpu_maximum, max_cpu_percent)
MAXIMUM_FUNCTION(memory_maximum, max_memory_percent)
MAXIMUM_FUNCTION(disk_maximum, max_disk_io_mbps)
MAXIMUM_FUNCTION(network_maximum, max_network_io_mbps)

/* A machine whose hard limit is known is judged by it: its open files are those of everybody, and
 * the configured maximum is meant for one agent. */
static double fds_maximum(const struct ac_limits *limits, const struct rules_subject *subject)
{
    if (subject->slot == 0 && subject->fds_hard_limit > 0)
        return (double)subject->fds_hard_limit;
    return (double)limits->max_file_descriptors;
}

MAXIMUM_FUNCTION(memory_emergency, emergency_memory_percent)

static double fds_emergency(const struct ac_limits *limits, const struct rules_subject *subject)
{
    if (subject->fds_hard_limit == 0)
        return INFINITY;
    return (double)subject->fds_hard_limit * limits->emergency_file_descriptor_percent / 100;
}

#define OWN_MAXIMUM_FUNCTION(function, field)                                                      \
    static double function(const struct ac_limits *limits, const struct rules_subject *subject)    \
    {                                                                                              \
        (void)limits;                                                                              \
        return subject->limits && subject->limits->field > 0 ? (double)subject->limits->field      \
                                                             : NAN;                                \
    }

OWN_MAXIMUM_FUNCTION(own_cpu_maximum, max_cpu_cores)
OWN_MAXIMUM_FUNCTION(own_memory_maximum, max_memory_mb)
OWN_MAXIMUM_FUNCTION(own_fds_maximum, max_file_descriptors)

const struct rule rules_table[RULE_COUNT] = {
    [RULE_CPU] = {"cpu_threshold", AC_CPU, "CPU", " %", 1, true, cpu_value, cpu_maximum, NULL},
    [RULE_MEMORY] = {"memory_threshold", AC_MEMORY, "memory", " %", 1, true, memory_value,
        memory_maximum, memory_emergency},
    [RULE_DISK_IO] = {"disk_io_threshold", AC_DISK_IO, "disk I/O", " MiB/s", 1, false, disk_value,
        disk_maximum, NULL},
    [RULE_NETWORK_IO] = {"network_io_threshold", AC_NETWORK_IO, "network I/O", " MiB/s", 1, false,
        network_value, network_maximum, NULL},
    [RULE_FILE_DESCRIPTORS] = {"file_descriptors_threshold", AC_FILE_DESCRIPTORS,
        "the number of open files", "", 0, false, fds_value, fds_maximum, fds_emergency},
    [RULE_AGENT_CPU] = {"agent_cpu_limit", AC_CPU, "CPU", " cores", 2, false, cores_value,
        own_cpu_maximum, NULL},
    [RULE_AGENT_MEMORY] = {"agent_memory_limit", AC_MEMORY, "memory", " MiB", 1, false, mib_value,
        own_memory_maximum, NULL},
    [RULE_AGENT_FILE_DESCRIPTORS] = {"agent_file_descriptors_limit", AC_FILE_DESCRIPTORS,
        "the number of open files", "", 0, false, fds_value, own_fds_maximum, NULL},
};

int rule_find(enum ac_resource resource, const char *name)
{
    for (int i = 0; i < RULE_COUNT; i++) {
        if (rules_table[i].resource == resource && strcmp(rules_table[i].name, name) == 0)
            return i;
    }
    return -1;
}

bool rule_steps(const struct rule *rule, const struct ac_limits *limits,
    const struct rules_subject *subject, struct rule_steps *ret_steps)
{
    double maximum = rule->maximum(limits, subject);
    *ret_steps = (struct rule_steps){.at = {INFINITY, INFINITY, INFINITY, INFINITY}};
    if (isnan(maximum))
        return false;
    double part = rule->in_points ? 1 : maximum / 100;
    ret_steps->at[AC_WARNING] = limits->alert_threshold_percent * part;
    ret_steps->at[AC_CRITICAL] = maximum;
    if (rule->emergency)
        ret_steps->at[AC_EMERGENCY] = rule->emergency(limits, subject);
    ret_steps->margin = limits->clear_margin_percent * part;
    return true;
}

enum ac_severity rule_level(const struct rule_steps *steps, double value)
{
    for (int severity = AC_EMERGENCY; severity > AC_INFO; severity--) {
        if (value >= steps->at[severity])
            return (enum ac_severity)severity;
    }
    return AC_INFO;
}

static const char *step_name(enum ac_severity severity)
{
    switch (severity) {
    case AC_EMERGENCY:
        return "emergency threshold";
    case AC_CRITICAL:
        return "maximum";
    default:
        return "warning threshold";
    }
}

void rule_describe(const struct rule *rule, const struct rule_steps *steps,
    enum ac_severity fallen_from, bool resolved, struct ac_alert *alert)
{
    int n = 0, d = rule->decimals;
    const char *unit = rule->unit;
    char *text = alert->message;
    size_t size = sizeof(alert->message);
    if (alert->agent_id[0])
        n = snprintf(text, size, "agent %s: ", alert->agent_id);
    text += n;
    size -= (size_t)n;
    if (resolved)
        snprintf(text, size, "%s at %.*f%s is back below its %s of %.*f%s", rule->what, d,
            alert->current_value, unit, step_name(alert->severity), d, alert->threshold, unit);
    else if (alert->current_value < alert->threshold)
        snprintf(text, size, "%s at %.*f%s has fallen below its %s; the %s alert ends below %.*f%s",
            rule->what, d, alert->current_value, unit, step_name(fallen_from),
            ac_severity_name(alert->severity), d, alert->threshold - steps->margin, unit);
    else if (fallen_from > alert->severity)
        snprintf(text, size, "%s at %.*f%s has fallen below its %s, and is above its %s of %.*f%s",
            rule->what, d, alert->current_value, unit, step_name(fallen_from),
            step_name(alert->severity), d, alert->threshold, unit);
    else
        snprintf(text, size, "%s at %.*f%s is at or above its %s of %.*f%s", rule->what, d,
            alert->current_value, unit, step_name(alert->severity), d, alert->threshold, unit);
}
