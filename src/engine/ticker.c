/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/ticker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum call_state { CALL_IDLE, CALL_MEASURING, CALL_COMMITTING, CALL_ABANDONED, CALL_END };

/* What a ticker and its threads share; the last one frees it. */
struct shared {
    struct ticker_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned references;
    unsigned hanging;
    bool stopping;
};

/* One measuring thread. */
struct call {
    struct shared *shared;
    enum call_state state;
    unsigned references; /* the ticker's and the thread's */
};

struct ticker {
    struct shared *shared;
    struct call *call;        /* NULL = none at work */
    struct ticker_seat *seat; /* NULL = none */
    pthread_t thread;
    pid_t process;     /* the threads are in */
    bool self_stopped; /* ticker_stop came from commit(): the thread frees */
};

static __thread struct ticker *current_ticker;

static void shared_unref_unlock(struct shared *shared)
{
    bool last = --shared->references == 0;
    pthread_mutex_unlock(&shared->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&shared->lock);
    pthread_cond_destroy(&shared->changed);
    mem_free(shared);
}

static void call_unref(struct call *call)
{
    if (--call->references == 0)
        mem_free(call);
}

/* Waits for a change or until @deadline_ns. Returns false at the deadline. */
static bool shared_wait(struct shared *shared, uint64_t deadline_ns)
{
    struct timespec at = {
        .tv_sec = (time_t)(deadline_ns / NS_PER_SEC), .tv_nsec = (long)(deadline_ns % NS_PER_SEC)};
    return pthread_cond_timedwait(&shared->changed, &shared->lock, &at) != ETIMEDOUT;
}

struct measured {
    struct call *call;
    struct ticker *ticker;
};

/* A measuring thread: waits to be asked, measures, commits unless it was given up. */
static void *call_main(void *argument)
{
    struct measured *start = argument;
    struct call *call = start->call;
    struct ticker *ticker = start->ticker;
    struct shared *shared = call->shared;
    mem_free(start);
    pthread_mutex_lock(&shared->lock);
    for (;;) {
        while (call->state == CALL_IDLE)
            pthread_cond_wait(&shared->changed, &shared->lock);
        if (call->state != CALL_MEASURING)
            break;
        struct ac_usage usage;
        ac_usage_init(&usage);
        pthread_mutex_unlock(&shared->lock);
        int r = shared->options.measure
                    ? shared->options.measure(shared->options.measure_userdata, &usage)
                    : 0;
        pthread_mutex_lock(&shared->lock);
        if (call->state != CALL_MEASURING)
            break;
        call->state = CALL_COMMITTING;
        pthread_mutex_unlock(&shared->lock);
        current_ticker = ticker;
        shared->options.commit(shared->options.commit_userdata, r, r < 0 ? NULL : &usage);
        current_ticker = NULL;
        pthread_mutex_lock(&shared->lock);
        call->state = CALL_IDLE;
        pthread_cond_broadcast(&shared->changed);
    }
    if (call->state == CALL_ABANDONED)
        shared->hanging--;
    call_unref(call);
    shared_unref_unlock(shared);
    return NULL;
}

static int thread_start(
    void *(*entry)(void *), void *argument, bool detached, pthread_t *ret_thread)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0)
        return -ENOMEM;
    if (detached)
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(ret_thread, &attributes, entry, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return r != 0 ? -EAGAIN : 0;
}

/* Locked. Makes a measuring thread where there is none. */
static int ticker_need_call(struct ticker *ticker)
{
    pthread_t thread;
    struct shared *shared = ticker->shared;
    if (ticker->call)
        return 0;
    if (shared->hanging >= TICKER_HANGING_MAX)
        return -EBUSY;
    struct call *call cleanup_free = mem_alloc(sizeof(*call));
    struct measured *start = mem_alloc(sizeof(*start));
    if (!call || !start) {
        mem_free(start);
        return -ENOMEM;
    }
    *call = (struct call){.shared = shared, .references = 2};
    *start = (struct measured){.call = call, .ticker = ticker};
    shared->references++;
    int r = thread_start(call_main, start, true, &thread);
    if (r < 0) {
        shared->references--;
        mem_free(start);
        return r;
    }
    ticker->call = TAKE_PTR(call);
    return 0;
}

