/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the store in step with the events. A write that fails marks the state as failing, raises
 * an EMERGENCY alert and is made good by writing everything again once the store works: nothing
 * else of the daemon stops.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/map.h"
#include "base/mem.h"
#include "os/procfs.h"

#define STATE_RULE     "state"
#define SAVE_INTERVAL  (300 * NS_PER_SEC)
#define SAVE_LEARNT    (30 * NS_PER_SEC) /* where there is something new */
#define RETRY_INTERVAL (2 * NS_PER_SEC)
#define ALERTS_KEPT_NS (30ll * 86400 * (int64_t)NS_PER_SEC)
#define SCALE_BLOB     "scale-v1"
#define PREDICT_BLOB   "predict"
#define DRAIN_AFTER    1024 /* agents that are restored: fewer than the queue of events holds */

static bool state_wanted(const struct daemon *daemon)
{
    return strcmp(daemon->config.state, "none") != 0;
}

int persist_open(struct daemon *daemon, struct ac_error *error)
{
    if (!state_wanted(daemon))
        return history_open(NULL, &(struct history_options){0}, &daemon->history, error);
    struct store_options options = {.directory = daemon->config.state, .full_sync = true};
    struct history_options history = {.keep_minutes_ns = daemon->config.history.minutes_ns,
        .full_sync = daemon->config.history.full_sync,
        .background = true};
    int r = store_open(&options, &daemon->store, error);
    if (r == 0)
        r = history_open(daemon->store, &history, &daemon->history, error);
    return r;
}

/* ---- Trouble */

static void state_failed(struct daemon *daemon, const struct ac_error *error)
{
    struct rules_raise raise = {.rule = STATE_RULE,
        .resource = AC_DISK_IO,
        .severity = AC_EMERGENCY,
        .message = error->message,
        .threshold = NAN,
        .current_value = NAN};
    if (!daemon->state_failing)
        log_event(LOG_LEVEL_ERROR, "state cannot be written", log_str("reason", error->message),
            log_str("consequence", "history has a gap until it works again"));
    daemon->state_failing = true;
    daemon->state_tried = clock_mono();
    (void)core_raise(daemon->core, NULL, &raise, clock_moment(), NULL);
}

/* ---- Writing */

static int put_agent(struct daemon *daemon, const struct agent *agent, struct ac_error *error)
{
    return store_put_agent(daemon->store, &agent->spec, agent->added,
        registry_machine(core_registry(daemon->core))->boot_id, error);
}

static int sync_allocation(struct daemon *daemon, const char *agent_id, struct ac_error *error)
{
    const struct ac_allocation *now = ledger_get(core_ledger(daemon->core), agent_id);
    if (now)
        return store_put_allocation(daemon->store, now, error);
    int r = store_remove_allocation(daemon->store, agent_id, error);
    return r == -ENOENT ? 0 : r;
}

static int sync_agent(struct daemon *daemon, const char *id, struct ac_error *error)
{
    const struct agent *agent = registry_get(core_registry(daemon->core), id);
    if (agent && agent->state != AGENT_EXITED)
        return put_agent(daemon, agent, error);
    int r = store_remove_agent(daemon->store, id, error);
    return r == -ENOENT ? 0 : r;
}

struct scale_blob {
    uint32_t scale[AC_PHILOSOPHY_COUNT];
};

static int put_scale(struct daemon *daemon, struct ac_error *error)
{
    struct scale_blob scale;
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        scale.scale[i] = core_scale(daemon->core)->pools[i].scale;
    return store_put_blob(daemon->store, SCALE_BLOB, &scale, sizeof(scale), error);
}

/* A live alert in the store that is none any more: what ended it was not written, or is unknown. */
static int put_ended(
    struct daemon *daemon, const struct ac_alert *alert, int64_t now_ns, struct ac_error *error)
{
    struct ac_alert ended = *alert;
    ended.state = AC_ALERT_RESOLVED;
    ended.updated_ns = ended.ended_ns = now_ns;
    return store_put_alert(daemon->store, &ended, error);
}

