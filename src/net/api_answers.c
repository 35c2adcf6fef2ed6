/* SPDX-License-Identifier: Apache-2.0 */
/* The schemas of what the daemon answers: the components of /openapi.json. */
#include "net/api.h"

#include "base/mem.h"
#include "net/answer.h"

#define SCHEMA(variable, component, text, table)                                                   \
    const struct schema variable = {                                                               \
        .name = (component), .help = (text), .fields = (table), .n_fields = ARRAY_SIZE(table)};

/* A field that only some of the objects have. */
#define ANSWER_MAYBE(field, type, of, text)                                                        \
    {                                                                                              \
        .name = (field), .kind = (type), .help = (text), .object = (of)                            \
    }

static const struct schema_field usage_fields[] = {
    ANSWER_OR_NULL("cpu_percent", FIELD_NUMBER, "0-100 of the machine's capacity"),
    ANSWER_OR_NULL("cpu_cores", FIELD_NUMBER, "1.0 = one core busy"),
    ANSWER_OR_NULL("memory_mb", FIELD_NUMBER, "MiB"),
    ANSWER_OR_NULL("memory_percent", FIELD_NUMBER, "0-100 of the machine's capacity"),
    ANSWER_OR_NULL("disk_io_mbps", FIELD_NUMBER, "MiB/s, read and written"),
    ANSWER_OR_NULL("network_io_mbps", FIELD_NUMBER, "MiB/s, received and sent"),
    ANSWER_OR_NULL("file_descriptors", FIELD_INTEGER, "Open files"),
    ANSWER_OR_NULL("timestamp", FIELD_TIME, "When it was measured or reported"),
};
SCHEMA(schema_usage, "Usage", "What is used; null = unknown", usage_fields)

static const struct schema_field agent_limits_fields[] = {
    ANSWER_OR_NULL("max_cpu_cores", FIELD_NUMBER, "Cores"),
    ANSWER_OR_NULL("max_memory_mb", FIELD_NUMBER, "MiB"),
    ANSWER_OR_NULL("max_execution_time_seconds", FIELD_NUMBER, "Seconds"),
    ANSWER_OR_NULL("max_file_descriptors", FIELD_INTEGER, "Open files"),
};
static SCHEMA(schema_agent_limits, "AgentLimits", "What an agent may use; null = no limit",
    agent_limits_fields)

    static const struct schema_field limits_fields[] = {
        ANSWER("max_cpu_percent", FIELD_NUMBER, "Critical from here, of capacity"),
        ANSWER("max_memory_percent", FIELD_NUMBER, "Critical from here, of capacity"),
        ANSWER("max_disk_io_mbps", FIELD_NUMBER, "MiB/s"),
        ANSWER("max_network_io_mbps", FIELD_NUMBER, "MiB/s"),
        ANSWER("max_file_descriptors", FIELD_INTEGER, "Open files"),
        ANSWER("alert_threshold_percent", FIELD_NUMBER, "Warning from here"),
        ANSWER("emergency_memory_percent", FIELD_NUMBER, "Emergency from here, of capacity"),
        ANSWER("emergency_file_descriptor_percent", FIELD_NUMBER, "Of the hard limit"),
        ANSWER(
            "emergency_stall_percent", FIELD_NUMBER, "Of time in which all tasks wait for memory"),
        ANSWER("clear_margin_percent", FIELD_NUMBER, "Points below a threshold at which it clears"),
        ANSWER("for_seconds", FIELD_NUMBER, "How long a threshold must be exceeded"),
        ANSWER("renotify_seconds", FIELD_NUMBER, "Repeat of unacknowledged alerts; 0 = never"),
};
SCHEMA(schema_limits, "Limits", "Thresholds of alerts", limits_fields)

static const struct schema_field totals_fields[] = {
    ANSWER_OR_NULL("cpu_seconds", FIELD_NUMBER, "CPU time of all its processes ever"),
    ANSWER_OR_NULL("disk_read_mb", FIELD_NUMBER, "MiB"),
    ANSWER_OR_NULL("disk_write_mb", FIELD_NUMBER, "MiB"),
    ANSWER_OR_NULL("network_mb", FIELD_NUMBER, "MiB, received and sent"),
    ANSWER_OR_NULL("memory_peak_mb", FIELD_NUMBER, "MiB"),
    ANSWER_OR_NULL("processes_total", FIELD_INTEGER, "Processes it ever had"),
    ANSWER_OR_NULL("file_descriptors_peak", FIELD_INTEGER, "Open files"),
};
static SCHEMA(schema_totals, "AgentTotals", "What an agent used since it was added", totals_fields)

