/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ticker: measures at a fixed interval on threads of its own, and survives a measurement that
 * hangs. Two phases: measure() may block for ever and must touch nothing that its owner may
 * free; commit() puts the result to use and must return.
 *
 * A measure() that takes longer than the timeout is committed as -ETIMEDOUT and left behind; its
 * late result is dropped; the next tick uses a fresh thread. At most TICKER_HANGING_MAX calls are
 * left behind at once: beyond that ticks fail with -EBUSY until one comes back.
 */
#ifndef AC_ENGINE_TICKER_H
#define AC_ENGINE_TICKER_H

#include <agentcore.h>

#include <pthread.h>

#define TICKER_HANGING_MAX 4

struct ticker;

struct ticker_options {
    int (*measure)(void *userdata, struct ac_usage *ret_usage); /* NULL: commit alone */
    void *measure_userdata;
    void (*commit)(void *userdata, int result, const struct ac_usage *usage);
    void *commit_userdata;
    uint32_t interval_ms;
    uint32_t timeout_ms;
};

/* Starts with a measurement at once. Returns 0, -ENOMEM or -EAGAIN (no thread). */
int ticker_start(const struct ticker_options *options, struct ticker **ret_ticker);

/* Ends it and waits for a commit in progress; a hanging measure() is left behind. Frees. From
 * within commit() it only asks the ticker to end, and frees when that has happened. In a forked
 * child, where its threads are not, it does nothing. NULL is fine. */
void ticker_stop(struct ticker *ticker);

/* measure() calls that have not come back. */
uint32_t ticker_hanging(struct ticker *ticker);

/* The place of the one ticker that an object may have. It knows also of those that were stopped
 * from within commit() and still end, so that their object is not freed under them. */
struct ticker_seat {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct ticker *ticker; /* NULL = none runs */
    unsigned ending;
};

void ticker_seat_init(struct ticker_seat *seat);

/* Once it is stopped. */
void ticker_seat_done(struct ticker_seat *seat);

/* As ticker_start; -EALREADY while one runs. */
int ticker_seat_start(struct ticker_seat *seat, const struct ticker_options *options);

/* When it returns no commit() is in progress, unless it is called from within one. */
void ticker_seat_stop(struct ticker_seat *seat);

bool ticker_seat_taken(struct ticker_seat *seat);
uint32_t ticker_seat_hanging(struct ticker_seat *seat);

#endif
