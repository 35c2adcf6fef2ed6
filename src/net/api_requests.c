/* SPDX-License-Identifier: Apache-2.0 */
/* The schemas of what clients send. */
#include "net/api.h"

#include <signal.h>

#include "base/mem.h"

const char *const words_philosophy[] = {"react", "cot", "multi_agent", "autonomous", NULL};
const char *const words_severity[] = {"info", "warning", "critical", "emergency", NULL};
const char *const words_resource[] = {
    "cpu", "memory", "disk_io", "network_io", "file_descriptors", NULL};
const char *const words_alert_state[] = {"pending", "firing", "resolved", NULL};
const char *const words_agent_state[] = {"running", "exited", "orphans", NULL};
const char *const words_policy[] = {"recommend", "strict", "queue", NULL};
const char *const words_status[] = {"granted", "refused", "queued", NULL};
const char *const words_basis[] = {"default", "all", "philosophy", "template", NULL};
const char *const words_kind[] = {"alert", "agent_added", "agent_exited", "agent_orphans",
    "agent_removed", "allocation", "scale", "config", "lost", NULL};
const char *const words_preset[] = {
    "docker", "podman", "kubernetes", "systemd-slice", "coding-agents", "environment", NULL};
const char *const words_unit[] = {"auto", "tree", "cgroup", NULL};
const char *const words_direction[] = {"hold", "up", "down", NULL};
const char *const words_source[] = {"none", "measured", "reported", "both", NULL};

static const char *const words_signal[] = {
    "TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2", NULL};
const int stop_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGKILL, SIGUSR1, SIGUSR2};

static const char *const words_alerts[] = {"active", "live", "all", NULL};

#define SCHEMA(variable, component, text, type, table)                                             \
    const struct schema variable = {.name = (component),                                           \
        .help = (text),                                                                            \
        .fields = (table),                                                                         \
        .n_fields = ARRAY_SIZE(table),                                                             \
        .size = sizeof(type)};

#define AT(type, member) .offset = offsetof(type, member)
#define TEXT_AT(type, member)                                                                      \
    .offset = offsetof(type, member), .capacity = sizeof(((type *)0)->member)

static const struct schema_field limits_fields[] = {
    {.name = "max_cpu_cores",
        .kind = FIELD_NUMBER,
        .flags = FIELD_NULLABLE,
        .help = "Cores; null or 0 = no limit",
        .maximum = 1e6,
        AT(struct limits_body, max_cpu_cores)},
    {.name = "max_memory_mb",
        .kind = FIELD_NUMBER,
        .flags = FIELD_NULLABLE,
        .help = "MiB; null or 0 = no limit",
        .maximum = 1e9,
        AT(struct limits_body, max_memory_mb)},
    {.name = "max_execution_time_seconds",
        .kind = FIELD_NUMBER,
        .flags = FIELD_NULLABLE,
        .help = "Seconds since it was added, suspended time included; null or 0 = no limit",
        .maximum = 1e9,
        AT(struct limits_body, max_execution_time_seconds)},
    {.name = "max_file_descriptors",
        .kind = FIELD_INTEGER,
        .flags = FIELD_NULLABLE,
        .help = "Open files; null or 0 = no limit",
        .maximum = 1e9,
        AT(struct limits_body, max_file_descriptors)},
};
static SCHEMA(schema_limits_body, "AgentLimitsInput", "What an agent may use; null = no limit",
    struct limits_body, limits_fields)

    static const struct schema_field agent_fields[] = {
        {.name = "philosophy",
            .kind = FIELD_WORD,
            .help = "Default: react",
            .words = words_philosophy,
            AT(struct agent_body, philosophy)},
        {.name = "pid",
            .kind = FIELD_INTEGER,
            .flags = FIELD_NULLABLE,
            .help = "The root of its process tree, by the daemon's numbers; null = it reports its "
                    "usage itself",
            .minimum = 1,
            .maximum = 4194304,
            AT(struct agent_body, pid)},
        {.name = "self",
            .kind = FIELD_BOOLEAN,
            .help = "The process that asks is the root, and pid is what it calls itself",
            AT(struct agent_body, self)},
        {.name = "template",
            .kind = FIELD_TEXT,
            .flags = FIELD_NULLABLE,
            .help = "Agents of one template are predicted together",
            TEXT_AT(struct agent_body, agent_template)},
        {.name = "command",
            .kind = FIELD_TEXT,
            .flags = FIELD_NULLABLE,
            .help = "For people",
            TEXT_AT(struct agent_body, command)},
        {.name = "limits",
            .kind = FIELD_OBJECT,
            .flags = FIELD_NULLABLE,
            .help = "What it may use; alerts fire at these",
            .object = &schema_limits_body,
            AT(struct agent_body, limits)},
        {.name = "labels",
            .kind = FIELD_MAP,
            .flags = FIELD_NULLABLE,
            .help = "Keys [A-Za-z_][A-Za-z0-9_.-]{0,62}; 512 bytes in all",
            AT(struct agent_body, labels)},
};
SCHEMA(schema_agent_body, "AgentRegistration", "A new agent; every field is optional",
    struct agent_body, agent_fields)