static int write_event(struct daemon *daemon, const struct event *event, struct ac_error *error)
{
    switch (event->kind) {
    case EVENT_ALERT:
        return store_put_alert(daemon->store, &event->of.alert, error);
    case EVENT_ALLOCATION:
        return sync_allocation(daemon, event->agent_id, error);
    case EVENT_SCALE:
        return put_scale(daemon, error);
    case EVENT_AGENT_ADDED:
    case EVENT_AGENT_EXITED:
    case EVENT_AGENT_REMOVED: {
        daemon->learnt |= event->kind != EVENT_AGENT_ADDED;
        int r = sync_agent(daemon, event->agent_id, error);
        return r < 0 ? r : sync_allocation(daemon, event->agent_id, error);
    }
    default:
        return 0;
    }
}

void persist_begin(struct daemon *daemon)
{
    struct ac_error error;
    if (!daemon->store || daemon->state_failing)
        return;
    if (store_begin(daemon->store, &error) < 0)
        state_failed(daemon, &error);
}

void persist_event(struct daemon *daemon, const struct event *event)
{
    struct ac_error error;
    if (!daemon->store || daemon->state_failing)
        return;
    if (daemon->restoring && event->kind == EVENT_AGENT_ADDED)
        return; /* the store has it, and an allocation of it that is still to be restored */
    if (write_event(daemon, event, &error) < 0) {
        store_rollback(daemon->store);
        state_failed(daemon, &error);
    }
}

void persist_end(struct daemon *daemon)
{
    struct ac_error error;
    if (!daemon->store || daemon->state_failing)
        return;
    if (store_commit(daemon->store, &error) < 0)
        state_failed(daemon, &error);
}

/* ---- Making good after trouble */

static int collect_id(
    void *userdata, const struct agent_spec *spec, struct moment added, uint64_t boot)
{
    (void)added;
    (void)boot;
    return buf_append(userdata, spec->id, strlen(spec->id) + 1);
}

static int collect_allocation(void *userdata, const struct ac_allocation *allocation)
{
    return buf_append(userdata, allocation->agent_id, strlen(allocation->agent_id) + 1);
}

struct live_alerts {
    struct daemon *daemon;
    struct strmap *by_id;
    int64_t now_ns;
    struct ac_error *error;
};

static int end_if_dead(void *userdata, const struct ac_alert *alert)
{
    const struct live_alerts *live = userdata;
    if (strmap_get(live->by_id, alert->alert_id))
        return 0;
    return put_ended(live->daemon, alert, live->now_ns, live->error);
}

static int write_alerts(struct daemon *daemon, struct ac_error *error)
{
    struct live_alerts live = {.daemon = daemon, .now_ns = clock_wall_ns(), .error = error};
    const struct ac_alert *alert;
    size_t cursor = 0;
    int r = strmap_new((uint64_t)live.now_ns, &live.by_id);
    while (r == 0 && (alert = rules_next(core_rules(daemon->core), &cursor)))
        r = strmap_put(live.by_id, alert->alert_id, (void *)alert);
    if (r < 0)
        error_errno(error, r, "alerts");
    if (r == 0)
        r = store_each_alert(daemon->store, true, 0, UINT32_MAX, end_if_dead, &live, error);
    cursor = 0;
    while (r == 0 && (alert = rules_next(core_rules(daemon->core), &cursor)))
        r = store_put_alert(daemon->store, alert, error);
    strmap_free(live.by_id);
    return r;
}

/* Everything the store holds or should hold, judged by what is true now. */
static int write_everything(struct daemon *daemon, struct ac_error *error)
{
    struct buf agents CLEANUP(buf_done) = {0}, allocations CLEANUP(buf_done) = {0};
    const struct registry *registry = core_registry(daemon->core);
    const struct agent *agent;
    const struct ac_allocation *allocation;
    agent_slot slot = 0;
    size_t cursor = 0;
    int r = store_each_agent(daemon->store, collect_id, &agents, error);
    if (r == 0)
        r = store_each_allocation(daemon->store, collect_allocation, &allocations, error);
    for (size_t i = 0; r == 0 && i < agents.size; i += strlen(agents.data + i) + 1)
        r = sync_agent(daemon, agents.data + i, error);
    for (size_t i = 0; r == 0 && i < allocations.size; i += strlen(allocations.data + i) + 1)
        r = sync_allocation(daemon, allocations.data + i, error);
    while (r == 0 && (agent = registry_next(registry, &slot)))
        r = sync_agent(daemon, agent->spec.id, error);
    if (r == 0)
        r = write_alerts(daemon, error);
    if (r == 0)
        r = put_scale(daemon, error);
    while (r == 0 && (allocation = ledger_next(core_ledger(daemon->core), &cursor)))
        r = store_put_allocation(daemon->store, allocation, error);
    return r;
}

