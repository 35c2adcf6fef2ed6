/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retention: at each tick one group is looked at, so that old rows go as evenly as new ones come.
 * Over the byte budget, the cutoff of raw data moves up a step at a time, then that of minutes,
 * then that of hours, until the database fits.
 */
#include <errno.h>

#include "store/hist_internal.h"

#define BUDGET_TICKS 60
#define BUDGET_STEPS 48 /* of what is kept */
#define RAW_LEAST_MS (2 * HOUR_MS)
#define TENURE_TICKS 3600
#define CATCH_UP_MS  MINUTE_MS

static int64_t kept_ms(const struct history *history, unsigned which)
{
    const struct history_options *o = &history->options;
    const uint64_t kept[] = {o->keep_raw_ns, o->keep_minutes_ns, o->keep_hours_ns};
    return (int64_t)(kept[which] / (uint64_t)MS);
}

/* Moves a cutoff up where the database is too large. */
static int check_budget(struct history *history, int64_t now_ms, struct ac_error *error)
{
    uint64_t size = 0;
    int r = hist_db_size(&history->write, &size, error);
    if (r < 0 || size <= history->options.budget_bytes)
        return r;
    for (unsigned k = 0; k < ARRAY_SIZE(history->budget_cutoff_ms); k++) {
        int64_t *cutoff = &history->budget_cutoff_ms[k];
        int64_t last = now_ms - RAW_LEAST_MS;
        if (*cutoff >= last)
            continue;
        *cutoff = MAX(*cutoff, now_ms - kept_ms(history, k));
        *cutoff = MIN(*cutoff + kept_ms(history, k) / BUDGET_STEPS, last);
        return 0;
    }
    return 0;
}

static int expire_group(
    struct history *history, uint32_t group, int64_t now_ms, struct ac_error *error)
{
    int64_t raw = MAX(now_ms - kept_ms(history, 0), history->budget_cutoff_ms[0]);
    const struct {
        enum hist_series series;
        int64_t before;
    } cuts[] = {
        {SERIES_MERGED, raw},
        {SERIES_MINUTE, MAX(now_ms - kept_ms(history, 1), history->budget_cutoff_ms[1])},
        {SERIES_HOUR, MAX(now_ms - kept_ms(history, 2), history->budget_cutoff_ms[2])},
        {SERIES_DAY, now_ms - (int64_t)(history->options.keep_days_ns / (uint64_t)MS)},
    };
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(cuts) && r == 0; i++) {
        if (cuts[i].before > 0)
            r = hist_series_expire(&history->write, cuts[i].series, group, cuts[i].before, error);
    }
    return r;
}

static int expire_tenures(struct history *history, int64_t now_ms, struct ac_error *error)
{
    const int64_t before = now_ms - (int64_t)(history->options.keep_days_ns / (uint64_t)MS);
    int r = hist_run(&history->write, HIST_TENURE_TRIM, &before, 1, error);
    if (r == 0 && sqlite3_changes(history->write.connection.db) > 0)
        r = hist_run(&history->write, HIST_SUBJECT_TRIM, NULL, 0, error);
    return r;
}

/* A clock that jumps ahead for a moment must not cost the history: what is called now moves at
 * most a minute per tick, and catches up after a sleep. */
static int64_t careful_now(struct history *history, int64_t now_ms)
{
    int64_t last = history->expire_now_ms;
    if (last == 0)
        last = history->before->when_ms;
    if (last == 0 || now_ms < last)
        last = now_ms;
    history->expire_now_ms = MIN(now_ms, last + CATCH_UP_MS);
    return history->expire_now_ms;
}

int hist_expire_step(struct history *history, int64_t when_ms, struct ac_error *error)
{
    int r = 0;
    int64_t now_ms = careful_now(history, when_ms);
    bool budget = history->options.budget_bytes > 0;
    if (budget && history->sequence % BUDGET_TICKS == 0)
        r = check_budget(history, now_ms, error);
    uint32_t groups = budget ? history->n_groups / BUDGET_TICKS + 1 : 1;
    for (uint32_t i = 0; i < groups && r == 0 && history->n_groups > 0; i++) {
        r = expire_group(history, history->expire_next % history->n_groups, now_ms, error);
        history->expire_next = (history->expire_next + 1) % history->n_groups;
    }
    if (r == 0 && history->sequence % TENURE_TICKS == TENURE_TICKS - 1)
        r = expire_tenures(history, now_ms, error);
    return r == 0 ? hist_top_trim(history, now_ms, error) : r;
}