static const struct schema_field stop_fields[] = {
    {.name = "signal",
        .kind = FIELD_WORD,
        .help = "Default: TERM",
        .words = words_signal,
        AT(struct stop_body, signal)},
    {.name = "grace_seconds",
        .kind = FIELD_NUMBER,
        .help = "Then what is left gets KILL. Default: 10",
        .maximum = 3600,
        AT(struct stop_body, grace_seconds)},
};
SCHEMA(schema_stop_body, "AgentStop", "How to stop an agent", struct stop_body, stop_fields)

#define USAGE_NUMBER(member, text, most)                                                           \
    {                                                                                              \
        .name = #member, .kind = FIELD_NUMBER, .flags = FIELD_NULLABLE, .help = (text),            \
        .maximum = (most), AT(struct usage_body, member)                                           \
    }
static const struct schema_field usage_fields[] = {
    USAGE_NUMBER(cpu_percent, "0-100 of the machine's capacity", 100.5),
    USAGE_NUMBER(cpu_cores, "1.0 = one core busy", 1e6),
    USAGE_NUMBER(memory_mb, "MiB", 1e9),
    USAGE_NUMBER(memory_percent, "0-100 of the machine's capacity", 100.5),
    USAGE_NUMBER(disk_io_mbps, "MiB/s, read and written", 1e9),
    USAGE_NUMBER(network_io_mbps, "MiB/s, received and sent", 1e9),
    {.name = "file_descriptors",
        .kind = FIELD_INTEGER,
        .flags = FIELD_NULLABLE,
        .help = "Open files",
        .maximum = 1e12,
        AT(struct usage_body, file_descriptors)},
    {.name = "timestamp",
        .kind = FIELD_TIME,
        .flags = FIELD_NULLABLE,
        .help = "Default: now",
        AT(struct usage_body, timestamp_ns)},
};
SCHEMA(schema_usage_body, "UsageReport",
    "What an agent says it uses; what is missing or null is unknown", struct usage_body,
    usage_fields)

static const struct schema_field allocation_fields[] = {
    {.name = "agent_id",
        .kind = FIELD_TEXT,
        .flags = FIELD_REQUIRED,
        .help = "[A-Za-z0-9_-]{1,128}",
        TEXT_AT(struct allocation_body, agent_id)},
    {.name = "philosophy",
        .kind = FIELD_WORD,
        .help = "Default: the agent's, else react",
        .words = words_philosophy,
        AT(struct allocation_body, philosophy)},
    {.name = "template",
        .kind = FIELD_TEXT,
        .flags = FIELD_NULLABLE,
        .help = "Default: the agent's",
        TEXT_AT(struct allocation_body, agent_template)},
    {.name = "limits",
        .kind = FIELD_OBJECT,
        .flags = FIELD_NULLABLE,
        .help = "Caps what it gets. Default: the agent's",
        .object = &schema_limits_body,
        AT(struct allocation_body, limits)},
    {.name = "policy",
        .kind = FIELD_WORD,
        .help = "Default: allocation.policy of the configuration",
        .words = words_policy,
        AT(struct allocation_body, policy)},
};
SCHEMA(schema_allocation_body, "AllocationRequest", "A request for resources",
    struct allocation_body, allocation_fields)