static int commit_everything(struct daemon *daemon, struct ac_error *error)
{
    uint64_t lost = core_events_lost(daemon->core);
    int r = store_begin(daemon->store, error);
    if (r < 0)
        return r;
    r = write_everything(daemon, error);
    if (r < 0)
        store_rollback(daemon->store);
    else
        r = store_commit(daemon->store, error);
    if (r == 0)
        daemon->events_lost = lost;
    return r;
}

/* Whether the store took everything. A disk that is full is not asked at every tick. */
static bool state_try_again(struct daemon *daemon, struct mono now)
{
    struct ac_error error;
    if (mono_since(now, daemon->state_tried) < RETRY_INTERVAL)
        return false;
    daemon->state_tried = now;
    return commit_everything(daemon, &error) == 0;
}

static void state_recovered(struct daemon *daemon)
{
    daemon->state_failing = false;
    log_plain(LOG_LEVEL_INFO, "state is written again");
    (void)core_clear(daemon->core, NULL, AC_DISK_IO, STATE_RULE, clock_moment());
}

void persist_catch_up(struct daemon *daemon)
{
    struct ac_error error;
    uint64_t lost = core_events_lost(daemon->core);
    if (lost == daemon->events_lost)
        return;
    daemon->events_lost = lost;
    daemon->learnt = true;
    if (daemon->store && !daemon->state_failing && commit_everything(daemon, &error) < 0)
        state_failed(daemon, &error);
}

/* ---- What was learnt */

static int save_learnt(struct daemon *daemon, struct ac_error *error)
{
    struct buf learnt CLEANUP(buf_done) = {0};
    int r = predict_save(core_predictor(daemon->core), &learnt);
    if (r < 0)
        return error_errno(error, r, "saving what was learnt");
    r = store_put_blob(daemon->store, PREDICT_BLOB, learnt.data, learnt.size, error);
    daemon->learnt &= r < 0;
    return r;
}

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

/* ---- The tick */

static bool rows_reserve(struct daemon *daemon, size_t need)
{
    if (need <= daemon->rows_capacity)
        return true;
    struct history_row *rows = mem_resize_array(daemon->rows, need * 2, sizeof(*rows));
    if (!rows)
        return false;
    daemon->rows = rows;
    struct history_totals *totals =
        mem_resize_array(daemon->rows_totals, need * 2, sizeof(*totals));
    if (!totals)
        return false;
    daemon->rows_totals = totals;
    daemon->rows_capacity = need * 2;
    return true;
}

static void row_totals(const struct agent_totals *totals, struct history_totals *ret_totals)
{
    *ret_totals = (struct history_totals){
        .known = (totals->known & TOTALS_KNOWN_CPU ? 1u : 0) |
                 (totals->known & TOTALS_KNOWN_DISK ? 2u : 0) |
                 (totals->known & TOTALS_KNOWN_NETWORK ? 4u : 0),
        .cpu_ns = totals->cpu_ns,
        .disk_bytes = totals->disk_read_bytes + totals->disk_written_bytes,
        .network_bytes = totals->net_received_bytes + totals->net_sent_bytes,
    };
}

