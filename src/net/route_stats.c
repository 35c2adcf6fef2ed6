/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/history/range, /top and /quantile. */
#include "net/stats.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "net/json_encode.h"

#define SERIES_MAX    64
#define POINTS_MAX    100000 /* of all series together */
#define POINTS_SERIES 10000

/* ---- Range */

static const uint32_t resource_fields[] = {
    [AC_CPU] = AC_KNOWN_CPU_PERCENT | AC_KNOWN_CPU_CORES,
    [AC_MEMORY] = AC_KNOWN_MEMORY_MB | AC_KNOWN_MEMORY_PERCENT,
    [AC_DISK_IO] = AC_KNOWN_DISK_IO,
    [AC_NETWORK_IO] = AC_KNOWN_NETWORK_IO,
    [AC_FILE_DESCRIPTORS] = AC_KNOWN_FILE_DESCRIPTORS,
};

struct range_call {
    struct net_call *call;
    uint32_t fields; /* enum ac_usage_field bits that are answered */
    unsigned aggregate;
};

static bool take_metric_list(struct net_call *call, const char *list, uint32_t *fields)
{
    for (;;) {
        enum ac_resource resource;
        char word[32];
        size_t n = strcspn(list, ",");
        snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word) - 1), list);
        if (ac_resource_from_name(word, &resource) < 0) {
            call_problem(call, 400, "metrics",
                "metrics: \"%s\" is not one of: cpu, memory, disk_io, network_io, "
                "file_descriptors",
                word);
            return false;
        }
        *fields |= resource_fields[resource];
        if (list[n] == 0)
            return true;
        list += n + 1;
    }
}

static bool take_metrics(struct net_call *call, uint32_t *ret_fields)
{
    const struct query_values *metrics = &call->query.stats.metrics;
    uint32_t fields = 0;
    for (size_t i = 0; i < metrics->count; i++) {
        if (!take_metric_list(call, metrics->values[i], &fields))
            return false;
    }
    *ret_fields = metrics->count > 0 ? fields : HISTORY_METRICS_ALL;
    return true;
}

static int write_range_point(void *userdata, const struct history_point *point)
{
    const struct range_call *range = userdata;
    struct json_writer *w = &range->call->out;
    struct ac_usage usage = range->aggregate == RANGE_MIN   ? point->min
                            : range->aggregate == RANGE_MAX ? point->max
                                                            : point->mean;
    usage.known &= range->fields;
    json_object_begin(w);
    json_field_time(w, "time", point->from_ns);
    json_field_double(w, "step_seconds", (double)point->step_ns / NS_PER_SEC);
    json_field_uint(w, "samples", point->samples);
    json_key(w, "usage");
    encode_usage(w, &usage);
    json_object_end(w);
    return w->out->failed ? -ENOMEM : 0;
}

static int write_series(struct range_call *range, const char *subject,
    const struct stats_span *span, uint32_t limit, struct ac_error *error)
{
    const struct history_query query = {.subject = subject,
        .from_ns = span->since,
        .to_ns = span->until,
        .step_ns = range->call->query.stats.step_ns,
        .limit = limit,
        .metrics = range->fields};
    struct json_writer *w = &range->call->out;
    struct history_info info = {0};
    json_object_begin(w);
    json_field_text(w, "agent_id", subject[0] ? subject : NULL);
    json_key(w, "points");
    json_array_begin(w);
    int r = history_range_query(
        range->call->context->history, &query, write_range_point, range, &info, error);
    json_array_end(w);
    stats_write_info(w, &info);
    json_object_end(w);
    return r;
}

static int answer_range(
    struct range_call *range, const struct stats_span *span, const struct stats_subjects *subjects)
{
    struct net_call *call = range->call;
    const struct stats_query *query = &call->query.stats;
    struct json_writer *w = &call->out;
    struct ac_error error = {0};
    uint64_t limit = schema_given(query, RANGE_LIMIT) ? query->limit : POINTS_SERIES;
    limit = MIN(limit, POINTS_MAX / MAX(subjects->count, (size_t)1));
    json_object_begin(w);
    stats_write_span(w, span);
    json_field_text(w, "aggregate", words_range_aggregate[range->aggregate]);
    json_key(w, "series");
    json_array_begin(w);
    for (size_t i = 0; i < subjects->count; i++) {
        int r = write_series(range, subjects->names[i], span, (uint32_t)limit, &error);
        if (r < 0)
            return call_error(call, r, &error);
    }
    json_array_end(w);
    json_object_end(w);
    return 0;
}

