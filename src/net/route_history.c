/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/system/history and /v1/agents/{id}/history: from memory where that holds the whole span,
 * else from disk. */
#include "net/stats.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "net/json_encode.h"
#include "store/fold.h"

#define LIMIT_DEFAULT 10000
#define MINUTE_NS     (60 * NS_PER_SEC)

struct span {
    char subject[AC_AGENT_ID_MAX + 1]; /* "" = the machine */
    int64_t owner;                     /* whose samples of it */
    int64_t known_from;                /* when the subject was added; 0 = unknown */
    int64_t since, until;
    uint64_t step;
    uint64_t limit;
};

struct usage_query {
    struct net_query query;
    struct span span;
    unsigned missing; /* the status where the store does not know the subject; 0 = it may not */
    double interval_seconds;
    struct ac_usage *usages; /* of the span, in memory */
    size_t n;
};

static bool take_span(struct net_call *call, const struct agent *agent, struct span *ret_span)
{
    const struct span_query *query = &call->query.history;
    int64_t now = call->request->now.wall_ns;
    *ret_span = (struct span){.owner = call_whose(call),
        .known_from = agent ? agent->added.wall_ns : 0,
        .since =
            schema_given(query, HISTORY_SINCE) ? query->since_ns : now - 3600 * (int64_t)NS_PER_SEC,
        .until = schema_given(query, HISTORY_UNTIL) ? query->until_ns : now,
        .step = query->step_ns,
        .limit = schema_given(query, HISTORY_LIMIT) ? query->limit : LIMIT_DEFAULT};
    if (ret_span->since < ret_span->until)
        return true;
    call_problem(call, 400, "since", "since: is not before until");
    return false;
}

/* Of the part of the span in which there can be points. */
static uint64_t span_length(const struct span *span)
{
    int64_t since = MAX(span->since, span->known_from);
    return since < span->until ? (uint64_t)(span->until - since) : 0;
}

/* The smallest step of whole seconds with which the span has at most .limit points. */
static uint64_t fitting_step(const struct span *span, uint64_t at_least)
{
    uint64_t length = span_length(span);
    uint64_t parts = span->limit > 1 ? span->limit - 1 : 1; /* the first and last may be cut */
    uint64_t step = (length / parts / NS_PER_SEC + 1) * NS_PER_SEC;
    return MAX(at_least, step);
}

static int write_point(void *userdata, const struct history_point *point)
{
    struct usage_query *ask = userdata;
    struct json_writer *w = &ask->query.out;
    json_object_begin(w);
    json_field_time(w, "time", point->from_ns);
    json_field_uint(w, "samples", point->samples);
    json_key(w, "mean");
    encode_usage(w, &point->mean);
    json_key(w, "min");
    encode_usage(w, &point->min);
    json_key(w, "max");
    encode_usage(w, &point->max);
    json_object_end(w);
    return w->out->failed ? -ENOMEM : query_flush(&ask->query);
}

static void write_head(struct usage_query *ask)
{
    struct json_writer *w = &ask->query.out;
    json_object_begin(w);
    json_field_text(w, "subject", ask->span.subject[0] ? ask->span.subject : NULL);
    json_field_time(w, "since", ask->span.since);
    json_field_time(w, "until", ask->span.until);
    json_key(w, "points");
    json_array_begin(w);
}

/* What the points are is known when they are written; so is why some are missing. */
static int write_tail(
    struct usage_query *ask, uint64_t step_ns, int r, const struct ac_error *error)
{
    struct json_writer *w = &ask->query.out;
    if (r < 0 && !ask->query.begun)
        return query_error(&ask->query, r, error);
    json_array_end(w);
    json_field_double(w, "step_seconds", (double)step_ns / NS_PER_SEC);
    json_field_text(w, "source", step_ns >= MINUTE_NS ? "minutes" : "recent");
    json_field_text(w, "error", r < 0 ? query_reason(&ask->query, r, error) : NULL);
    json_object_end(w);
    return 0;
}

static int answer_recent(struct usage_query *ask)
{
    struct span *span = &ask->span;
    if (ask->n > span->limit && (span->step == 0 || span_length(span) / span->step >= span->limit))
        span->step = fitting_step(span, span->step);
    write_head(ask);
    int r = fold_usages(ask->usages, ask->n, span->step, write_point, ask);
    return write_tail(ask, span->step, r, NULL);
}

/* Points of the store, and where they end: what is newer is still in memory only. */
struct stored {
    struct usage_query *ask;
    int64_t end;
    uint64_t step, count;
};