#define AGENT_FIELDS                                                                               \
    ANSWER("id", FIELD_TEXT, "[A-Za-z0-9_-]{1,128}"),                                              \
        ANSWER_WORD("philosophy", words_philosophy, "How it works"),                               \
        ANSWER_OR_NULL("template", FIELD_TEXT, "Agents of one template are predicted together"),   \
        ANSWER_OR_NULL("command", FIELD_TEXT, "For people"),                                       \
        ANSWER_WORD("state", words_agent_state, "orphans: its root is gone, others live"),         \
        ANSWER_OR_NULL("pid", FIELD_INTEGER, "Root process; null = it only reports"),              \
        ANSWER("uid", FIELD_INTEGER, "Who started it"),                                            \
        ANSWER("labels", FIELD_MAP, "Free key-value pairs"),                                       \
        ANSWER_OF("limits", FIELD_OBJECT, &schema_agent_limits, "Its own limits"),                 \
        ANSWER_OF("usage", FIELD_OBJECT, &schema_usage, "What it uses now"),                       \
        ANSWER_WORD("source", words_source, "Where the usage comes from"),                         \
        ANSWER_OR_NULL(                                                                            \
            "processes", FIELD_INTEGER, "Processes now; null = not seen yet, or it only reports"), \
        ANSWER_OR_NULL("threads", FIELD_INTEGER, "Threads now; as processes"),                     \
        ANSWER_OR_NULL("pss_mb", FIELD_NUMBER,                                                     \
            "Resident MiB with shared pages in parts; null = not read of all processes"),          \
        ANSWER_OR_NULL("pss_age_seconds", FIELD_NUMBER, "Of the oldest reading in pss_mb"),        \
        ANSWER_OR_NULL("gpu_memory_mb", FIELD_NUMBER, "On all GPUs; null = unknown"),              \
        ANSWER_OR_NULL("gpu_percent", FIELD_NUMBER, "Of one GPU; above 100 on several"),           \
        ANSWER_OF("totals", FIELD_OBJECT, &schema_totals, "What it used in all"),                  \
        ANSWER("started", FIELD_TIME, "When it was added"),                                        \
        ANSWER_OR_NULL("ended", FIELD_TIME, "null while it lives"),                                \
        ANSWER("active_alerts", FIELD_INTEGER, "Firing alerts that nobody acknowledged")

    static const struct schema_field agent_fields[] = {AGENT_FIELDS};
SCHEMA(schema_agent, "Agent", "An agent", agent_fields)

static const struct schema_field member_fields[] = {
    ANSWER("pid", FIELD_INTEGER, "Process"),
    ANSWER("ppid", FIELD_INTEGER, "Its parent"),
    ANSWER("name", FIELD_TEXT, "As the process calls itself"),
    ANSWER_OR_NULL("state", FIELD_TEXT, "R, S, D, Z, ... as in /proc"),
    ANSWER_OR_NULL("cpu_seconds", FIELD_NUMBER, "CPU time"),
    ANSWER_OR_NULL("memory_mb", FIELD_NUMBER, "Resident MiB"),
    ANSWER_OR_NULL("threads", FIELD_INTEGER, "Threads"),
    ANSWER_OR_NULL("file_descriptors", FIELD_INTEGER, "Open files"),
};
static SCHEMA(schema_member, "AgentMember", "A process of an agent", member_fields)

    static const struct schema_field agent_detail_fields[] = {
        AGENT_FIELDS,
        ANSWER_OF("members", FIELD_LIST, &schema_member, "Its processes, at most 4096 of them"),
};
SCHEMA(schema_agent_detail, "AgentDetail", "An agent with its processes", agent_detail_fields)

static const struct schema_field agents_fields[] = {
    ANSWER_OF("agents", FIELD_LIST, &schema_agent, "In the order they were added"),
};
SCHEMA(schema_agents, "AgentList", "Agents", agents_fields)

