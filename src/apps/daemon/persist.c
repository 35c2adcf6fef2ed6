/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the store in step with the events, and feeds the history. A write that fails raises an
 * EMERGENCY alert; the store is made good by writing everything again once it works, the history
 * has a gap. Nothing else of the daemon stops, nor does the other of the two.
 */
#include "persist.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/map.h"
#include "base/mem.h"

#define SAVE_INTERVAL  (300 * NS_PER_SEC)
#define SAVE_LEARNT    (30 * NS_PER_SEC) /* where there is something new */
#define RETRY_INTERVAL (2 * NS_PER_SEC)
#define ALERTS_KEPT_NS (30ll * 86400 * (int64_t)NS_PER_SEC)

static bool state_wanted(const struct daemon *daemon)
{
    return strcmp(daemon->config.state, "none") != 0;
}

int persist_open(struct daemon *daemon, struct ac_error *error)
{
    if (!state_wanted(daemon))
        return history_open(NULL, &(struct history_options){0}, &daemon->history, error);
    struct store_options options = {.directory = daemon->config.state, .full_sync = true};
    struct history_options history = {.keep_raw_ns = daemon->config.history.raw_ns,
        .keep_minutes_ns = daemon->config.history.minutes_ns,
        .keep_hours_ns = daemon->config.history.hours_ns,
        .keep_days_ns = daemon->config.history.days_ns,
        .budget_bytes = daemon->config.history.budget_bytes,
        .full_sync = daemon->config.history.full_sync,
        .background = true};
    int r = store_open(&options, &daemon->store, error);
    if (r == 0)
        r = history_open(daemon->store, &history, &daemon->history, error);
    return r;
}

/* ---- Trouble */

struct trouble_words {
    const char *rule;
    const char *begins;
    const char *consequence;
    const char *ends;
};

static const struct trouble_words state_words = {STATE_RULE, "state cannot be written",
    "a restart finds what was written before", "state is written again"};
static const struct trouble_words history_words = {HISTORY_RULE, "history cannot be written",
    "it has a gap until it works again", "history is written again"};

static void trouble_begins(struct daemon *daemon, struct trouble *trouble,
    const struct trouble_words *words, const struct ac_error *error)
{
    struct rules_raise raise = {.rule = words->rule,
        .resource = AC_DISK_IO,
        .severity = AC_EMERGENCY,
        .message = error->message,
        .threshold = NAN,
        .current_value = NAN};
    if (!trouble->lasts)
        log_event(LOG_LEVEL_ERROR, words->begins, log_str("reason", error->message),
            log_str("consequence", words->consequence));
    trouble->lasts = true;
    trouble->tried = clock_mono();
    (void)core_raise(daemon->core, NULL, &raise, clock_moment(), NULL);
}

static void trouble_ends(
    struct daemon *daemon, struct trouble *trouble, const struct trouble_words *words)
{
    trouble->lasts = false;
    log_plain(LOG_LEVEL_INFO, words->ends);
    (void)core_clear(daemon->core, NULL, AC_DISK_IO, words->rule, clock_moment());
}

static void state_failed(struct daemon *daemon, const struct ac_error *error)
{
    trouble_begins(daemon, &daemon->state_trouble, &state_words, error);
}

/* Whether the store is there and took what came so far. */
static bool state_works(const struct daemon *daemon)
{
    return daemon->store && !daemon->state_trouble.lasts;
}

/* ---- Writing */

static int put_agent(struct daemon *daemon, const struct agent *agent, struct ac_error *error)
{
    return store_put_agent(daemon->store, &agent->spec, agent->added,
        registry_machine(core_registry(daemon->core))->boot_id, error);
}

static int sync_allocation(struct daemon *daemon, const char *agent_id, struct ac_error *error)
{
    const struct ledger *ledger = core_ledger(daemon->core);
    const struct ac_allocation *now = ledger_get(ledger, agent_id);
    if (now)
        return store_put_allocation(daemon->store, now, ledger_owner(ledger, agent_id), error);
    int r = store_remove_allocation(daemon->store, agent_id, error);
    return r == -ENOENT ? 0 : r;
}

int persist_sync_agent(struct daemon *daemon, const char *id, struct ac_error *error)
{
    const struct agent *agent = registry_get(core_registry(daemon->core), id);
    if (agent && agent->state != AGENT_EXITED)
        return put_agent(daemon, agent, error);
    int r = store_remove_agent(daemon->store, id, error);
    return r == -ENOENT ? 0 : r;
}

static int put_scale(struct daemon *daemon, struct ac_error *error)
{
    struct scale_blob scale;
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        scale.scale[i] = core_scale(daemon->core)->pools[i].scale;
    return store_put_blob(daemon->store, SCALE_BLOB, &scale, sizeof(scale), error);
}

int persist_put_ended(struct daemon *daemon, const struct ac_alert *alert, uint32_t owner_uid,
    int64_t now_ns, struct ac_error *error)
{
    struct ac_alert ended = *alert;
    ended.state = AC_ALERT_RESOLVED;
    ended.updated_ns = ended.ended_ns = now_ns;
    return store_put_alert(daemon->store, &ended, owner_uid, error);
}

