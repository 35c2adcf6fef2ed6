/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/usage: what was used in a span, by agent, philosophy or label, for charge-back. */
#include "net/stats.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ROWS_DEFAULT 1000
#define NAME_SIZE    (AGENT_LABELS_MAX_BYTES + 1)

enum by { BY_AGENT, BY_PHILOSOPHY, BY_LABEL };

struct sum {
    uint64_t agents, samples;
    struct history_usage usage; /* .samples unused */
};

struct group {
    bool named;
    char name[NAME_SIZE];
    struct sum sum;
};

struct totals_query {
    struct net_query query;
    struct stats_span span;
    enum by by;
    char by_text[AGENT_LABEL_KEY_MAX + 8];
    const char *key; /* of BY_LABEL, in .by_text */
    size_t limit;
    struct stats_scope scope;
    struct stats_subjects subjects;
    struct buf group_names; /* of each subject: '+' or '-' for whether there is one, and it */
    struct group *groups;
    size_t n_groups, room;
    struct sum total;
    struct history_info info;
    int failure;
};

static bool take_by(struct net_call *call, struct totals_query *totals)
{
    const struct stats_query *query = &call->query.stats;
    const char *by = schema_given(query, USAGE_BY) ? query->by : "agent";
    if (strcmp(by, "agent") == 0)
        totals->by = BY_AGENT;
    else if (strcmp(by, "philosophy") == 0)
        totals->by = BY_PHILOSOPHY;
    else if (strncmp(by, "label:", 6) == 0 && by[6])
        totals->by = BY_LABEL;
    else {
        call_problem(call, 400, "by", "by: \"%.40s\" is not agent, philosophy or label:KEY", by);
        return false;
    }
    snprintf(totals->by_text, sizeof(totals->by_text), "%s", by);
    totals->key = totals->by_text + MIN(strlen(by), (size_t)6);
    return true;
}

/* ---- Groups */

static const char *group_of(void *userdata, const struct history_about *about)
{
    const struct totals_query *totals = userdata;
    if (totals->by == BY_PHILOSOPHY)
        return words_philosophy[about->philosophy];
    size_t cursor = 0;
    const char *key, *value;
    while ((key = agent_labels_next(about->labels, about->labels_size, &cursor, &value))) {
        if (strcmp(key, totals->key) == 0)
            return value;
    }
    return NULL;
}

/* Philosophies are few, and values of a label as many as people give them; agents come by name, and
 * only the last can be the same (of another owner). */
static struct group *find_group(struct totals_query *totals, const char *name)
{
    bool last = totals->by == BY_AGENT && totals->n_groups > 0;
    for (size_t i = last ? totals->n_groups - 1 : 0; i < totals->n_groups; i++) {
        struct group *group = &totals->groups[i];
        if (name ? group->named && strcmp(group->name, name) == 0 : !group->named)
            return group;
    }
    if (totals->n_groups == totals->room) {
        size_t room = MAX(totals->room * 2, (size_t)8);
        struct group *groups = mem_resize_array(totals->groups, room, sizeof(*groups));
        if (!groups)
            return NULL;
        totals->groups = groups;
        totals->room = room;
    }
    struct group *group = &totals->groups[totals->n_groups++];
    *group = (struct group){.named = name != NULL,
        .sum.usage = {
            .cpu_seconds = NAN, .memory_gib_hours = NAN, .disk_bytes = NAN, .network_bytes = NAN}};
    snprintf(group->name, sizeof(group->name), "%s", name ? name : "");
    return group;
}

/* Unknown and known is what is known. */
static double plus(double sum, double value)
{
    return isnan(sum) ? value : isnan(value) ? sum : sum + value;
}

static void sum_add(struct sum *sum, const struct history_usage *usage)
{
    sum->agents++;
    sum->samples += usage->samples;
    sum->usage.cpu_seconds = plus(sum->usage.cpu_seconds, usage->cpu_seconds);
    sum->usage.memory_gib_hours = plus(sum->usage.memory_gib_hours, usage->memory_gib_hours);
    sum->usage.disk_bytes = plus(sum->usage.disk_bytes, usage->disk_bytes);
    sum->usage.network_bytes = plus(sum->usage.network_bytes, usage->network_bytes);
}

static int by_cpu(const void *a, const void *b)
{
    const struct group *left = a, *right = b;
    double x = left->sum.usage.cpu_seconds, y = right->sum.usage.cpu_seconds;
    x = isnan(x) ? -1 : x;
    y = isnan(y) ? -1 : y;
    return x != y ? (x < y) - (x > y) : strcmp(left->name, right->name);
}

/* ---- Gathering */

