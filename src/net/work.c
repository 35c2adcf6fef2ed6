/* SPDX-License-Identifier: Apache-2.0 */
/* One lock guards the pool and all works; the query itself belongs to the worker while it runs. */
#include "net/work.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/io.h"
#include "base/mem.h"
#include "policy/quota.h"

#define THREADS_MAX      4
#define UNPRIVILEGED_MAX 2            /* of them at one time */
#define OUT_MAX          (256u << 10) /* of an answer that its client has not taken */

static const char too_late[] = "the query took too long: ask for a shorter span, a longer step or "
                               "fewer agents";
static const char stalled[] = "the client does not take its answer";
static const char left[] = "the client left";

enum work_state { WORK_WAITING, WORK_RUNNING, WORK_ENDED };

struct work {
    struct work *next; /* in the pool's list, oldest first */
    struct work_pool *pool;
    struct net_query *query;
    enum work_state state;
    uint32_t uid;
    bool privileged;
    bool closed; /* its client has gone; freed when it has ended */
    atomic_bool cancel;
    uint64_t since_ns;  /* monotonic: began to wait for a thread, or to run */
    uint64_t stalls_ns; /* waited for its client so long ... */
    uint64_t stall_ns;  /* ... and since here; 0 = it does not */
    bool begun;         /* .out is in use */
    bool broken;        /* what is missing from .out will never come */
    struct buf out;
    size_t sent; /* of .out */
};

struct work_pool {
    struct work_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t threads[THREADS_MAX];
    unsigned n_threads, idle;
    struct work *first, **end;
    int fd;
    bool stop;
    struct work_stats stats;
};

/* ---- Inside the lock ---------------------------------------------------------------------- */

static void tell(struct work *work)
{
    if (!work->closed)
        (void)eventfd_write(work->pool->fd, 1);
}

static void cancel(struct work *work, const char *why)
{
    const char *nobody = NULL;
    atomic_compare_exchange_strong(&work->query->why, &nobody, why);
    atomic_store(&work->cancel, true);
    pthread_cond_broadcast(&work->pool->changed);
}

static void forget(struct work *work)
{
    struct work_pool *pool = work->pool;
    struct work **at = &pool->first;
    while (*at != work)
        at = &(*at)->next;
    *at = work->next;
    if (pool->end == &work->next)
        pool->end = at;
    query_free(work->query);
    buf_done(&work->out);
    mem_free(work);
}

static size_t unsent(const struct work *work)
{
    return work->out.size - work->sent;
}

static unsigned running_of(const struct work_pool *pool, uint32_t uid, unsigned *ret_unprivileged)
{
    unsigned own = 0, all = 0;
    for (const struct work *work = pool->first; work; work = work->next) {
        if (work->state != WORK_RUNNING || work->privileged)
            continue;
        all++;
        own += work->uid == uid;
    }
    *ret_unprivileged = all;
    return own;
}

/* The work that is next: the oldest of those who have the fewest running. */
static struct work *choose(struct work_pool *pool)
{
    struct work *best = NULL;
    unsigned best_own = 0;
    for (struct work *work = pool->first; work; work = work->next) {
        unsigned unprivileged = 0, own = 0;
        if (work->state != WORK_WAITING)
            continue;
        if (!work->privileged)
            own = running_of(pool, work->uid, &unprivileged);
        if (unprivileged >= UNPRIVILEGED_MAX && !pool->stop)
            continue;
        if (!best || own < best_own) {
            best = work;
            best_own = own;
        }
    }
    return best;
}

/* ---- Workers ------------------------------------------------------------------------------ */

static uint64_t deadline(uint64_t after_ns, struct timespec *ret_time)
{
    uint64_t now = clock_mono().ns, at = now + after_ns;
    *ret_time = (struct timespec){(time_t)(at / NS_PER_SEC), (long)(at % NS_PER_SEC)};
    return now;
}

/* Waits for room. */
static void stall(struct work *work)
{
    struct work_pool *pool = work->pool;
    while (unsent(work) >= OUT_MAX && !atomic_load(&work->cancel)) {
        struct timespec until;
        size_t before = unsent(work);
        work->stall_ns = deadline(pool->options.stall_ms * NS_PER_MSEC, &until);
        int r = 0;
        while (r == 0 && unsent(work) == before && !atomic_load(&work->cancel))
            r = pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
        work->stalls_ns += clock_mono().ns - work->stall_ns;
        work->stall_ns = 0;
        if (r == ETIMEDOUT && unsent(work) == before)
            cancel(work, stalled);
    }
}