static int write_event(struct daemon *daemon, const struct event *event, struct ac_error *error)
{
    switch (event->kind) {
    case EVENT_ALERT:
        return store_put_alert(daemon->store, &event->of.alert, event->owner_uid, error);
    case EVENT_ALLOCATION:
        return sync_allocation(daemon, event->agent_id, error);
    case EVENT_SCALE:
        return put_scale(daemon, error);
    case EVENT_AGENT_ADDED:
    case EVENT_AGENT_EXITED:
    case EVENT_AGENT_REMOVED: {
        daemon->learnt |= event->kind != EVENT_AGENT_ADDED;
        daemon->totals_soon |= event->kind == EVENT_AGENT_ADDED;
        int r = persist_sync_agent(daemon, event->agent_id, error);
        return r < 0 ? r : sync_allocation(daemon, event->agent_id, error);
    }
    default:
        return 0;
    }
}

void persist_begin(struct daemon *daemon)
{
    struct ac_error error;
    if (!state_works(daemon))
        return;
    if (store_begin(daemon->store, &error) < 0)
        state_failed(daemon, &error);
}

void persist_event(struct daemon *daemon, const struct event *event)
{
    struct ac_error error;
    if (!state_works(daemon))
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
    if (!state_works(daemon))
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

static int collect_allocation(
    void *userdata, const struct ac_allocation *allocation, uint32_t owner_uid)
{
    (void)owner_uid;
    return buf_append(userdata, allocation->agent_id, strlen(allocation->agent_id) + 1);
}

struct live_alerts {
    struct daemon *daemon;
    struct strmap *by_id;
    int64_t now_ns;
    struct ac_error *error;
};

static int end_if_dead(void *userdata, const struct ac_alert *alert, uint32_t owner_uid)
{
    const struct live_alerts *live = userdata;
    if (strmap_get(live->by_id, alert->alert_id))
        return 0;
    return persist_put_ended(live->daemon, alert, owner_uid, live->now_ns, live->error);
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
        r = store_put_alert(
            daemon->store, alert, rules_owner(core_rules(daemon->core), alert->alert_id), error);
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
        r = persist_sync_agent(daemon, agents.data + i, error);
    for (size_t i = 0; r == 0 && i < allocations.size; i += strlen(allocations.data + i) + 1)
        r = sync_allocation(daemon, allocations.data + i, error);
    while (r == 0 && (agent = registry_next(registry, &slot)))
        r = persist_sync_agent(daemon, agent->spec.id, error);
    if (r == 0)
        r = write_alerts(daemon, error);
    if (r == 0)
        r = put_scale(daemon, error);
    while (r == 0 && (allocation = ledger_next(core_ledger(daemon->core), &cursor)))
        r = sync_allocation(daemon, allocation->agent_id, error);
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

/* A disk that is full is not asked at every tick. */
static void state_try_again(struct daemon *daemon, struct mono now)
{
    struct ac_error error;
    if (mono_since(now, daemon->state_trouble.tried) < RETRY_INTERVAL)
        return;
    daemon->state_trouble.tried = now;
    if (commit_everything(daemon, &error) == 0)
        trouble_ends(daemon, &daemon->state_trouble, &state_words);
}

void persist_catch_up(struct daemon *daemon)
{
    struct ac_error error;
    uint64_t lost = core_events_lost(daemon->core);
    if (lost == daemon->events_lost)
        return;
    daemon->events_lost = lost;
    daemon->learnt = true;
    if (state_works(daemon) && commit_everything(daemon, &error) < 0)
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

static void write_history(struct daemon *daemon, struct moment now)
{
    struct ac_error error;
    size_t n = collect_rows(daemon);
    int r = history_tick(daemon->history, now.wall_ns, daemon->rows, n, &error);
    if (r < 0)
        trouble_begins(daemon, &daemon->history_trouble, &history_words, &error);
    else if (daemon->history_trouble.lasts)
        trouble_ends(daemon, &daemon->history_trouble, &history_words);
}

/* Once: what is kept then changes with every minute. */
static void tell_budget(struct daemon *daemon)
{
    struct history_status status;
    history_status(daemon->history, &status);
    if (daemon->history_cut || status.raw_since_ns == 0)
        return;
    daemon->history_cut = true;
    log_event(LOG_LEVEL_WARNING,
        "history reached its budget: old measurements go before their time",
        log_uint("history.budget", daemon->config.history.budget_bytes));
}

void persist_tick(struct daemon *daemon, struct moment now)
{
    struct ac_error error;
    if (!daemon->store)
        return;
    if (daemon->state_trouble.lasts)
        state_try_again(daemon, now.mono);
    write_history(daemon, now);
    if (!state_works(daemon))
        return;
    int r = totals_due(daemon, now.mono) ? totals_save(daemon, &error) : 0;
    uint64_t interval = daemon->learnt ? SAVE_LEARNT : SAVE_INTERVAL;
    if (r == 0 && mono_since(now.mono, daemon->saved) >= interval) {
        daemon->saved = now.mono;
        tell_budget(daemon);
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
    if (state_works(daemon) && daemon->started.ns &&
        (save_learnt(daemon, &error) < 0 || totals_save(daemon, &error) < 0))
        log_event(LOG_LEVEL_ERROR, state_words.begins, log_str("reason", error.message));
    history_close(TAKE_PTR(daemon->history));
    store_close(TAKE_PTR(daemon->store));
    mem_free(TAKE_PTR(daemon->rows));
    mem_free(TAKE_PTR(daemon->rows_totals));
}
