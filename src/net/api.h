/* SPDX-License-Identifier: Apache-2.0 */
/* The schemas of docs/http-api.md, and the C structs that requests are decoded into. */
#ifndef AC_NET_API_H
#define AC_NET_API_H

#include "model/agent.h"
#include "net/schema.h"

/* ---- Bodies */

struct limits_body {
    uint32_t given;
    double max_cpu_cores;
    double max_memory_mb;
    double max_execution_time_seconds;
    uint64_t max_file_descriptors;
};

struct agent_body {
    uint32_t given;
    unsigned philosophy; /* enum ac_philosophy */
    uint64_t pid;
    bool self;
    char agent_template[AGENT_TEMPLATE_MAX + 1];
    char command[AGENT_COMMAND_MAX + 1];
    struct limits_body limits;
    const json_t *labels; /* NULL = none */
};

struct stop_body {
    uint32_t given;
    unsigned signal; /* index into stop_signals */
    double grace_seconds;
};
enum stop_field { STOP_SIGNAL, STOP_GRACE };
extern const int stop_signals[];

/* Bits 0-6 of .given are those of enum ac_usage_field. */
struct usage_body {
    uint32_t given;
    double cpu_percent;
    double cpu_cores;
    double memory_mb;
    double memory_percent;
    double disk_io_mbps;
    double network_io_mbps;
    uint64_t file_descriptors;
    int64_t timestamp_ns;
};

struct allocation_body {
    uint32_t given;
    char agent_id[AC_AGENT_ID_MAX + 1];
    unsigned philosophy;
    char agent_template[AGENT_TEMPLATE_MAX + 1];
    struct limits_body limits;
    unsigned policy; /* enum ac_allocation_policy */
};
enum allocation_field {
    ALLOCATION_AGENT_ID,
    ALLOCATION_PHILOSOPHY,
    ALLOCATION_TEMPLATE,
    ALLOCATION_LIMITS,
    ALLOCATION_POLICY
};

struct pool_body {
    uint32_t given;
    uint64_t scale;
};

/* ---- Queries */

struct span_query {
    uint32_t given;
    int64_t since_ns;
    int64_t until_ns;
    uint64_t step_ns;
    uint64_t limit;
};
enum history_field { HISTORY_SINCE, HISTORY_UNTIL, HISTORY_STEP, HISTORY_LIMIT };

/* What the statistics of the history are asked for; each route knows a part of it. */
struct stats_query {
    uint32_t given;
    int64_t since_ns;
    int64_t until_ns;
    struct query_values agents; /* each "a,b,c"; "system" = the machine */
    unsigned philosophy;        /* enum ac_philosophy */
    struct query_values labels;
    uint64_t step_ns;
    uint64_t limit;              /* points, rows */
    struct query_values metrics; /* each "cpu,memory" */
    unsigned metric;             /* enum ac_resource */
    unsigned aggregate;          /* index into the words of the route */
    double q;
    char by[AGENT_LABEL_KEY_MAX + 8]; /* "agent", "philosophy", "label:KEY" */
};
/* The first five fields of all four schemas. */
enum stats_field { STATS_SINCE, STATS_UNTIL, STATS_AGENTS, STATS_PHILOSOPHY, STATS_LABEL };
enum range_field { RANGE_STEP = 5, RANGE_LIMIT, RANGE_METRICS, RANGE_AGGREGATE };
enum top_field { TOP_METRIC = 5, TOP_AGGREGATE, TOP_N };
enum quantile_field { QUANTILE_METRIC = 5, QUANTILE_Q };
enum usage_by_field { USAGE_BY = 5, USAGE_LIMIT };
enum range_aggregate { RANGE_MEAN, RANGE_MIN, RANGE_MAX };

struct agents_query {
    uint32_t given;
    unsigned state;      /* enum agent_state */
    unsigned philosophy; /* enum ac_philosophy */
    struct query_values labels;
};
enum agents_field { AGENTS_STATE, AGENTS_PHILOSOPHY, AGENTS_LABEL };

enum alerts_state { ALERTS_ACTIVE, ALERTS_LIVE, ALERTS_ALL };
struct alerts_query {
    uint32_t given;
    unsigned severity; /* enum ac_severity */
    char agent[AC_AGENT_ID_MAX + 1];
    unsigned state; /* enum alerts_state */
    uint64_t limit;
    int64_t before_ns;
};
enum alerts_field { ALERTS_SEVERITY, ALERTS_AGENT, ALERTS_STATE, ALERTS_LIMIT, ALERTS_BEFORE };

struct prediction_query {
    uint32_t given;
    char agent_template[AGENT_TEMPLATE_MAX + 1];
};

struct events_query {
    uint32_t given;
    struct query_values kinds;
    char agent[AC_AGENT_ID_MAX + 1];
};
enum events_field { EVENTS_KIND, EVENTS_AGENT };

struct discovery_query {
    uint32_t given;
    struct query_values presets;
};

extern const struct schema schema_agent_body, schema_stop_body, schema_usage_body,
    schema_allocation_body, schema_pool_body;
extern const struct schema schema_history_query, schema_agents_query, schema_alerts_query,
    schema_prediction_query, schema_events_query, schema_discovery_query;
extern const struct schema schema_range_query, schema_top_query, schema_quantile_query,
    schema_totals_query;

/* ---- Answers */

extern const struct schema schema_usage, schema_limits, schema_agent, schema_agent_detail,
    schema_agents, schema_alert, schema_alerts, schema_allocation, schema_allocations,
    schema_prediction, schema_pool, schema_pools, schema_event, schema_system, schema_history,
    schema_stopped, schema_health, schema_problem, schema_discovery;
extern const struct schema schema_range, schema_top, schema_quantile, schema_usage_totals,
    schema_verification;

extern const char *const words_range_aggregate[], *const words_top_aggregate[];

/* The words of the vocabulary, in the order of their enums; NULL-terminated. */
extern const char *const words_preset[], *const words_unit[];
extern const char *const words_philosophy[],
    *const words_severity[],
        *const words_resource[],
            *const words_alert_state[],
                *const words_agent_state[],
                    *const words_policy[], *const words_status[], *const words_basis[],
                                                                      *const words_kind[],
                                                                          *const words_direction[],
                                                                              *const words_source[];

#endif
