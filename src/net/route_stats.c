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

struct range_query {
    struct net_query query;
    struct stats_span span;
    struct stats_subjects subjects;
    struct stats_scope scope;
    uint64_t step_ns;
    uint32_t limit;  /* of one series, and of all where there are many */
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

static void used_field(struct json_writer *w, const char *key, double value)
{
    json_field_double_or_null(w, key, isfinite(value), value);
}

static int write_range_point(void *userdata, const struct history_point *point)
{
    struct range_query *range = userdata;
    struct json_writer *w = &range->query.out;
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
    json_key(w, "used");
    json_object_begin(w);
    used_field(w, "cpu_seconds", point->cpu_seconds);
    used_field(w, "disk_bytes", point->disk_bytes);
    used_field(w, "network_bytes", point->network_bytes);
    json_object_end(w);
    json_object_end(w);
    return w->out->failed ? -ENOMEM : query_flush(&range->query);
}

static int write_series(
    struct range_query *range, const struct stats_subject *subject, struct ac_error *error)
{
    const struct history_query query = {.subject = subject->name,
        .owner = subject->owner,
        .from_ns = range->span.since,
        .to_ns = range->span.until,
        .step_ns = range->step_ns,
        .limit = range->limit,
        .metrics = range->fields,
        .used = true};
    struct json_writer *w = &range->query.out;
    struct history_info info = {0};
    json_object_begin(w);
    json_field_text(w, "agent_id", subject->name[0] ? subject->name : NULL);
    json_key(w, "points");
    json_array_begin(w);
    int r =
        history_range_query(range->query.history, &query, write_range_point, range, &info, error);
    info.limited |= r < 0;
    json_array_end(w);
    stats_write_info(w, &info);
    json_object_end(w);
    return r;
}

/* An answer that has begun says at its end why it is not whole. */
static int run_range(struct net_query *query)
{
    struct range_query *range = (struct range_query *)query;
    struct json_writer *w = &query->out;
    struct ac_error error = {0};
    int r = stats_subjects_complete(
        query, &range->scope, &range->span, SERIES_MAX, &range->subjects, &error);
    if (r != 0)
        return r < 0 ? query_error(query, r, &error) : 0;
    range->limit = (uint32_t)MIN(range->limit, POINTS_MAX / MAX(range->subjects.count, (size_t)1));
    json_object_begin(w);
    stats_write_span(w, &range->span);
    json_field_text(w, "aggregate", words_range_aggregate[range->aggregate]);
    json_key(w, "series");
    json_array_begin(w);
    for (size_t i = 0; r >= 0 && i < range->subjects.count; i++)
        r = write_series(range, &range->subjects.list[i], &error);
    if (r < 0 && !query->begun)
        return query_error(query, r, &error);
    json_array_end(w);
    json_field_text(w, "error", r == 0 ? NULL : query_reason(query, r, &error));
    json_object_end(w);
    return 0;
}

static void range_done(struct net_query *query)
{
    stats_subjects_done(&((struct range_query *)query)->subjects);
    stats_scope_done(&((struct range_query *)query)->scope);
}

int route_history_range(struct net_call *call)
{
    const struct stats_query *query = &call->query.stats;
    struct stats_span span;
    struct stats_subjects subjects CLEANUP(stats_subjects_done) = {0};
    uint32_t fields;
    if (!stats_take_span(call, &span) || !take_metrics(call, &fields) || !stats_stored(call))
        return 0;
    int r = stats_subjects_take(call, SERIES_MAX, &subjects);
    if (r != 0)
        return MIN(r, 0);
    struct range_query *range = mem_alloc(sizeof(*range));
    if (!range)
        return -ENOMEM;
    uint64_t limit = schema_given(query, RANGE_LIMIT) ? query->limit : POINTS_SERIES;
    *range = (struct range_query){.query = {.run = run_range, .done = range_done},
        .span = span,
        .subjects = subjects,
        .step_ns = query->step_ns,
        .limit = (uint32_t)limit,
        .fields = fields,
        .aggregate = query->aggregate};
    subjects = (struct stats_subjects){0};
    r = query_plan(call, &range->query);
    return r < 0 ? r : stats_scope_take(call, NULL, NULL, &range->scope);
}

/* ---- Top */

struct top_query {
    struct net_query query;
    struct stats_span span;
    struct stats_scope scope;
    uint32_t n;
    unsigned metric, aggregate;
};

static bool top_filter(void *userdata, const struct history_subject *subject)
{
    return stats_scope_has(userdata, subject);
}

static void write_top(struct top_query *top, const struct history_info *info,
    const struct history_top_row *rows, int n)
{
    struct json_writer *w = &top->query.out;
    json_object_begin(w);
    stats_write_span(w, &top->span);
    json_field_text(w, "metric", words_resource[top->metric]);
    json_field_text(w, "aggregate", words_top_aggregate[top->aggregate]);
    json_field_text(w, "unit", stats_unit((enum ac_resource)top->metric));
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

static int run_top(struct net_query *query)
{
    struct top_query *top = (struct top_query *)query;
    struct history_top_row *rows cleanup_free = mem_alloc_array(top->n, sizeof(*rows));
    struct history_info info = {0};
    struct ac_error error = {0};
    if (!rows)
        return -ENOMEM;
    int r = history_top(query->history, (enum ac_resource)top->metric,
        (enum history_aggregate)top->aggregate, top->span.since, top->span.until, top->n,
        top->scope.all ? NULL : top_filter, &top->scope, rows, &info, &error);
    if (r < 0)
        return query_error(query, r, &error);
    write_top(top, &info, rows, r);
    return 0;
}

static void top_done(struct net_query *query)
{
    stats_scope_done(&((struct top_query *)query)->scope);
}

int route_history_top(struct net_call *call)
{
    const struct stats_query *query = &call->query.stats;
    struct stats_span span;
    if (!stats_take_span(call, &span) || !stats_stored(call))
        return 0;
    struct top_query *top = mem_alloc(sizeof(*top));
    if (!top)
        return -ENOMEM;
    *top = (struct top_query){.query = {.run = run_top, .done = top_done},
        .span = span,
        .n = schema_given(query, TOP_N) ? (uint32_t)query->limit : 10,
        .metric = query->metric,
        .aggregate = query->aggregate};
    int r = query_plan(call, &top->query);
    return r < 0 ? r : stats_scope_take(call, NULL, NULL, &top->scope);
}

/* ---- Quantile */

struct quantile_query {
    struct net_query query;
    struct stats_span span;
    struct stats_subjects subjects;
    struct stats_scope scope;
    unsigned metric;
    double q;
};

static int run_quantile(struct net_query *query)
{
    struct quantile_query *ask = (struct quantile_query *)query;
    struct ac_error error = {0};
    int r = stats_subjects_complete(
        query, &ask->scope, &ask->span, STATS_SUBJECTS_MAX, &ask->subjects, &error);
    if (r != 0)
        return r < 0 ? query_error(query, r, &error) : 0;
    size_t count = ask->subjects.count;
    struct history_whose *whose cleanup_free = mem_alloc_array(count + 1, sizeof(*whose));
    struct json_writer *w = &query->out;
    struct history_info info = {0};
    double value = NAN;
    if (!whose)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        whose[i] = (struct history_whose){ask->subjects.list[i].name, ask->subjects.list[i].owner};
    if (count > 0)
        r = history_quantile(query->history, (enum ac_resource)ask->metric, whose, count, ask->q,
            ask->span.since, ask->span.until, &value, &info, &error);
    if (r < 0)
        return query_error(query, r, &error);
    json_object_begin(w);
    stats_write_span(w, &ask->span);
    json_field_text(w, "metric", words_resource[ask->metric]);
    json_field_double(w, "q", ask->q);
    json_field_text(w, "unit", stats_unit((enum ac_resource)ask->metric));
    json_field_double_or_null(w, "value", isfinite(value), value);
    json_field_bool(w, "exact", info.error_bound == 0 && info.resolution_ns == 0);
    json_field_uint(w, "subjects", count);
    stats_write_info(w, &info);
    json_object_end(w);
    return 0;
}

static void quantile_done(struct net_query *query)
{
    stats_subjects_done(&((struct quantile_query *)query)->subjects);
    stats_scope_done(&((struct quantile_query *)query)->scope);
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
    struct quantile_query *ask = mem_alloc(sizeof(*ask));
    if (!ask)
        return -ENOMEM;
    *ask = (struct quantile_query){.query = {.run = run_quantile, .done = quantile_done},
        .span = span,
        .subjects = subjects,
        .metric = query->metric,
        .q = schema_given(query, QUANTILE_Q) ? query->q : 0.95};
    subjects = (struct stats_subjects){0};
    r = query_plan(call, &ask->query);
    return r < 0 ? r : stats_scope_take(call, NULL, NULL, &ask->scope);
}