/* Locked. Gives the measuring thread up; it ends when its call comes back. */
static void ticker_abandon(struct ticker *ticker)
{
    ticker->call->state = CALL_ABANDONED;
    ticker->shared->hanging++;
    call_unref(TAKE_PTR(ticker->call));
}

/* Locked. One tick. Returns what to commit from here: 0 = the call committed itself. */
static int ticker_tick(struct ticker *ticker)
{
    struct shared *shared = ticker->shared;
    int r = ticker_need_call(ticker);
    if (r < 0)
        return r;
    struct call *call = ticker->call;
    uint64_t deadline = clock_mono().ns + shared->options.timeout_ms * NS_PER_MSEC;
    call->state = CALL_MEASURING;
    pthread_cond_broadcast(&shared->changed);
    while (call->state == CALL_MEASURING && !shared->stopping) {
        if (!shared_wait(shared, deadline) && call->state == CALL_MEASURING) {
            ticker_abandon(ticker);
            return -ETIMEDOUT;
        }
    }
    if (call->state == CALL_MEASURING) {
        /* Stopping: a moment of grace, so that a quick provider is not left behind. */
        deadline = clock_mono().ns + 100 * NS_PER_MSEC;
        while (call->state == CALL_MEASURING && shared_wait(shared, deadline))
            ;
        if (call->state == CALL_MEASURING) {
            ticker_abandon(ticker);
            return 0;
        }
    }
    while (call->state == CALL_COMMITTING)
        pthread_cond_wait(&shared->changed, &shared->lock);
    return 0;
}

static void ticker_commit_failure(struct ticker *ticker, int result)
{
    struct shared *shared = ticker->shared;
    pthread_mutex_unlock(&shared->lock);
    current_ticker = ticker;
    shared->options.commit(shared->options.commit_userdata, result, NULL);
    current_ticker = NULL;
    pthread_mutex_lock(&shared->lock);
}

static void ticker_end(struct ticker *ticker)
{
    struct shared *shared = ticker->shared;
    bool free_self = ticker->self_stopped;
    if (ticker->call) {
        ticker->call->state = CALL_END;
        pthread_cond_broadcast(&shared->changed);
        call_unref(TAKE_PTR(ticker->call));
    }
    shared_unref_unlock(shared);
    if (!free_self)
        return;
    struct ticker_seat *seat = ticker->seat;
    pthread_detach(pthread_self());
    mem_free(ticker);
    if (!seat)
        return;
    pthread_mutex_lock(&seat->lock);
    seat->ending--;
    pthread_cond_broadcast(&seat->ended);
    pthread_mutex_unlock(&seat->lock); /* its owner may be gone from here on */
}

static void *ticker_main(void *argument)
{
    struct ticker *ticker = argument;
    struct shared *shared = ticker->shared;
    uint64_t interval = shared->options.interval_ms * NS_PER_MSEC;
    uint64_t next = clock_mono().ns;
    pthread_mutex_lock(&shared->lock);
    while (!shared->stopping) {
        int r = ticker_tick(ticker);
        if (r < 0)
            ticker_commit_failure(ticker, r);
        uint64_t now = clock_mono().ns;
        next += interval;
        if (next <= now) /* missed: the next multiple, never a burst to catch up */
            next += (now - next) / interval * interval + interval;
        while (!shared->stopping && shared_wait(shared, next))
            ;
    }
    ticker_end(ticker);
    return NULL;
}