/* Puts what the query wrote behind what is on its way. */
static int hand_over(struct work *work)
{
    struct buf *body = &work->query->reply.body;
    if (work->sent > OUT_MAX / 2) {
        memmove(work->out.data, work->out.data + work->sent, unsent(work));
        work->out.size -= work->sent;
        work->sent = 0;
    }
    int r = body->failed ? -ENOMEM : buf_append(&work->out, body->data, body->size);
    work->begun = true;
    work->broken |= r < 0;
    buf_clear(body);
    tell(work);
    return r;
}

static int flush(struct net_query *query)
{
    struct work *work = query->sink;
    pthread_mutex_lock(&work->pool->lock);
    stall(work);
    int r = atomic_load(&work->cancel) ? -ECANCELED : hand_over(work);
    pthread_mutex_unlock(&work->pool->lock);
    return r;
}

static void run(struct work *work)
{
    struct net_query *query = work->query;
    query->flush = flush;
    query->sink = work;
    history_cancel_by(&work->cancel);
    if (atomic_load(&work->cancel))
        query_error(query, -ECANCELED, NULL);
    else
        query_run(query);
    history_cancel_by(NULL);
}

static void ended(struct work *work)
{
    struct work_pool *pool = work->pool;
    const char *why = atomic_load(&work->query->why);
    work->state = WORK_ENDED;
    pool->stats.late += why == too_late;
    pool->stats.cancelled += why && why != too_late;
    pool->stats.done += !why;
    if (work->begun)
        (void)hand_over(work);
    pthread_cond_broadcast(&pool->changed); /* somebody's turn may have come */
    if (work->closed)
        forget(work);
    else
        tell(work);
}

