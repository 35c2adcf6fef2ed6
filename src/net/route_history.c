/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/system/history and /v1/agents/{id}/history: from memory where that holds the whole span,
 * else from disk. */
#include "net/route.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "net/json_encode.h"
#include "store/fold.h"

#define LIMIT_DEFAULT 10000
#define MINUTE_NS     (60 * NS_PER_SEC)

struct span {
    const char *subject; /* "" = the machine */
    int64_t known_from;  /* when the subject was added; 0 = unknown */
    int64_t since, until;
    uint64_t step;
    uint64_t limit;
};

static bool take_span(struct net_call *call, const struct agent *agent, struct span *ret_span)
{
    const struct span_query *query = &call->query.history;
    int64_t now = call->request->now.wall_ns;
    *ret_span = (struct span){.subject = agent ? agent->spec.id : "",
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
    struct net_call *call = userdata;
    struct json_writer *w = &call->out;
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
    return w->out->failed ? -ENOMEM : 0;
}

static void write_head(struct net_call *call, const struct span *span)
{
    struct json_writer *w = &call->out;
    json_object_begin(w);
    json_field_text(w, "subject", span->subject[0] ? span->subject : NULL);
    json_field_time(w, "since", span->since);
    json_field_time(w, "until", span->until);
    json_key(w, "points");
    json_array_begin(w);
}

/* What the points are is known when they are written. */
static void write_tail(struct net_call *call, uint64_t step_ns)
{
    struct json_writer *w = &call->out;
    json_array_end(w);
    json_field_double(w, "step_seconds", (double)step_ns / NS_PER_SEC);
    json_field_text(w, "source", step_ns >= MINUTE_NS ? "minutes" : "recent");
    json_object_end(w);
}

static int answer_recent(
    struct net_call *call, struct span *span, const struct ac_usage *usages, size_t n)
{
    if (n > span->limit && (span->step == 0 || span_length(span) / span->step >= span->limit))
        span->step = fitting_step(span, span->step);
    write_head(call, span);
    int r = fold_usages(usages, n, span->step, write_point, call);
    write_tail(call, span->step);
    return r;
}

/* Points of the store, and where they end: what is newer is still in memory only. */
struct stored {
    struct net_call *call;
    int64_t end;
    uint64_t step, count;
};

static int write_stored(void *userdata, const struct history_point *point)
{
    struct stored *stored = userdata;
    stored->end = point->from_ns + (int64_t)MAX(point->step_ns, (uint64_t)1);
    stored->step = MAX(stored->step, point->step_ns);
    stored->count++;
    return write_point(stored->call, point);
}

static int answer_stored(
    struct net_call *call, struct span *span, const struct ac_usage *usages, size_t n)
{
    struct ac_error error = {0};
    struct net_daemon_stats stats;
    struct stored stored = {.call = call, .end = span->since};
    size_t newer = 0;
    context_daemon_stats(call->context, &stats);
    uint64_t finest = (uint64_t)(stats.interval_seconds * (double)NS_PER_SEC);
    if (span_length(span) / MAX(MAX(span->step, finest), NS_PER_MSEC) >= span->limit)
        span->step = fitting_step(span, span->step);
    write_head(call, span);
    int r = history_range(call->context->history, span->subject, span->since, span->until,
        span->step, (uint32_t)span->limit, write_stored, &stored, &error);
    if (r < 0)
        return call_error(call, r, &error);
    while (newer < n && usages[newer].timestamp_ns < stored.end)
        newer++;
    if (stored.count < span->limit)
        r = fold_usages(usages + newer, n - newer, stored.step, write_point, call);
    write_tail(call, stored.step);
    return r;
}

static int stop_at_first(void *userdata, const struct history_point *point)
{
    (void)userdata;
    (void)point;
    return 1;
}

/* Whether memory has all of the span that there is. */
static bool recent_covers(
    const struct net_call *call, const struct span *span, const struct ac_usage *usages, size_t n)
{
    struct net_daemon_stats stats;
    struct history *history = call->context->history;
    if (!history)
        return true;
    if (n == 0)
        return false;
    context_daemon_stats(call->context, &stats);
    int64_t first = usages[0].timestamp_ns;
    int64_t slack = (int64_t)((stats.interval_seconds * 2 + 1) * NS_PER_SEC);
    if (first <= MAX(span->since, span->known_from) + slack)
        return true;
    return history_range(
               history, span->subject, span->since, first, 0, 1, stop_at_first, NULL, NULL) == 0;
}

static int answer_history(struct net_call *call, const struct agent *agent, const char *subject)
{
    struct span span;
    struct ac_usage *usages cleanup_free = NULL;
    if (!take_span(call, agent, &span))
        return 0;
    span.subject = subject;
    int64_t n = core_history(call->context->core, span.subject, span.since, span.until, &usages);
    if (n < 0)
        return (int)n;
    if (recent_covers(call, &span, usages, (size_t)n))
        return answer_recent(call, &span, usages, (size_t)n);
    return answer_stored(call, &span, usages, (size_t)n);
}

int route_system_history(struct net_call *call)
{
    return answer_history(call, NULL, "");
}

/* An agent that is forgotten, or that ended before a restart, is known to the store only. Whose it
 * was is not, so that only those see it who may see everything. */
static bool is_only_stored(const struct net_call *call)
{
    const struct net_context *context = call->context;
    if (!context->history || !call->request->peer.privileged || !ac_agent_id_valid(call->param) ||
        registry_get(core_registry(context->core), call->param))
        return false;
    return history_range(context->history, call->param, 0, call->request->now.wall_ns, 0, 1,
               stop_at_first, NULL, NULL) > 0;
}

int route_agent_history(struct net_call *call)
{
    if (is_only_stored(call))
        return answer_history(call, NULL, call->param);
    const struct agent *agent = call_agent(call);
    return agent ? answer_history(call, agent, agent->spec.id) : 0;
}