static size_t collect_rows(struct daemon *daemon)
{
    const struct registry *registry = core_registry(daemon->core);
    size_t n = 0;
    const struct agent *agent;
    agent_slot slot = 0;
    if (!rows_reserve(daemon, (size_t)registry_count(registry) + 1))
        return 0;
    daemon->rows[n++] =
        (struct history_row){.subject = "", .usage = registry_machine_usage(registry)};
    while ((agent = registry_next(registry, &slot))) {
        if (agent->state == AGENT_EXITED || agent->usage.known == 0)
            continue;
        row_totals(&agent->totals, &daemon->rows_totals[n]);
        daemon->rows[n] = (struct history_row){.subject = agent->spec.id,
            .usage = &agent->usage,
            .totals = agent->measured.known ? &daemon->rows_totals[n] : NULL,
            .processes = agent->processes,
            .about = {.known = true,
                .philosophy = agent->spec.philosophy,
                .labels = agent->spec.labels,
                .labels_size = agent->spec.labels_size,
                .owner = history_owner_of(agent->spec.owner_uid)}};
        n++;
    }
    return n;
}

void persist_tick(struct daemon *daemon, struct moment now)
{
    struct ac_error error;
    if (!daemon->store)
        return;
    bool written = daemon->state_failing && state_try_again(daemon, now.mono);
    size_t n = collect_rows(daemon);
    int r = history_tick(daemon->history, now.wall_ns, daemon->rows, n, &error);
    if (r == 0 && written)
        state_recovered(daemon);
    uint64_t interval = daemon->learnt ? SAVE_LEARNT : SAVE_INTERVAL;
    if (r == 0 && !daemon->state_failing && mono_since(now.mono, daemon->saved) >= interval) {
        daemon->saved = now.mono;
        r = save_learnt(daemon, &error);
        if (r == 0)
            r = store_trim_alerts(daemon->store, now.wall_ns - ALERTS_KEPT_NS, &error);
    }
    if (r < 0)
        state_failed(daemon, &error);
}

void persist_close(struct daemon *daemon)
{
    struct ac_error error;
    if (daemon->store && !daemon->state_failing && daemon->started.ns &&
        save_learnt(daemon, &error) < 0)
        log_event(LOG_LEVEL_ERROR, "state cannot be written", log_str("reason", error.message));
    history_close(TAKE_PTR(daemon->history));
    store_close(TAKE_PTR(daemon->store));
    mem_free(TAKE_PTR(daemon->rows));
    mem_free(TAKE_PTR(daemon->rows_totals));
}

/* ---- Restart */

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

static int restore_alert(void *userdata, const struct ac_alert *alert)
{
    struct restore *restore = userdata;
    struct core *core = restore->daemon->core;
    const struct agent *agent = NULL;
    if ((alert->agent_id[0] != 0) != restore->of_agents)
        return 0;
    if (alert->agent_id[0])
        agent = registry_get(core_registry(core), alert->agent_id);
    /* It ends here where its subject is gone, or where it says that the state cannot be written:
     * it can. */
    bool over = (alert->agent_id[0] && !agent) || strcmp(alert->rule, STATE_RULE) == 0;
    if (over || rules_restore(core_rules(core), agent ? agent->slot : 0, alert, restore->now) < 0)
        return put_ended(restore->daemon, alert, restore->now.wall_ns, NULL);
    core_restored_alert(core, alert, restore->now);
    return 0;
}

static int restore_allocation(void *userdata, const struct ac_allocation *allocation)
{
    struct restore *restore = userdata;
    (void)ledger_restore(core_ledger(restore->daemon->core), allocation, restore->now);
    return 0;
}

int persist_restore_machine(struct daemon *daemon, struct ac_error *error)
{
    struct restore restore = {.daemon = daemon, .now = clock_moment()};
    if (!daemon->store)
        return 0;
    load_learnt(daemon);
    int r = store_each_alert(daemon->store, true, 0, UINT32_MAX, restore_alert, &restore, error);
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
        r = store_each_alert(daemon->store, true, 0, UINT32_MAX, restore_alert, &restore, error);
    if (r == 0)
        replay_agents(daemon);
    for (size_t i = 0; r == 0 && i < restore.lost.size; i += strlen(restore.lost.data + i) + 1)
        r = sync_agent(daemon, restore.lost.data + i, error);
    buf_done(&restore.lost);
    if (r == 0 && restore.agents + restore.gone > 0)
        log_event(LOG_LEVEL_INFO, "state restored", log_uint("agents", restore.agents),
            log_uint("ended_meanwhile", restore.gone));
    return r;
}
