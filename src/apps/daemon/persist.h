/* SPDX-License-Identifier: Apache-2.0 */
/* What writing the store (persist.c) and reading it at a start (persist_restore.c) share. */
#ifndef AC_DAEMON_PERSIST_H
#define AC_DAEMON_PERSIST_H

#include "daemon_internal.h"

/* Rules of the alerts that say that a database cannot be written. */
#define STATE_RULE   "state"
#define HISTORY_RULE "history"

#define SCALE_BLOB   "scale-v1"
#define PREDICT_BLOB "predict"

struct scale_blob {
    uint32_t scale[AC_PHILOSOPHY_COUNT];
};

/* Puts an agent into the store where it runs, else takes it out. 0, -errno. */
int persist_sync_agent(struct daemon *daemon, const char *id, struct ac_error *error);

/* Ends an alert that the store takes for a live one and that is none any more: what ended it was
 * not written, or is unknown. 0, -errno. */
int persist_put_ended(struct daemon *daemon, const struct ac_alert *alert, uint32_t owner_uid,
    int64_t now_ns, struct ac_error *error);

#endif
