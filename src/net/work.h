/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that run queries, so that the loop never waits for the disk. A query's answer goes
 * through a short buffer: a worker waits while it is full, but only so long, and the loop takes
 * from it what the client takes.
 *
 * Threads are started as they are needed. One is always left for the privileged: the others
 * together have at most two at a time, and no user has a second one while another user waits.
 *
 * All functions are for one thread (the loop's), and none of them waits, but work_pool_free.
 */
#ifndef AC_NET_WORK_H
#define AC_NET_WORK_H

#include "net/query.h"

struct work_pool;
struct work; /* a query on its way */

struct work_options {
    uint32_t max_waiting; /* [32] queries that wait for a thread */
    uint32_t query_ms;    /* [30000] a query may take, without the time it waits for its client */
    uint32_t stall_ms;    /* [10000] a client may take nothing of its answer */
};

/* Returns 0, -ENOMEM, -errno. */
int work_pool_new(const struct work_options *options, struct work_pool **ret_pool);

/* Cancels what runs, waits for it, and frees what was not closed. NULL is fine. */
void work_pool_free(struct work_pool *pool);

/* A descriptor that is readable when works have news; work_pool_news takes that back. */
int work_pool_fd(const struct work_pool *pool);
void work_pool_news(struct work_pool *pool);

/* Cancels what takes too long; to be called about once a second. */
void work_pool_sweep(struct work_pool *pool);

/* Takes @query over, also where it fails. Returns 0; -EAGAIN (too many wait, or too many of this
 * peer); -EALREADY (one like it runs, and it wants to be alone); -ENOMEM; -errno. */
int work_start(struct work_pool *pool, struct net_query *query, const struct net_peer *peer,
    struct work **ret_work);

/* Cancels it where it still runs. The work is gone for the caller. NULL is fine. */
void work_close(struct work *work);

/* Whether work_reply has something to say: the query has ended or its answer has begun. */
bool work_answers(struct work *work);

/* Whether work_read would return anything but 0. */
bool work_readable(struct work *work);

/* The answer once it is known: its status and type and, where all of it is there (returns true),
 * its body, which is the caller's from now on. */
bool work_reply(struct work *work, struct net_reply *ret_reply);

/* The next bytes of an answer that has begun. 0 = nothing now; -ENODATA = that was all; -EIO = it
 * cannot be ended. */
ssize_t work_read(struct work *work, char *buffer, size_t capacity);

struct work_stats {
    uint64_t done;      /* queries that ended by themselves */
    uint64_t refused;   /* found no place */
    uint64_t cancelled; /* the client left, or took nothing */
    uint64_t late;      /* took too long */
    uint32_t running;
    uint32_t waiting;
};
void work_pool_stats(struct work_pool *pool, struct work_stats *ret_stats);

#endif
