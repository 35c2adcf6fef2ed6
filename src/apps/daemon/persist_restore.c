/* SPDX-License-Identifier: Apache-2.0 */
/* What the store knows goes back into the core at a start; what is no more is forgotten in it. */
#include "persist.h"

#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "os/procfs.h"

#define DRAIN_AFTER 1024 /* agents that are restored: fewer than the queue of events holds */

static void load_learnt(struct daemon *daemon)
{
    void *bytes;
    size_t size;
    if (store_get_blob(daemon->store, PREDICT_BLOB, &bytes, &size, NULL) == 0) {
        if (predict_load(core_predictor(daemon->core), bytes, size) < 0)
            log_plain(LOG_LEVEL_WARNING, "what was learnt cannot be read; learning starts anew");
        mem_free(bytes);
    }
    if (store_get_blob(daemon->store, SCALE_BLOB, &bytes, &size, NULL) == 0) {
        const struct scale_blob *blob = bytes;
        for (int i = 0; size == sizeof(*blob) && i < AC_PHILOSOPHY_COUNT; i++)
            core_scale(daemon->core)->pools[i].scale = MAX(blob->scale[i], 1u);
        mem_free(bytes);
    }
}

struct restore {
    struct daemon *daemon;
    struct moment now;
    uint64_t boot_id;
    unsigned agents, gone;
    bool of_agents;  /* which alerts are restored: theirs, else the machine's */
    struct buf lost; /* ids of agents that are no more */
};

/* An agent is metered on whose root process still runs, or whose cgroup still holds processes of
 * it. One that only reports is as alive as it was, until its machine boots anew. */
static bool agent_lives(
    const struct restore *restore, const struct agent_spec *spec, uint64_t boot_id)
{
    uint64_t ticks;
    if (boot_id != restore->boot_id)
        return false;
    if (spec->root_pid == 0)
        return true;
    if (procfs_start_ticks(restore->daemon->proc_fd, spec->root_pid, &ticks) == 0 &&
        ticks == spec->root_start_ticks)
        return true;
    return groups_populated(restore->daemon, spec->id);
}

/* When an agent was added, on this start's clocks. One that an older version wrote tells it by the
 * wall clock alone. */
static struct moment restore_added(const struct restore *restore, struct moment added)
{
    const struct moment *now = &restore->now;
    uint64_t age = now->wall_ns > added.wall_ns ? (uint64_t)(now->wall_ns - added.wall_ns) : 0;
    if (added.boot_ns > 0)
        age = moment_since(*now, added);
    else
        added.boot_ns = now->boot_ns - MIN(age, now->boot_ns);
    added.mono.ns = now->mono.ns - MIN(age, now->mono.ns);
    return added;
}

static int restore_agent(
    void *userdata, const struct agent_spec *spec, struct moment added, uint64_t boot_id)
{
    struct restore *restore = userdata;
    if (!agent_lives(restore, spec, boot_id)) {
        restore->gone++;
        if (boot_id == restore->boot_id)
            replay_ended(restore->daemon, spec, added.wall_ns);
        return buf_append(&restore->lost, spec->id, strlen(spec->id) + 1);
    }
    struct ac_error error;
    if (core_agent_add(restore->daemon->core, spec, restore_added(restore, added), NULL, &error) <
        0)
        log_event(LOG_LEVEL_WARNING, "agent not restored", log_str("reason", error.message));
    else if (++restore->agents % DRAIN_AFTER == 0)
        daemon_drain(restore->daemon); /* the collector must hear of each of them */
    return 0;
}

static int restore_alert(void *userdata, const struct ac_alert *alert, uint32_t owner_uid)
{
    struct restore *restore = userdata;
    if ((alert->agent_id[0] != 0) != restore->of_agents)
        return 0;
    /* It ends here where its subject is gone, or where it says that the state cannot be written:
     * it can. */
    bool over = strcmp(alert->rule, STATE_RULE) == 0 || strcmp(alert->rule, HISTORY_RULE) == 0;
    if (over || core_restore_alert(restore->daemon->core, alert, owner_uid, restore->now) < 0)
        return persist_put_ended(restore->daemon, alert, owner_uid, restore->now.wall_ns, NULL);
    return 0;
}

static int restore_allocation(
    void *userdata, const struct ac_allocation *allocation, uint32_t owner_uid)
{
    struct restore *restore = userdata;
    (void)ledger_restore(core_ledger(restore->daemon->core), allocation, owner_uid, restore->now);
    return 0;
}

/* Ends a transaction that was begun for @r so far. */
static int commit_or_undo(struct daemon *daemon, int r, struct ac_error *error)
{
    if (r == 0)
        return store_commit(daemon->store, error);
    store_rollback(daemon->store);
    return r;
}

static int restore_alerts(struct restore *restore, struct ac_error *error)
{
    struct store *store = restore->daemon->store;
    int r = store_begin(store, error);
    if (r < 0)
        return r;
    r = store_each_alert(store, true, 0, UINT32_MAX, restore_alert, restore, error);
    return commit_or_undo(restore->daemon, r, error);
}

/* Thousands may have gone with the machine's boot: one commit for all. */
static int forget_lost(struct restore *restore, struct ac_error *error)
{
    const struct buf *lost = &restore->lost;
    int r = store_begin(restore->daemon->store, error);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < lost->size; i += strlen(lost->data + i) + 1)
        r = persist_sync_agent(restore->daemon, lost->data + i, error);
    return commit_or_undo(restore->daemon, r, error);
}

int persist_restore_machine(struct daemon *daemon, struct ac_error *error)
{
    struct restore restore = {.daemon = daemon, .now = clock_moment()};
    if (!daemon->store)
        return 0;
    load_learnt(daemon);
    int r = restore_alerts(&restore, error);
    if (r == 0)
        replay_machine(daemon);
    return r;
}

int persist_restore(struct daemon *daemon, struct ac_error *error)
{
    struct restore restore = {.daemon = daemon,
        .now = clock_moment(),
        .of_agents = true,
        .boot_id = registry_machine(core_registry(daemon->core))->boot_id};
    if (!daemon->store)
        return 0;
    daemon->restoring = true; /* until daemon_new has told of the last */
    int r = store_each_agent(daemon->store, restore_agent, &restore, error);
    if (r == 0)
        r = store_each_allocation(daemon->store, restore_allocation, &restore, error);
    if (r == 0)
        r = restore_alerts(&restore, error);
    if (r == 0) {
        totals_restore(daemon);
        replay_agents(daemon);
    }
    if (r == 0)
        r = forget_lost(&restore, error);
    buf_done(&restore.lost);
    if (r == 0 && restore.agents + restore.gone > 0)
        log_event(LOG_LEVEL_INFO, "state restored", log_uint("agents", restore.agents),
            log_uint("ended_meanwhile", restore.gone));
    return r;
}
