/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Durable state: one SQLite database (WAL) in the state directory, locked against a second
 * daemon. A call that returned 0 is committed. Schema versions migrate forward in one
 * transaction; a newer schema is refused with a clear message.
 *
 * Used by one thread at a time. All functions return 0 or -errno (-EIO, -ENOSPC, -EROFS for
 * SQLite's errors of those kinds; -EUCLEAN for a damaged database) and fill @error where given.
 */
#ifndef AC_STORE_STORE_H
#define AC_STORE_STORE_H

#include "base/error.h"
#include "model/agent.h"

struct store;

struct store_options {
    const char *directory; /* made (0700) where missing */
    bool full_sync;        /* fsync at each commit: an acknowledged write survives power loss */
};

/* -EBUSY where another daemon has the directory; -EPROTONOSUPPORT for a newer schema. */
int store_open(
    const struct store_options *options, struct store **ret_store, struct ac_error *error);
void store_close(struct store *store);

/* A connection of its own that only reads, for one other thread: store_each_... and store_close.
 * @store must outlive the call; it may be in use meanwhile. */
int store_open_reader(const struct store *store, struct store **ret_reader, struct ac_error *error);

/* Groups writes into one commit. Nesting is counted; a rollback inside makes the outermost commit
 * fail with -ECANCELED and undo all. */
int store_begin(struct store *store, struct ac_error *error);
int store_commit(struct store *store, struct ac_error *error);
void store_rollback(struct store *store);

/* Of @added the wall time is kept and, good for the boot @boot_id, the time since boot. */
int store_put_agent(struct store *store, const struct agent_spec *spec, struct moment added,
    uint64_t boot_id, struct ac_error *error);
int store_remove_agent(struct store *store, const char *id, struct ac_error *error); /* 0: gone */

/* Callbacks of all store_each_...: a non-zero return ends the walk and is returned. They may
 * write, but not walk the same table. */
typedef int (*store_agent_fn)(
    void *userdata, const struct agent_spec *spec, struct moment added, uint64_t boot_id);
int store_each_agent(
    struct store *store, store_agent_fn each, void *userdata, struct ac_error *error);

/* The newest state of an alert by its id; resolved ones stay until they are trimmed. Those with
 * their last transition at @since_ns or later, the newest transition first. @owner_uid: whose the
 * agent was; UINT32_MAX = not known, or the machine's. */
int store_put_alert(
    struct store *store, const struct ac_alert *alert, uint32_t owner_uid, struct ac_error *error);
typedef int (*store_alert_fn)(void *userdata, const struct ac_alert *alert, uint32_t owner_uid);
int store_each_alert(struct store *store, bool live_only, int64_t since_ns, uint32_t limit,
    store_alert_fn each, void *userdata, struct ac_error *error);

/* Drops resolved alerts whose last transition lies before. */
int store_trim_alerts(struct store *store, int64_t before_ns, struct ac_error *error);

/* @owner_uid: whose it is; UINT32_MAX = not known. */
int store_put_allocation(struct store *store, const struct ac_allocation *allocation,
    uint32_t owner_uid, struct ac_error *error);
int store_remove_allocation(struct store *store, const char *agent_id, struct ac_error *error);
typedef int (*store_allocation_fn)(
    void *userdata, const struct ac_allocation *allocation, uint32_t owner_uid);
int store_each_allocation(
    struct store *store, store_allocation_fn each, void *userdata, struct ac_error *error);

/* Named bytes: the predictor's state, the scaler's. get: -ENOENT; caller frees with mem_free. */
int store_put_blob(
    struct store *store, const char *name, const void *bytes, size_t size, struct ac_error *error);
int store_get_blob(struct store *store, const char *name, void **ret_bytes, size_t *ret_size,
    struct ac_error *error);

/* PRAGMA quick_check. Returns 0, or -EUCLEAN with the first finding. */
int store_verify(struct store *store, struct ac_error *error);

#endif