static const struct schema_field alert_fields[] = {
    ANSWER("id", FIELD_TEXT, "Of this alert"),
    ANSWER_OR_NULL("agent_id", FIELD_TEXT, "null: the machine"),
    ANSWER("rule", FIELD_TEXT, "Which rule raised it"),
    ANSWER_WORD("resource", words_resource, "What it is about"),
    ANSWER_WORD("severity", words_severity, "How bad it is now"),
    ANSWER_WORD("state", words_alert_state, "Where it is in its life"),
    ANSWER("acknowledged", FIELD_BOOLEAN, "Somebody knows"),
    ANSWER("message", FIELD_TEXT, "For people"),
    ANSWER_OR_NULL("threshold", FIELD_NUMBER, "In the resource's unit"),
    ANSWER_OR_NULL("current_value", FIELD_NUMBER, "In the resource's unit"),
    ANSWER("started", FIELD_TIME, "When it fired"),
    ANSWER("updated", FIELD_TIME, "Its last transition"),
    ANSWER_OR_NULL("ended", FIELD_TIME, "null while it lives"),
};
SCHEMA(schema_alert, "Alert", "An alert", alert_fields)

static const struct schema_field alerts_fields[] = {
    ANSWER_OF("alerts", FIELD_LIST, &schema_alert, "Newest first"),
};
SCHEMA(schema_alerts, "AlertList", "Alerts", alerts_fields)

static const struct schema_field allocation_fields[] = {
    ANSWER("id", FIELD_TEXT, "Of this allocation"),
    ANSWER("agent_id", FIELD_TEXT, "Who it is for"),
    ANSWER_WORD("policy", words_policy, "As asked for"),
    ANSWER_WORD("status", words_status, "What came of it"),
    ANSWER("cpu_percent", FIELD_NUMBER, "Of the machine's capacity"),
    ANSWER("memory_mb", FIELD_NUMBER, "MiB"),
    ANSWER("execution_time_seconds", FIELD_NUMBER, "Predicted"),
    ANSWER("available_cpu_percent", FIELD_NUMBER, "Before this allocation"),
    ANSWER("available_memory_percent", FIELD_NUMBER, "Before this allocation"),
    ANSWER("available_memory_mb", FIELD_NUMBER, "Before this allocation"),
    ANSWER("confidence", FIELD_NUMBER, "Of the prediction, 0-1"),
    ANSWER_OR_NULL("queue_position", FIELD_INTEGER, "1 = next; null = not queued"),
    ANSWER("created", FIELD_TIME, "When it was asked for"),
    ANSWER_OR_NULL("expires", FIELD_TIME, "null = when the agent ends"),
    ANSWER("explanation", FIELD_TEXT, "Why it is what it is"),
};
SCHEMA(schema_allocation, "Allocation", "What an agent was given", allocation_fields)

static const struct schema_field allocations_fields[] = {
    ANSWER_OF("allocations", FIELD_LIST, &schema_allocation, "In no order"),
};
SCHEMA(schema_allocations, "AllocationList", "Allocations", allocations_fields)

static const struct schema_field prediction_fields[] = {
    ANSWER_WORD("philosophy", words_philosophy, "Asked for"),
    ANSWER_OR_NULL("template", FIELD_TEXT, "Asked for"),
    ANSWER("cpu_percent", FIELD_NUMBER, "Peak, of the machine's capacity"),
    ANSWER("memory_mb", FIELD_NUMBER, "Peak, MiB"),
    ANSWER("execution_time_seconds", FIELD_NUMBER, "Of one run"),
    ANSWER("confidence", FIELD_NUMBER, "0-1"),
    ANSWER_WORD("basis", words_basis, "Whose runs it rests on"),
    ANSWER("runs", FIELD_INTEGER, "How many those are"),
};
SCHEMA(schema_prediction, "Prediction", "What a run will need", prediction_fields)

static const struct schema_field decision_fields[] = {
    ANSWER_WORD("direction", words_direction, "What should be done"),
    ANSWER("from", FIELD_INTEGER, "Agents"),
    ANSWER("to", FIELD_INTEGER, "Agents"),
    ANSWER("reason", FIELD_TEXT, "For people"),
};
static SCHEMA(schema_decision, "ScaleDecision", "A scaling decision", decision_fields)

    static const struct schema_field pool_fields[] = {
        ANSWER_WORD("philosophy", words_philosophy, "Of its agents"),
        ANSWER("scale", FIELD_INTEGER, "As recorded"),
        ANSWER("agents", FIELD_INTEGER, "Running now"),
        ANSWER_OR_NULL("utilization_percent", FIELD_NUMBER, "Of what its agents may use"),
        ANSWER("cooldown_seconds", FIELD_NUMBER, "Left; 0 = none"),
        ANSWER_OF("decision", FIELD_OBJECT, &schema_decision, "At the last tick"),
};
SCHEMA(schema_pool, "Pool", "The agents of one philosophy", pool_fields)