int route_history_range(struct net_call *call)
{
    struct range_call range = {.call = call, .aggregate = call->query.stats.aggregate};
    struct stats_subjects subjects CLEANUP(stats_subjects_done) = {0};
    struct stats_span span;
    if (!stats_take_span(call, &span) || !take_metrics(call, &range.fields) || !stats_stored(call))
        return 0;
    int r = stats_subjects_take(call, SERIES_MAX, &subjects);
    if (r != 0)
        return MIN(r, 0);
    return answer_range(&range, &span, &subjects);
}

/* ---- Top */

static bool top_filter(void *userdata, const struct history_subject *subject)
{
    return stats_wanted(userdata, subject->name);
}

static void write_top(struct net_call *call, const struct stats_span *span,
    const struct history_info *info, const struct history_top_row *rows, int n)
{
    const struct stats_query *query = &call->query.stats;
    struct json_writer *w = &call->out;
    json_object_begin(w);
    stats_write_span(w, span);
    json_field_text(w, "metric", words_resource[query->metric]);
    json_field_text(w, "aggregate", words_top_aggregate[query->aggregate]);
    json_field_text(w, "unit", stats_unit((enum ac_resource)query->metric));
    stats_write_info(w, info);
    json_key(w, "top");
    json_array_begin(w);
    for (int i = 0; i < n; i++) {
        json_object_begin(w);
        json_field_text(w, "agent_id", rows[i].subject);
        json_field_double(w, "value", rows[i].value);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

int route_history_top(struct net_call *call)
{
    const struct stats_query *query = &call->query.stats;
    struct history_top_row *rows cleanup_free = NULL;
    struct history_info info = {0};
    struct ac_error error = {0};
    struct stats_span span;
    uint32_t n = schema_given(query, TOP_N) ? (uint32_t)query->limit : 10;
    if (!stats_take_span(call, &span) || !stats_stored(call))
        return 0;
    rows = mem_alloc_array(n, sizeof(*rows));
    if (!rows)
        return -ENOMEM;
    int r = history_top(call->context->history, (enum ac_resource)query->metric,
        (enum history_aggregate)query->aggregate, span.since, span.until, n, top_filter, call, rows,
        &info, &error);
    if (r < 0)
        return call_error(call, r, &error);
    write_top(call, &span, &info, rows, r);
    return 0;
}

/* ---- Quantile */

static int ask_quantile(struct net_call *call, const struct stats_span *span,
    const struct stats_subjects *subjects, double q)
{
    const struct stats_query *query = &call->query.stats;
    const char **names cleanup_free = mem_alloc_array(subjects->count + 1, sizeof(*names));
    struct json_writer *w = &call->out;
    struct history_info info = {0};
    struct ac_error error = {0};
    double value = NAN;
    if (!names)
        return -ENOMEM;
    for (size_t i = 0; i < subjects->count; i++)
        names[i] = subjects->names[i];
    int r = subjects->count == 0
                ? 0
                : history_quantile(call->context->history, (enum ac_resource)query->metric, names,
                      subjects->count, q, span->since, span->until, &value, &info, &error);
    if (r < 0)
        return call_error(call, r, &error);
    json_object_begin(w);
    stats_write_span(w, span);
    json_field_text(w, "metric", words_resource[query->metric]);
    json_field_double(w, "q", q);
    json_field_text(w, "unit", stats_unit((enum ac_resource)query->metric));
    json_field_double_or_null(w, "value", isfinite(value), value);
    json_field_bool(w, "exact", info.error_bound == 0 && info.resolution_ns == 0);
    json_field_uint(w, "subjects", subjects->count);
    stats_write_info(w, &info);
    json_object_end(w);
    return 0;
}

int route_history_quantile(struct net_call *call)
{
    const struct stats_query *query = &call->query.stats;
    struct stats_subjects subjects CLEANUP(stats_subjects_done) = {0};
    struct stats_span span;
    if (!stats_take_span(call, &span) || !stats_stored(call))
        return 0;
    int r = stats_subjects_take(call, STATS_SUBJECTS_MAX, &subjects);
    if (r != 0)
        return MIN(r, 0);
    return ask_quantile(call, &span, &subjects, schema_given(query, QUANTILE_Q) ? query->q : 0.95);
}
