/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long queries, of the history and of stored alerts: a route's handler, on the loop's thread, looks
 * at who asks and for what, and puts copies of all that the answer needs into a query. It is run
 * once, on any thread, and writes the answer. It never sees the core.
 */
#ifndef AC_NET_QUERY_H
#define AC_NET_QUERY_H

#include "net/route.h"

#define QUERY_BLOCK (16u << 10)

/* The first member of each kind of query, made with mem_alloc. */
struct net_query {
    int (*run)(struct net_query *query);   /* 0, or -errno for an answer of 503 or 500 */
    void (*done)(struct net_query *query); /* what the query owns; NULL = nothing */
    struct history *history;
    bool alone; /* no time limit, and one at a time */
    struct net_reply reply;
    struct json_writer out;    /* into .reply.body */
    _Atomic(const char *) why; /* of -ECANCELED; NULL = nobody said. Static text */
    bool begun;                /* a part of the body is on its way: the status is fixed */

    /* Hands .reply.body over and empties it; may wait. NULL = it is kept whole. -ECANCELED. */
    int (*flush)(struct net_query *query);
    void *sink;
};

/* Gives a query made by mem_alloc (NULL is -ENOMEM) to the reply. Returns 0 or -ENOMEM. */
int query_plan(struct net_call *call, struct net_query *query);
void query_free(struct net_query *query);

/* Runs it: afterwards .reply is the answer, or the end of one that has begun. */
void query_run(struct net_query *query);

/* Between two elements of a long answer: hands over what is there once it is a block. Returns 0 or
 * -ECANCELED. */
int query_flush(struct net_query *query);

/* Makes the reply a problem; not once it has begun. Return 0. query_reason: the text for it. */
int query_problem(struct net_query *query, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *query_reason(const struct net_query *query, int code, const struct ac_error *error);
int query_error(struct net_query *query, int code, const struct ac_error *error);

#endif
