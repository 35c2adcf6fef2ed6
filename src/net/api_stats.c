/* SPDX-License-Identifier: Apache-2.0 */
/* The schemas of the statistics of the history: what is asked, and what is answered. */
#include "net/api.h"

#include "base/mem.h"
#include "net/answer.h"

const char *const words_range_aggregate[] = {"mean", "min", "max", NULL};
const char *const words_top_aggregate[] = {"mean", "max", "sum", NULL};

#define SCHEMA(variable, component, text, type, table)                                             \
    const struct schema variable = {.name = (component),                                           \
        .help = (text),                                                                            \
        .fields = (table),                                                                         \
        .n_fields = ARRAY_SIZE(table),                                                             \
        .size = sizeof(type)};

#define AT(member) .offset = offsetof(struct stats_query, member)

/* ---- Queries */

#define COMMON_FIELDS                                                                              \
    {.name = "since",                                                                              \
        .kind = FIELD_TIME,                                                                        \
        .help = "A time, Unix seconds, or a duration back from now. Default: 1h",                  \
        AT(since_ns)},                                                                             \
        {.name = "until", .kind = FIELD_TIME, .help = "As since. Default: now", AT(until_ns)},     \
        {.name = "agents",                                                                         \
            .kind = FIELD_MAP,                                                                     \
            .help = "a,b,c: of these agents; system = the machine; may be given several times",    \
            AT(agents)},                                                                           \
        {.name = "philosophy",                                                                     \
            .kind = FIELD_WORD,                                                                    \
            .help = "Only agents of this philosophy",                                              \
            .words = words_philosophy,                                                             \
            AT(philosophy)},                                                                       \
    {                                                                                              \
        .name = "label", .kind = FIELD_MAP,                                                        \
        .help = "k=v or k: only agents with this label; all where given several times", AT(labels) \
    }

#define METRIC_FIELD                                                                               \
    {                                                                                              \
        .name = "metric", .kind = FIELD_WORD, .help = "Default: cpu", .words = words_resource,     \
        AT(metric)                                                                                 \
    }

static const struct schema_field range_query_fields[] = {
    COMMON_FIELDS,
    {.name = "step",
        .kind = FIELD_DURATION,
        .help = "Length of a point; 0 = the finest there is. Default: 0",
        AT(step_ns)},
    {.name = "limit",
        .kind = FIELD_INTEGER,
        .help = "Points of a series at most; the rest is left out. Default: 10000",
        .minimum = 1,
        .maximum = 100000,
        AT(limit)},
    {.name = "metrics",
        .kind = FIELD_MAP,
        .help = "cpu,memory,disk_io,network_io,file_descriptors: only these. Default: all",
        AT(metrics)},
    {.name = "aggregate",
        .kind = FIELD_WORD,
        .help = "Of the samples of a point. Default: mean",
        .words = words_range_aggregate,
        AT(aggregate)},
};
SCHEMA(schema_range_query, "RangeQuery", "", struct stats_query, range_query_fields)

static const struct schema_field top_query_fields[] = {
    COMMON_FIELDS,
    METRIC_FIELD,
    {.name = "aggregate",
        .kind = FIELD_WORD,
        .help = "Over the span; sum: unit times seconds. Default: mean",
        .words = words_top_aggregate,
        AT(aggregate)},
    {.name = "n",
        .kind = FIELD_INTEGER,
        .help = "How many. Default: 10",
        .minimum = 1,
        .maximum = 1000,
        AT(limit)},
};
SCHEMA(schema_top_query, "TopQuery", "", struct stats_query, top_query_fields)

static const struct schema_field quantile_query_fields[] = {
    COMMON_FIELDS,
    METRIC_FIELD,
    {.name = "q", .kind = FIELD_NUMBER, .help = "0 to 1. Default: 0.95", .maximum = 1, AT(q)},
};
SCHEMA(schema_quantile_query, "QuantileQuery", "", struct stats_query, quantile_query_fields)

static const struct schema_field totals_query_fields[] = {
    COMMON_FIELDS,
    {.name = "by",
        .kind = FIELD_TEXT,
        .help = "agent, philosophy or label:KEY. Default: agent",
        AT(by),
        .capacity = sizeof(((struct stats_query *)0)->by)},
    {.name = "limit",
        .kind = FIELD_INTEGER,
        .help = "Rows at most, those with the most CPU time first. Default: 1000",
        .minimum = 1,
        .maximum = 10000,
        AT(limit)},
};
SCHEMA(schema_totals_query, "UsageTotalsQuery", "", struct stats_query, totals_query_fields)

/* ---- Answers: .size stays 0, as nothing is decoded into them */

#undef SCHEMA
#define SCHEMA(variable, component, text, table)                                                   \
    const struct schema variable = {                                                               \
        .name = (component), .help = (text), .fields = (table), .n_fields = ARRAY_SIZE(table)};

#define SPAN_FIELDS                                                                                \
    ANSWER("since", FIELD_TIME, "As asked for"), ANSWER("until", FIELD_TIME, "As asked for")

#define INFO_FIELDS                                                                                \
    ANSWER("resolution_seconds", FIELD_NUMBER, "Of the coarsest data in it; 0 = single samples"),  \
        ANSWER("gaps", FIELD_INTEGER, "Spans of more than three ticks without a sample"),          \
        ANSWER("gap_seconds", FIELD_NUMBER, "How long they are together"),                         \
        ANSWER("damaged", FIELD_INTEGER, "Parts that could not be read and are missing"),          \
        ANSWER("error_bound", FIELD_NUMBER, "Relative error at most; 0 = exact"),                  \
        ANSWER("limited", FIELD_BOOLEAN, "There is more than the limit lets through")