static const struct schema_field pools_fields[] = {
    ANSWER_OF("pools", FIELD_LIST, &schema_pool, "One per philosophy"),
};
SCHEMA(schema_pools, "PoolList", "Pools", pools_fields)

static const struct schema_field scaled_fields[] = {
    ANSWER_WORD("philosophy", words_philosophy, "Of the pool"),
    ANSWER("from", FIELD_INTEGER, "Agents"),
    ANSWER("to", FIELD_INTEGER, "Agents"),
};
static SCHEMA(schema_scaled, "ScaleChange", "A change of a pool's scale", scaled_fields)

    static const struct schema_field event_fields[] = {
        ANSWER("sequence", FIELD_INTEGER, "1, 2, ... since the daemon's start"),
        ANSWER("time", FIELD_TIME, "When it happened"),
        ANSWER_WORD("kind", words_kind, "What happened"),
        ANSWER_OR_NULL("agent_id", FIELD_TEXT, "null: no agent"),
        ANSWER("text", FIELD_TEXT, "For people"),
        ANSWER_MAYBE("alert", FIELD_OBJECT, &schema_alert, "Of kind alert"),
        ANSWER_MAYBE("allocation", FIELD_OBJECT, &schema_allocation, "Of kind allocation"),
        ANSWER_MAYBE("scale", FIELD_OBJECT, &schema_scaled, "Of kind scale"),
        ANSWER_MAYBE("lost", FIELD_INTEGER, NULL, "Of kind lost: events missing before this one"),
};
SCHEMA(schema_event, "Event", "Something that happened", event_fields)

static const struct schema_field discovered_fields[] = {
    ANSWER("id", FIELD_TEXT, "That the agent would have"),
    ANSWER("rule", FIELD_TEXT, "That found it"),
    ANSWER_WORD("unit", words_unit, "The process with what it starts, or its whole cgroup"),
    ANSWER("pid", FIELD_INTEGER, "Of its first process"),
    ANSWER("uid", FIELD_INTEGER, "Whose it is"),
    ANSWER_WORD("philosophy", words_philosophy, "That it would have"),
    ANSWER_OR_NULL("template", FIELD_TEXT, "That it would have; null: none"),
    ANSWER_OR_NULL("command", FIELD_TEXT, "null: not known"),
    ANSWER_OR_NULL("cgroup", FIELD_TEXT, "null: a tree of processes"),
    ANSWER("processes", FIELD_INTEGER, "That would be the agent's"),
    ANSWER("managed", FIELD_BOOLEAN, "Whether the process is an agent's already"),
    ANSWER_OR_NULL("agent_id", FIELD_TEXT, "Whose; null: nobody's, or another user's"),
};
static SCHEMA(schema_discovered, "DiscoveredAgent", "What would be an agent", discovered_fields)

    static const struct schema_field discovery_fields[] = {
        ANSWER_OF("agents", FIELD_LIST, &schema_discovered, "Own ones; all for the privileged"),
        ANSWER_OR_NULL("looked_at", FIELD_INTEGER, "Processes; null: not told to this user"),
        ANSWER_OR_NULL(
            "environment_unreadable", FIELD_INTEGER, "Processes that may name an agent unseen"),
        ANSWER_OR_NULL("beyond_caps", FIELD_INTEGER, "Matches that are left out"),
};
SCHEMA(schema_discovery, "Discovery", "What rules would make agents now", discovery_fields)

