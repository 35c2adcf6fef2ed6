/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Totals of agents across restarts: kept in the store every ten seconds, a second after agents
 * were added, less often where that takes long, and at the end. What was used after the last time
 * is found again by the registry as far as its sources tell.
 */
#include <errno.h>

#include "base/mem.h"
#include "daemon_internal.h"

#define TOTALS_BLOB "totals"
#define PAUSE_NS    (10 * NS_PER_SEC)
#define SOON_NS     NS_PER_SEC
#define PAUSE_SHARE 200 /* saving takes 1/200 of the time at most */

int totals_save(struct daemon *daemon, struct ac_error *error)
{
    struct buf totals CLEANUP(buf_done) = {0};
    struct mono start = clock_mono();
    int r = registry_save_totals(core_registry(daemon->core), clock_boot_ns(), &totals);
    if (r < 0)
        return error_errno(error, r, "saving totals");
    r = store_put_blob(daemon->store, TOTALS_BLOB, totals.data, totals.size, error);
    daemon->totals_soon = false;
    daemon->totals_saved = clock_mono();
    daemon->totals_took_ns = mono_since(daemon->totals_saved, start);
    return r;
}

bool totals_due(const struct daemon *daemon, struct mono now)
{
    uint64_t pause = daemon->totals_soon ? SOON_NS : PAUSE_NS;
    return mono_since(now, daemon->totals_saved) >=
           MAX(pause, PAUSE_SHARE * daemon->totals_took_ns);
}

void totals_restore(struct daemon *daemon)
{
    void *bytes;
    size_t size;
    if (store_get_blob(daemon->store, TOTALS_BLOB, &bytes, &size, NULL) < 0)
        return;
    if (core_resume_totals(daemon->core, bytes, size) < 0)
        log_event(LOG_LEVEL_WARNING, "totals cannot be read",
            log_str("consequence", "those of agents that run begin anew"));
    mem_free(bytes);
}