static int write_stored(void *userdata, const struct history_point *point)
{
    struct stored *stored = userdata;
    stored->end = point->from_ns + (int64_t)MAX(point->step_ns, (uint64_t)1);
    stored->step = MAX(stored->step, point->step_ns);
    stored->count++;
    return write_point(stored->ask, point);
}

/* What the store has of the span up to @until. */
static int each_stored(const struct usage_query *ask, int64_t until, uint64_t step_ns,
    uint64_t limit, history_fn each, void *userdata, struct ac_error *error)
{
    const struct history_query query = {.subject = ask->span.subject,
        .owner = ask->span.owner,
        .from_ns = ask->span.since,
        .to_ns = until,
        .step_ns = step_ns,
        .limit = (uint32_t)limit};
    return history_range_query(ask->query.history, &query, each, userdata, NULL, error);
}

static int answer_stored(struct usage_query *ask)
{
    struct span *span = &ask->span;
    struct ac_error error = {0};
    struct stored stored = {.ask = ask, .end = span->since};
    size_t newer = 0;
    uint64_t finest = (uint64_t)(ask->interval_seconds * (double)NS_PER_SEC);
    if (span_length(span) / MAX(MAX(span->step, finest), NS_PER_MSEC) >= span->limit)
        span->step = fitting_step(span, span->step);
    write_head(ask);
    int r = each_stored(ask, span->until, span->step, span->limit, write_stored, &stored, &error);
    while (newer < ask->n && ask->usages[newer].timestamp_ns < stored.end)
        newer++;
    if (r >= 0 && stored.count < span->limit)
        r = fold_usages(ask->usages + newer, ask->n - newer, stored.step, write_point, ask);
    return write_tail(ask, stored.step, r, &error);
}

static int stop_at_first(void *userdata, const struct history_point *point)
{
    (void)userdata;
    (void)point;
    return 1;
}

/* Whether memory has all of the span that there is. */
static bool recent_covers(const struct usage_query *ask)
{
    const struct span *span = &ask->span;
    if (!ask->query.history)
        return true;
    if (ask->n == 0)
        return false;
    int64_t first = ask->usages[0].timestamp_ns;
    int64_t slack = (int64_t)((ask->interval_seconds * 2 + 1) * NS_PER_SEC);
    if (first <= MAX(span->since, span->known_from) + slack)
        return true;
    return each_stored(ask, first, 0, 1, stop_at_first, NULL, NULL) == 0;
}

static int run_usage(struct net_query *query)
{
    struct usage_query *ask = (struct usage_query *)query;
    if (ask->missing != 0) {
        struct ac_error error = {0};
        const struct history_whose whose = {ask->span.subject, ask->span.owner};
        int r = history_has(query->history, &whose, &error);
        if (r < 0)
            return query_error(query, r, &error);
        if (r == 0)
            return stats_missing(query, ask->missing, ask->span.subject);
    }
    return recent_covers(ask) ? answer_recent(ask) : answer_stored(ask);
}

static void usage_done(struct net_query *query)
{
    mem_free(((struct usage_query *)query)->usages);
}

/* @missing: the subject is not one that this peer may see now; 0 = it is. */
static int plan(
    struct net_call *call, const struct agent *agent, const char *subject, unsigned missing)
{
    struct net_daemon_stats stats;
    struct span span;
    if (!take_span(call, agent, &span))
        return 0;
    memcpy(span.subject, subject, strlen(subject) + 1);
    context_daemon_stats(call->context, &stats);
    struct usage_query *ask = mem_alloc(sizeof(*ask));
    if (!ask)
        return -ENOMEM;
    *ask = (struct usage_query){.query = {.run = run_usage, .done = usage_done},
        .span = span,
        .missing = missing,
        .interval_seconds = stats.interval_seconds};
    int r = query_plan(call, &ask->query);
    if (r < 0 || missing != 0) /* what is in memory is another one's */
        return r;
    int64_t n = core_history(call->context->core, subject, span.since, span.until, &ask->usages);
    ask->n = n < 0 ? 0 : (size_t)n;
    return n < 0 ? (int)n : 0;
}

int route_system_history(struct net_call *call)
{
    return plan(call, NULL, "", 0);
}

/* An agent that is forgotten, that ended before a restart, or that was this user's before it became
 * another's, is known to the store only. */
int route_agent_history(struct net_call *call)
{
    const struct agent *agent = registry_get(core_registry(call->context->core), call->param);
    bool own = agent && call_owns(call, agent);
    if (call->context->history && !own && ac_agent_id_valid(call->param))
        return plan(call, NULL, call->param, agent ? 403 : 404);
    agent = call_agent(call);
    return agent ? plan(call, agent, agent->spec.id, 0) : 0;
}