static const struct schema_field pool_fields[] = {
    {.name = "scale",
        .kind = FIELD_INTEGER,
        .flags = FIELD_REQUIRED,
        .help = "How many agents the pool has from now on",
        .minimum = 1,
        .maximum = 1e6,
        AT(struct pool_body, scale)},
};
SCHEMA(
    schema_pool_body, "PoolScale", "A scaling action that was taken", struct pool_body, pool_fields)

/* ---- Queries */

static const struct schema_field history_fields[] = {
    {.name = "since",
        .kind = FIELD_TIME,
        .help = "A time, Unix seconds, or a duration back from now. Default: 1h",
        AT(struct span_query, since_ns)},
    {.name = "until",
        .kind = FIELD_TIME,
        .help = "As since. Default: now",
        AT(struct span_query, until_ns)},
    {.name = "step",
        .kind = FIELD_DURATION,
        .help = "Length of a point; 0 = the finest there is. Default: 0",
        AT(struct span_query, step_ns)},
    {.name = "limit",
        .kind = FIELD_INTEGER,
        .help = "Points at most: the step grows until they fit. Default: 10000",
        .minimum = 1,
        .maximum = 100000,
        AT(struct span_query, limit)},
};
SCHEMA(schema_history_query, "HistoryQuery", "", struct span_query, history_fields)

static const struct schema_field agents_fields[] = {
    {.name = "state",
        .kind = FIELD_WORD,
        .help = "Only agents in this state",
        .words = words_agent_state,
        AT(struct agents_query, state)},
    {.name = "philosophy",
        .kind = FIELD_WORD,
        .help = "Only agents of this philosophy",
        .words = words_philosophy,
        AT(struct agents_query, philosophy)},
    {.name = "label",
        .kind = FIELD_MAP,
        .help = "k=v: only agents with this label; all where given several times",
        AT(struct agents_query, labels)},
};
SCHEMA(schema_agents_query, "AgentsQuery", "", struct agents_query, agents_fields)

static const struct schema_field alerts_fields[] = {
    {.name = "severity",
        .kind = FIELD_WORD,
        .help = "Only alerts of this severity",
        .words = words_severity,
        AT(struct alerts_query, severity)},
    {.name = "agent",
        .kind = FIELD_TEXT,
        .help = "Only alerts of this agent; \"system\" = of the machine",
        TEXT_AT(struct alerts_query, agent)},
    {.name = "state",
        .kind = FIELD_WORD,
        .help = "active: firing and not acknowledged (default); live: with acknowledged; all: "
                "with resolved",
        .words = words_alerts,
        AT(struct alerts_query, state)},
    {.name = "limit",
        .kind = FIELD_INTEGER,
        .help = "Default: 1000",
        .minimum = 1,
        .maximum = 1000,
        AT(struct alerts_query, limit)},
    {.name = "before",
        .kind = FIELD_TIME,
        .help = "Only alerts that started before this time: for the next page",
        AT(struct alerts_query, before_ns)},
};
SCHEMA(schema_alerts_query, "AlertsQuery", "", struct alerts_query, alerts_fields)

static const struct schema_field prediction_fields[] = {
    {.name = "template",
        .kind = FIELD_TEXT,
        .help = "Predict for this template",
        TEXT_AT(struct prediction_query, agent_template)},
};
SCHEMA(schema_prediction_query, "PredictionQuery", "", struct prediction_query, prediction_fields)

static const struct schema_field events_fields[] = {
    {.name = "kind",
        .kind = FIELD_MAP,
        .help = "Only events of this kind; may be given several times",
        .words = words_kind,
        AT(struct events_query, kinds)},
    {.name = "agent",
        .kind = FIELD_TEXT,
        .help = "Only events of this agent",
        TEXT_AT(struct events_query, agent)},
};
SCHEMA(schema_events_query, "EventsQuery", "", struct events_query, events_fields)

static const struct schema_field discovery_fields[] = {
    {.name = "preset",
        .kind = FIELD_MAP,
        .help = "This set of rules; may be given several times. Default: discovery.rules of the "
                "configuration, all presets where it has none",
        .words = words_preset,
        AT(struct discovery_query, presets)},
};
SCHEMA(schema_discovery_query, "DiscoveryQuery", "", struct discovery_query, discovery_fields)