static const struct schema_field capacity_fields[] = {
    ANSWER_OR_NULL("cpu_cores", FIELD_NUMBER, "Cores that the daemon and its agents may use"),
    ANSWER_OR_NULL("memory_mb", FIELD_NUMBER, "MiB"),
};
static SCHEMA(schema_capacity, "Capacity", "What there is", capacity_fields)

    static const struct schema_field available_fields[] = {
        ANSWER_OR_NULL("cpu_percent", FIELD_NUMBER, "Of capacity, free to give away"),
        ANSWER_OR_NULL("memory_mb", FIELD_NUMBER, "MiB free to give away"),
};
static SCHEMA(schema_available, "Available", "What is left to allocate", available_fields)

    static const struct schema_field tick_fields[] = {
        ANSWER("interval_seconds", FIELD_NUMBER, "Between two samples"),
        ANSWER("count", FIELD_INTEGER, "Since the start"),
        ANSWER("missed", FIELD_INTEGER, "Deadlines missed"),
        ANSWER("last_ms", FIELD_NUMBER, "Duration of the last one"),
        ANSWER("max_ms", FIELD_NUMBER, "Of the longest"),
};
static SCHEMA(schema_tick, "Tick", "The pass over all agents", tick_fields)

    static const struct schema_field daemon_fields[] = {
        ANSWER("pid", FIELD_INTEGER, "Of the daemon"),
        ANSWER("uptime_seconds", FIELD_NUMBER, "Since its start"),
        ANSWER("cpu_seconds", FIELD_NUMBER, "Its own CPU time"),
        ANSWER("rss_mb", FIELD_NUMBER, "Its own memory, MiB"),
};
static SCHEMA(schema_daemon, "Daemon", "The daemon itself", daemon_fields)

    static const struct schema_field system_fields[] = {
        ANSWER_OR_NULL("timestamp", FIELD_TIME, "Of the last sample"),
        ANSWER("hostname", FIELD_TEXT, "Of the machine"),
        ANSWER("version", FIELD_TEXT, "Of the daemon"),
        ANSWER_OF("current_usage", FIELD_OBJECT, &schema_usage, "Of the machine"),
        ANSWER_OF("limits", FIELD_OBJECT, &schema_limits, "In force"),
        ANSWER_OF("capacity", FIELD_OBJECT, &schema_capacity, "Of the machine or container"),
        ANSWER_OF("available", FIELD_OBJECT, &schema_available, "Before headroom"),
        ANSWER("active_agents", FIELD_INTEGER, "Agents that live"),
        ANSWER("active_alerts", FIELD_INTEGER, "Firing, not acknowledged"),
        ANSWER("collector", FIELD_TEXT, "How processes are measured"),
        ANSWER("state", FIELD_TEXT, "Where state is kept; \"none\" = in memory"),
        ANSWER_OF("tick", FIELD_OBJECT, &schema_tick, "The daemon's rhythm"),
        ANSWER_OF("daemon", FIELD_OBJECT, &schema_daemon, "What the daemon itself uses"),
};
SCHEMA(schema_system, "System", "The machine and the daemon", system_fields)

static const struct schema_field point_fields[] = {
    ANSWER("time", FIELD_TIME, "Where the point starts"),
    ANSWER("samples", FIELD_INTEGER, "How many it sums up"),
    ANSWER_OF("mean", FIELD_OBJECT, &schema_usage, "Mean of each field"),
    ANSWER_OF("min", FIELD_OBJECT, &schema_usage, "Minimum of each field"),
    ANSWER_OF("max", FIELD_OBJECT, &schema_usage, "Maximum of each field"),
};
static SCHEMA(schema_point, "HistoryPoint", "Usage over one step", point_fields)

    static const char *const words_history[] = {"recent", "minutes", NULL};
static const struct schema_field history_fields[] = {
    ANSWER_OR_NULL("subject", FIELD_TEXT, "Agent id; null: the machine"),
    ANSWER("since", FIELD_TIME, "As asked for"),
    ANSWER("until", FIELD_TIME, "As asked for"),
    ANSWER("step_seconds", FIELD_NUMBER, "Of a point; 0 = each sample is one"),
    ANSWER_WORD("source", words_history, "recent: finer than a minute; minutes: a minute or more"),
    ANSWER_OF("points", FIELD_LIST, &schema_point, "Oldest first; gaps have none"),
    ANSWER_OR_NULL("error", FIELD_TEXT, "Why the answer ends early; null: it does not"),
};
SCHEMA(schema_history, "History", "Usage over time", history_fields)

static const struct schema_field stopped_fields[] = {
    ANSWER("signalled", FIELD_INTEGER, "Processes that got the signal"),
};
SCHEMA(schema_stopped, "AgentStopped", "What stopping did so far", stopped_fields)

static const struct schema_field health_fields[] = {
    ANSWER("status", FIELD_TEXT, "\"ok\", or what is wrong"),
};
SCHEMA(schema_health, "Health", "The daemon's health", health_fields)

static const struct schema_field problem_fields[] = {
    ANSWER("type", FIELD_TEXT, "about:blank"),
    ANSWER("title", FIELD_TEXT, "Of the status"),
    ANSWER("status", FIELD_INTEGER, "HTTP status"),
    ANSWER("detail", FIELD_TEXT, "What was wrong, and what to do"),
    ANSWER_MAYBE("field", FIELD_TEXT, NULL, "The field or parameter it is about"),
};
SCHEMA(schema_problem, "Problem", "An error (RFC 9457)", problem_fields)