static const struct schema_field used_fields[] = {
    ANSWER_OR_NULL("cpu_seconds", FIELD_NUMBER, "CPU time"),
    ANSWER_OR_NULL("disk_bytes", FIELD_NUMBER, "Read and written"),
    ANSWER_OR_NULL("network_bytes", FIELD_NUMBER, "Received and sent"),
};
static SCHEMA(schema_used, "Used", "What was used in one step, by the exact totals", used_fields)

    static const struct schema_field range_point_fields[] = {
        ANSWER("time", FIELD_TIME, "Where the point starts"),
        ANSWER("step_seconds", FIELD_NUMBER, "How long it is; 0 = a single sample"),
        ANSWER("samples", FIELD_INTEGER, "How many it sums up"),
        ANSWER_OF("usage", FIELD_OBJECT, &schema_usage, "The aggregate; null where not asked for"),
        ANSWER_OF("used", FIELD_OBJECT, &schema_used, "In the step; null where not asked for"),
};
static SCHEMA(schema_range_point, "RangePoint", "Usage over one step", range_point_fields)

    static const struct schema_field series_fields[] = {
        ANSWER_OR_NULL("agent_id", FIELD_TEXT, "null: the machine"),
        INFO_FIELDS,
        ANSWER_OF("points", FIELD_LIST, &schema_range_point, "Oldest first; gaps have none"),
};
static SCHEMA(schema_series, "RangeSeries", "One subject over time", series_fields)

    static const struct schema_field range_fields[] = {
        SPAN_FIELDS,
        ANSWER_WORD("aggregate", words_range_aggregate, "As asked for"),
        ANSWER_OF("series", FIELD_LIST, &schema_series, "In the order of the question"),
        ANSWER_OR_NULL("error", FIELD_TEXT, "Why the answer ends early; null: it does not"),
};
SCHEMA(schema_range, "Range", "Usage of several subjects over time", range_fields)

static const struct schema_field top_row_fields[] = {
    ANSWER("agent_id", FIELD_TEXT, "Who"),
    ANSWER("value", FIELD_NUMBER, "The aggregate, in the unit of the answer"),
};
static SCHEMA(schema_top_row, "TopRow", "One of the largest", top_row_fields)

    static const struct schema_field top_fields[] = {
        SPAN_FIELDS,
        ANSWER_WORD("metric", words_resource, "As asked for"),
        ANSWER_WORD("aggregate", words_top_aggregate, "As asked for"),
        ANSWER("unit", FIELD_TEXT, "Of the values; a sum is in it times seconds"),
        INFO_FIELDS,
        ANSWER_OF("top", FIELD_LIST, &schema_top_row, "The largest first"),
};
SCHEMA(schema_top, "Top", "Who used most", top_fields)

static const struct schema_field quantile_fields[] = {
    SPAN_FIELDS,
    ANSWER_WORD("metric", words_resource, "As asked for"),
    ANSWER("q", FIELD_NUMBER, "As asked for"),
    ANSWER("unit", FIELD_TEXT, "Of the value"),
    ANSWER_OR_NULL("value", FIELD_NUMBER, "null: no sample in the span"),
    ANSWER("exact", FIELD_BOOLEAN, "From the samples themselves, not from sketches"),
    ANSWER("subjects", FIELD_INTEGER, "How many were looked at"),
    INFO_FIELDS,
};
SCHEMA(schema_quantile, "Quantile", "A quantile over all samples of a span", quantile_fields)

#define TOTAL_FIELDS                                                                               \
    ANSWER("agents", FIELD_INTEGER, "How many used something"),                                    \
        ANSWER("samples", FIELD_INTEGER, "How many it sums up"),                                   \
        ANSWER_OR_NULL("cpu_seconds", FIELD_NUMBER, "CPU time"),                                   \
        ANSWER_OR_NULL("memory_gib_hours", FIELD_NUMBER, "GiB times hours"),                       \
        ANSWER_OR_NULL("disk_bytes", FIELD_NUMBER, "Read and written"),                            \
        ANSWER_OR_NULL("network_bytes", FIELD_NUMBER, "Received and sent")

static const struct schema_field totals_row_fields[] = {
    ANSWER_OR_NULL("name", FIELD_TEXT,
        "Agent, philosophy or value of the label; null: agents without it, or of whom it is not "
        "known"),
    TOTAL_FIELDS,
};
static SCHEMA(schema_totals_row, "UsageTotalsRow", "What one group used", totals_row_fields)

    static const struct schema_field totals_sum_fields[] = {
        TOTAL_FIELDS,
};
static SCHEMA(schema_totals_sum, "UsageTotalsSum", "What all used together", totals_sum_fields)

    static const struct schema_field totals_fields[] = {
        SPAN_FIELDS,
        ANSWER("by", FIELD_TEXT, "As asked for"),
        INFO_FIELDS,
        ANSWER_OF("rows", FIELD_LIST, &schema_totals_row, "The most CPU time first"),
        ANSWER_OF("total", FIELD_OBJECT, &schema_totals_sum, "Of all rows, also left-out ones"),
        ANSWER_OR_NULL("error", FIELD_TEXT, "Why the answer ends early; null: it does not"),
};
SCHEMA(schema_usage_totals, "UsageTotals", "What was used in a span", totals_fields)

static const struct schema_field finding_fields[] = {
    ANSWER("text", FIELD_TEXT, "Where and what"),
};
static SCHEMA(schema_finding, "HistoryFinding", "A damage", finding_fields)

    static const struct schema_field verification_fields[] = {
        ANSWER_OF("messages", FIELD_LIST, &schema_finding, "The first 1,000 findings"),
        ANSWER("findings", FIELD_INTEGER, "All of them; 0 = everything is as it was written"),
};
SCHEMA(schema_verification, "HistoryVerification", "Whether the history is as it was written",
    verification_fields)
