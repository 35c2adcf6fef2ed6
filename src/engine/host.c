/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/host.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "engine/core_internal.h"

struct handler {
    uint64_t id;
    ac_alert_handler call;
    void *userdata;
    void (*free_userdata)(void *);
    unsigned references; /* the list's, and one per call in progress */
};

struct host {
    pthread_mutex_t lock;
    struct core *core;
    ac_clock_fn clock;
    void *clock_userdata;
    _Atomic int64_t wall_offset_ns;  /* wall time less monotonic time, as of .offset_at_ns */
    _Atomic uint64_t boot_offset_ns; /* time since boot less monotonic time */
    _Atomic uint64_t offset_at_ns;
    struct handler *handlers[HOST_HANDLERS_MAX];
    size_t n_handlers;
    uint64_t next_handler;
    bool dispatching;
};

int host_new(const struct core_options *options, ac_clock_fn clock, void *clock_userdata,
    struct host **ret_host)
{
    struct host *host cleanup_free = mem_alloc(sizeof(*host));
    if (!host)
        return -ENOMEM;
    struct core_options seeded = *options;
    if (getrandom(&seeded.seed, sizeof(seeded.seed), GRND_NONBLOCK) != sizeof(seeded.seed))
        seeded.seed = clock_mono().ns;
    seeded.id_seed = (uint64_t)clock_wall_ns() / NS_PER_USEC;
    int r = core_new(&seeded, &host->core);
    if (r < 0)
        return r;
    pthread_mutex_init(&host->lock, NULL);
    host->clock = clock;
    host->clock_userdata = clock_userdata;
    *ret_host = TAKE_PTR(host);
    return 0;
}

/* Whoever gets true frees it, unlocked: what frees the userdata may call back, as handlers may. */
static bool handler_unref(struct handler *handler)
{
    return --handler->references == 0;
}

static void handler_free(struct handler *handler)
{
    if (handler->free_userdata)
        handler->free_userdata(handler->userdata);
    mem_free(handler);
}

void host_free(struct host *host)
{
    if (!host)
        return;
    for (size_t i = 0; i < host->n_handlers; i++)
        handler_free(host->handlers[i]);
    core_free(host->core);
    pthread_mutex_destroy(&host->lock);
    mem_free(host);
}

/* One clock is read, the others follow from it: their distance is looked up every 100 ms, so that
 * a step of the wall clock, or a suspension, is seen that soon. */
struct moment host_now(struct host *host)
{
    struct mono mono = clock_mono_coarse();
    uint64_t at = atomic_load_explicit(&host->offset_at_ns, memory_order_relaxed);
    if (mono.ns - at >= 100 * NS_PER_MSEC) {
        struct moment both = clock_moment_coarse();
        atomic_store_explicit(
            &host->wall_offset_ns, both.wall_ns - (int64_t)both.mono.ns, memory_order_relaxed);
        atomic_store_explicit(
            &host->boot_offset_ns, both.boot_ns - both.mono.ns, memory_order_relaxed);
        atomic_store_explicit(&host->offset_at_ns, both.mono.ns, memory_order_relaxed);
    }
    int64_t offset = atomic_load_explicit(&host->wall_offset_ns, memory_order_relaxed);
    struct moment now = {.mono = mono, .wall_ns = (int64_t)mono.ns + offset};
    if (host->clock)
        now.mono.ns = host->clock(host->clock_userdata); /* which knows of no other time */
    else
        now.boot_ns = mono.ns + atomic_load_explicit(&host->boot_offset_ns, memory_order_relaxed);
    return now;
}

struct core *host_lock(struct host *host)
{
    pthread_mutex_lock(&host->lock);
    return host->core;
}

/* Calls the handlers of one event; locked before and after, unlocked between. */
static void host_call_handlers(struct host *host, const struct ac_alert *alert)
{
    struct handler *called[HOST_HANDLERS_MAX];
    size_t n = host->n_handlers;
    for (size_t i = 0; i < n; i++) {
        called[i] = host->handlers[i];
        called[i]->references++;
    }
    pthread_mutex_unlock(&host->lock);
    for (size_t i = 0; i < n; i++)
        called[i]->call(called[i]->userdata, alert);
    pthread_mutex_lock(&host->lock);
    size_t removed = 0;
    for (size_t i = 0; i < n; i++) {
        if (handler_unref(called[i]))
            called[removed++] = called[i];
    }
    if (removed == 0)
        return;
    pthread_mutex_unlock(&host->lock);
    for (size_t i = 0; i < removed; i++)
        handler_free(called[i]);
    pthread_mutex_lock(&host->lock);
}

static void host_dispatch(struct host *host)
{
    struct event event;
    host->dispatching = true;
    while (core_next_event(host->core, &event)) {
        if (event.kind == EVENT_ALERT && host->n_handlers > 0)
            host_call_handlers(host, &event.of.alert);
    }
    host->dispatching = false;
}

void host_unlock(struct host *host)
{
    if (host->core->events_count > 0 && !host->dispatching)
        host_dispatch(host);
    pthread_mutex_unlock(&host->lock);
}

void host_unlock_only(struct host *host)
{
    pthread_mutex_unlock(&host->lock);
}

int host_add_handler(struct host *host, ac_alert_handler handler, void *userdata,
    void (*free_userdata)(void *), uint64_t *ret_handler)
{
    if (!handler)
        return -EINVAL;
    struct handler *added = mem_alloc(sizeof(*added));
    if (!added)
        return -ENOMEM;
    pthread_mutex_lock(&host->lock);
    if (host->n_handlers == HOST_HANDLERS_MAX) {
        pthread_mutex_unlock(&host->lock);
        mem_free(added);
        return -ENOSPC;
    }
    *added = (struct handler){.id = ++host->next_handler,
        .call = handler,
        .userdata = userdata,
        .free_userdata = free_userdata,
        .references = 1};
    host->handlers[host->n_handlers++] = added;
    if (ret_handler)
        *ret_handler = added->id;
    pthread_mutex_unlock(&host->lock);
    return 0;
}

int host_remove_handler(struct host *host, uint64_t handler)
{
    struct handler *removed = NULL;
    bool last = false;
    pthread_mutex_lock(&host->lock);
    for (size_t i = 0; !removed && i < host->n_handlers; i++) {
        if (host->handlers[i]->id != handler)
            continue;
        removed = host->handlers[i];
        memmove(&host->handlers[i], &host->handlers[i + 1],
            (--host->n_handlers - i) * sizeof(host->handlers[0]));
        last = handler_unref(removed);
    }
    pthread_mutex_unlock(&host->lock);
    if (last)
        handler_free(removed);
    return removed ? 0 : -ENOENT;
}
