/* SPDX-License-Identifier: Apache-2.0 */
#include "net/query.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

int query_plan(struct net_call *call, struct net_query *query)
{
    if (!query)
        return -ENOMEM;
    reply_init(&query->reply);
    query->history = call->context->history;
    query->out = (struct json_writer){.out = &query->reply.body};
    call->reply->query = query;
    return 0;
}

void query_free(struct net_query *query)
{
    if (!query)
        return;
    if (query->done)
        query->done(query);
    reply_done(&query->reply);
    mem_free(query);
}

int query_flush(struct net_query *query)
{
    struct buf *body = &query->reply.body;
    if (!query->flush || body->size < QUERY_BLOCK || body->failed)
        return 0;
    int r = query->flush(query);
    query->begun |= r == 0;
    return r;
}

int query_problem(struct net_query *query, unsigned status, const char *format, ...)
{
    char detail[400];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    if (!query->begun)
        reply_problem(&query->reply, status, NULL, detail);
    return 0;
}

const char *query_reason(const struct net_query *query, int code, const struct ac_error *error)
{
    const char *why = atomic_load(&query->why);
    if (code == -ECANCELED && why)
        return why;
    return error && error->message[0] ? error->message : strerror(-code);
}

int query_error(struct net_query *query, int code, const struct ac_error *error)
{
    return query_problem(query, status_of_error(code), "%s", query_reason(query, code, error));
}

void query_run(struct net_query *query)
{
    struct net_reply *reply = &query->reply;
    int r = query->run(query);
    if (r < 0)
        query_error(query, r, NULL);
    if (query->begun || !reply->body.failed)
        return;
    buf_clear(&reply->body);
    reply_problem(reply, 503, NULL, "out of memory");
}