static int collect_subject(void *userdata, const struct history_subject *subject)
{
    struct totals_query *totals = userdata;
    if (*subject->name == 0 || !stats_scope_has(&totals->scope, subject))
        return 0;
    if (totals->subjects.count == STATS_SUBJECTS_MAX) {
        totals->info.limited = true;
        return 1;
    }
    const char *group = totals->by == BY_AGENT
                            ? subject->name
                            : stats_scope_group(&totals->scope, subject, group_of, totals);
    buf_append_char(&totals->group_names, group ? '+' : '-');
    buf_append(&totals->group_names, group ? group : "", group ? strlen(group) + 1 : 1);
    totals->failure = totals->group_names.failed ? -ENOMEM
                                                 : stats_subjects_add(&totals->subjects,
                                                       subject->name, subject->about.owner);
    return totals->failure < 0;
}

static int gather(struct totals_query *totals, struct ac_error *error)
{
    struct history *history = totals->query.history;
    int r = history_subjects(history, totals->scope.owner, totals->span.since, totals->span.until,
        UINT32_MAX, collect_subject, totals, error);
    r = totals->failure < 0 ? totals->failure : r;
    const char *name = totals->group_names.data;
    for (size_t i = 0; r >= 0 && i < totals->subjects.count; i++, name += strlen(name) + 1) {
        const struct stats_subject *subject = &totals->subjects.list[i];
        const struct history_whose whose = {subject->name, subject->owner};
        struct history_usage usage;
        struct history_info info;
        r = history_usage(
            history, &whose, totals->span.since, totals->span.until, &usage, &info, error);
        if (r < 0 || usage.samples == 0)
            continue;
        struct group *group = find_group(totals, *name == '+' ? name + 1 : NULL);
        if (!group)
            return -ENOMEM;
        sum_add(&group->sum, &usage);
        sum_add(&totals->total, &usage);
        stats_info_add(&totals->info, &info);
    }
    return MIN(r, 0);
}

/* ---- Answer */

static void number_field(struct json_writer *w, const char *key, double value)
{
    json_field_double_or_null(w, key, isfinite(value), value);
}

static void write_sum(struct json_writer *w, const struct sum *sum)
{
    json_field_uint(w, "agents", sum->agents);
    json_field_uint(w, "samples", sum->samples);
    number_field(w, "cpu_seconds", sum->usage.cpu_seconds);
    number_field(w, "memory_gib_hours", sum->usage.memory_gib_hours);
    number_field(w, "disk_bytes", sum->usage.disk_bytes);
    number_field(w, "network_bytes", sum->usage.network_bytes);
}

/* An answer that has begun says at its end why it is not whole. */
static int write_totals(struct totals_query *totals)
{
    struct net_query *query = &totals->query;
    struct json_writer *w = &totals->query.out;
    size_t n = MIN(totals->n_groups, totals->limit);
    int r = 0;
    totals->info.limited |= n < totals->n_groups;
    if (totals->n_groups > 0)
        qsort(totals->groups, totals->n_groups, sizeof(*totals->groups), by_cpu);
    json_object_begin(w);
    stats_write_span(w, &totals->span);
    json_field_text(w, "by", totals->by_text);
    stats_write_info(w, &totals->info);
    json_key(w, "rows");
    json_array_begin(w);
    for (size_t i = 0; r == 0 && i < n; i++) {
        json_object_begin(w);
        json_field_text(w, "name", totals->groups[i].named ? totals->groups[i].name : NULL);
        write_sum(w, &totals->groups[i].sum);
        json_object_end(w);
        r = query_flush(query);
    }
    if (r < 0 && !query->begun)
        return r;
    json_array_end(w);
    json_key(w, "total");
    json_object_begin(w);
    write_sum(w, &totals->total);
    json_object_end(w);
    json_field_text(w, "error", r == 0 ? NULL : query_reason(query, r, NULL));
    json_object_end(w);
    return 0;
}

static void totals_done(struct net_query *query)
{
    struct totals_query *totals = (struct totals_query *)query;
    stats_scope_done(&totals->scope);
    stats_subjects_done(&totals->subjects);
    buf_done(&totals->group_names);
    mem_free(totals->groups);
}

static int run_totals(struct net_query *query)
{
    struct totals_query *totals = (struct totals_query *)query;
    struct ac_error error = {0};
    int r = gather(totals, &error);
    return r < 0 ? query_error(query, r, &error) : write_totals(totals);
}

int route_usage_totals(struct net_call *call)
{
    const struct stats_query *query = &call->query.stats;
    struct totals_query *totals = mem_alloc(sizeof(*totals));
    if (!totals)
        return -ENOMEM;
    *totals = (struct totals_query){.query = {.run = run_totals, .done = totals_done},
        .limit = schema_given(query, USAGE_LIMIT) ? query->limit : ROWS_DEFAULT,
        .total.usage = {
            .cpu_seconds = NAN, .memory_gib_hours = NAN, .disk_bytes = NAN, .network_bytes = NAN}};
    if (!stats_take_span(call, &totals->span) || !take_by(call, totals) || !stats_stored(call)) {
        mem_free(totals);
        return 0;
    }
    int r = query_plan(call, &totals->query);
    return r < 0 ? r
                 : stats_scope_take(
                       call, totals->by == BY_AGENT ? NULL : group_of, totals, &totals->scope);
}