static void *serve(void *userdata)
{
    struct work_pool *pool = userdata;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct work *work = choose(pool);
        if (!work && pool->stop)
            break;
        if (!work) {
            pool->idle++;
            pthread_cond_wait(&pool->changed, &pool->lock);
            pool->idle--;
            continue;
        }
        work->state = WORK_RUNNING;
        work->since_ns = clock_mono().ns;
        pthread_mutex_unlock(&pool->lock);
        run(work);
        pthread_mutex_lock(&pool->lock);
        ended(work);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int add_thread(struct work_pool *pool)
{
    sigset_t all, before;
    if (pool->n_threads == THREADS_MAX)
        return 0;
    sigfillset(&all); /* signals are for the loop */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&pool->threads[pool->n_threads], NULL, serve, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool->n_threads += r == 0;
    return pool->n_threads > 0 ? 0 : -r;
}

/* ---- Life --------------------------------------------------------------------------------- */

int work_pool_new(const struct work_options *options, struct work_pool **ret_pool)
{
    pthread_condattr_t attributes;
    struct work_pool *pool = mem_alloc(sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    pool->options = (struct work_options){
        .max_waiting = options->max_waiting ? options->max_waiting : 32,
        .query_ms = options->query_ms ? options->query_ms : 30000,
        .stall_ms = options->stall_ms ? options->stall_ms : 10000,
    };
    pool->end = &pool->first;
    pool->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->fd < 0) {
        mem_free(pool);
        return -errno;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *ret_pool = pool;
    return 0;
}

void work_pool_free(struct work_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    for (struct work *work = pool->first; work; work = work->next)
        cancel(work, left);
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    while (pool->first)
        forget(pool->first);
    io_closep(&pool->fd);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->changed);
    mem_free(pool);
}

int work_pool_fd(const struct work_pool *pool)
{
    return pool->fd;
}

void work_pool_news(struct work_pool *pool)
{
    eventfd_t count;
    (void)eventfd_read(pool->fd, &count);
}

void work_pool_sweep(struct work_pool *pool)
{
    uint64_t now = clock_mono().ns, most = pool->options.query_ms * NS_PER_MSEC;
    pthread_mutex_lock(&pool->lock);
    for (struct work *work = pool->first, *next; work; work = next) {
        next = work->next;
        uint64_t stalls = work->stalls_ns + (work->stall_ns ? now - work->stall_ns : 0);
        bool limited =
            work->state == WORK_WAITING || (work->state == WORK_RUNNING && !work->query->alone);
        if (!limited || now - work->since_ns <= most + stalls)
            continue;
        cancel(work, too_late);
        if (work->state == WORK_WAITING) {
            query_error(work->query, -ECANCELED, NULL);
            ended(work);
        }
    }
    pthread_mutex_unlock(&pool->lock);
}

void work_pool_stats(struct work_pool *pool, struct work_stats *ret_stats)
{
    pthread_mutex_lock(&pool->lock);
    *ret_stats = pool->stats;
    for (const struct work *work = pool->first; work; work = work->next) {
        ret_stats->waiting += work->state == WORK_WAITING;
        ret_stats->running += work->state == WORK_RUNNING;
    }
    pthread_mutex_unlock(&pool->lock);
}

/* ---- One work ----------------------------------------------------------------------------- */

/* Returns how many wait before it; -EAGAIN, -EALREADY. */
static int may_wait(
    struct work_pool *pool, const struct net_query *query, const struct net_peer *peer)
{
    uint32_t waiting = 0, own = 0, unprivileged = 0, most = pool->options.max_waiting;
    for (const struct work *work = pool->first; work; work = work->next) {
        if (query->alone && work->state != WORK_ENDED && work->query->alone)
            return -EALREADY;
        if (work->state != WORK_WAITING)
            continue;
        waiting++;
        unprivileged += !work->privileged;
        own += !work->privileged && work->uid == peer->uid;
    }
    bool spent = !peer->privileged && quota_spent(most, own, unprivileged);
    return waiting >= most || spent ? -EAGAIN : (int)waiting;
}

static int enqueue(struct work_pool *pool, struct work *work, const struct net_peer *peer)
{
    int r = may_wait(pool, work->query, peer);
    if (r >= 0 && (unsigned)r >= pool->idle)
        r = add_thread(pool);
    if (r < 0) {
        pool->stats.refused += r == -EAGAIN;
        return r;
    }
    *pool->end = work;
    pool->end = &work->next;
    pthread_cond_broadcast(&pool->changed);
    return 0;
}

int work_start(struct work_pool *pool, struct net_query *query, const struct net_peer *peer,
    struct work **ret_work)
{
    struct work *work = mem_alloc(sizeof(*work));
    if (!work) {
        query_free(query);
        return -ENOMEM;
    }
    *work = (struct work){.pool = pool,
        .query = query,
        .uid = peer->uid,
        .privileged = peer->privileged,
        .since_ns = clock_mono().ns};
    pthread_mutex_lock(&pool->lock);
    int r = enqueue(pool, work, peer);
    pthread_mutex_unlock(&pool->lock);
    if (r < 0) {
        query_free(query);
        mem_free(work);
        return r;
    }
    *ret_work = work;
    return 0;
}

void work_close(struct work *work)
{
    if (!work)
        return;
    struct work_pool *pool = work->pool;
    pthread_mutex_lock(&pool->lock);
    work->closed = true;
    if (work->state == WORK_RUNNING) {
        cancel(work, left);
    } else {
        pool->stats.cancelled += work->state == WORK_WAITING;
        forget(work);
    }
    pthread_mutex_unlock(&pool->lock);
}

bool work_answers(struct work *work)
{
    pthread_mutex_lock(&work->pool->lock);
    bool answers = work->begun || work->state == WORK_ENDED;
    pthread_mutex_unlock(&work->pool->lock);
    return answers;
}

bool work_readable(struct work *work)
{
    pthread_mutex_lock(&work->pool->lock);
    bool readable = unsent(work) > 0 || work->broken || work->state == WORK_ENDED;
    pthread_mutex_unlock(&work->pool->lock);
    return readable;
}

bool work_reply(struct work *work, struct net_reply *ret_reply)
{
    pthread_mutex_lock(&work->pool->lock);
    bool whole = work->state == WORK_ENDED && !work->begun;
    if (whole) {
        *ret_reply = work->query->reply;
        reply_init(&work->query->reply);
    } else { /* what has begun is a success, and of one type */
        reply_init(ret_reply);
    }
    pthread_mutex_unlock(&work->pool->lock);
    return whole;
}

ssize_t work_read(struct work *work, char *buffer, size_t capacity)
{
    ssize_t n = 0;
    pthread_mutex_lock(&work->pool->lock);
    if (unsent(work) > 0) {
        n = (ssize_t)MIN(unsent(work), capacity);
        memcpy(buffer, work->out.data + work->sent, (size_t)n);
        work->sent += (size_t)n;
        if (unsent(work) == 0) {
            buf_clear(&work->out);
            work->sent = 0;
        }
        if (work->stall_ns)
            pthread_cond_broadcast(&work->pool->changed);
    } else if (work->broken) {
        n = -EIO;
    } else if (work->state == WORK_ENDED) {
        n = -ENODATA;
    }
    pthread_mutex_unlock(&work->pool->lock);
    return n;
}
