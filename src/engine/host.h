/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host: a core shared by several threads. One mutex guards it; alert handlers are called with
 * the mutex released, in the order of the events, by whichever thread unlocks first (a thread
 * that finds another one in a handler leaves its events to that one). What a monitor and a
 * manager have in common.
 */
#ifndef AC_ENGINE_HOST_H
#define AC_ENGINE_HOST_H

#include "engine/core.h"

#define HOST_HANDLERS_MAX 64

struct host;

/* @clock may be NULL. Returns 0 or -ENOMEM. */
int host_new(const struct core_options *options, ac_clock_fn clock, void *clock_userdata,
    struct host **ret_host);

/* Handlers that are still registered get their userdata freed; it is always freed unlocked. */
void host_free(struct host *host);

/* The core, until host_unlock, which then runs handlers for what happened meanwhile. */
struct core *host_lock(struct host *host);
void host_unlock(struct host *host);

/* Leaves the handlers to the next host_unlock: for who holds another lock, which they may want. */
void host_unlock_only(struct host *host);

/* Now, on the host's clock; within 4 ms of the truth (wall time after a step of the clock: within
 * 100 ms). */
struct moment host_now(struct host *host);

int host_add_handler(struct host *host, ac_alert_handler handler, void *userdata,
    void (*free_userdata)(void *), uint64_t *ret_handler);
int host_remove_handler(struct host *host, uint64_t handler);

#endif