static struct shared *shared_new(const struct ticker_options *options)
{
    struct shared *shared = mem_alloc(sizeof(*shared));
    pthread_condattr_t attributes;
    if (!shared)
        return NULL;
    shared->options = *options;
    shared->references = 1;
    pthread_mutex_init(&shared->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&shared->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return shared;
}

/* The seat (NULL = none) is set before any thread runs that may ask for it. */
static int ticker_begin(
    const struct ticker_options *options, struct ticker_seat *seat, struct ticker **ret_ticker)
{
    struct ticker *ticker cleanup_free = mem_alloc(sizeof(*ticker));
    struct shared *shared = shared_new(options);
    if (!ticker || !shared) {
        if (shared) {
            pthread_mutex_lock(&shared->lock);
            shared_unref_unlock(shared);
        }
        return -ENOMEM;
    }
    ticker->shared = shared;
    ticker->process = getpid();
    ticker->seat = seat;
    pthread_mutex_lock(&shared->lock); /* held so that .thread is set before it is needed */
    int r = thread_start(ticker_main, ticker, false, &ticker->thread);
    if (r < 0) {
        shared_unref_unlock(shared);
        return r;
    }
    pthread_mutex_unlock(&shared->lock);
    *ret_ticker = TAKE_PTR(ticker);
    return 0;
}

int ticker_start(const struct ticker_options *options, struct ticker **ret_ticker)
{
    return ticker_begin(options, NULL, ret_ticker);
}

void ticker_stop(struct ticker *ticker)
{
    if (!ticker || ticker->process != getpid())
        return;
    bool from_within = current_ticker == ticker;
    pthread_mutex_lock(&ticker->shared->lock);
    ticker->shared->stopping = true;
    ticker->self_stopped = from_within;
    pthread_cond_broadcast(&ticker->shared->changed);
    pthread_mutex_unlock(&ticker->shared->lock);
    if (from_within)
        return;
    pthread_join(ticker->thread, NULL);
    mem_free(ticker);
}

uint32_t ticker_hanging(struct ticker *ticker)
{
    pthread_mutex_lock(&ticker->shared->lock);
    uint32_t hanging = ticker->shared->hanging;
    pthread_mutex_unlock(&ticker->shared->lock);
    return hanging;
}

/* ---- Seats */

void ticker_seat_init(struct ticker_seat *seat)
{
    *seat = (struct ticker_seat){0};
    pthread_mutex_init(&seat->lock, NULL);
    pthread_cond_init(&seat->ended, NULL);
}

void ticker_seat_done(struct ticker_seat *seat)
{
    pthread_mutex_destroy(&seat->lock);
    pthread_cond_destroy(&seat->ended);
}

int ticker_seat_start(struct ticker_seat *seat, const struct ticker_options *options)
{
    pthread_mutex_lock(&seat->lock);
    int r = seat->ticker ? -EALREADY : ticker_begin(options, seat, &seat->ticker);
    pthread_mutex_unlock(&seat->lock);
    return r;
}

void ticker_seat_stop(struct ticker_seat *seat)
{
    bool from_within = current_ticker && current_ticker->seat == seat;
    pthread_mutex_lock(&seat->lock);
    struct ticker *ticker = TAKE_PTR(seat->ticker);
    seat->ending += ticker && ticker == current_ticker;
    pthread_mutex_unlock(&seat->lock);
    ticker_stop(ticker);
    if (from_within)
        return;
    pthread_mutex_lock(&seat->lock);
    while (seat->ending > 0)
        pthread_cond_wait(&seat->ended, &seat->lock);
    pthread_mutex_unlock(&seat->lock);
}

bool ticker_seat_taken(struct ticker_seat *seat)
{
    pthread_mutex_lock(&seat->lock);
    bool taken = seat->ticker != NULL;
    pthread_mutex_unlock(&seat->lock);
    return taken;
}

uint32_t ticker_seat_hanging(struct ticker_seat *seat)
{
    pthread_mutex_lock(&seat->lock);
    uint32_t hanging = seat->ticker ? ticker_hanging(seat->ticker) : 0;
    pthread_mutex_unlock(&seat->lock);
    return hanging;
}
