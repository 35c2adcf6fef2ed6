/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges: ticks and minutes fall into steps (multiples of their length since 1970); a step goes
 * out when the next one begins. Where the clock went back, steps come twice: then all are collected
 * and sorted first.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "store/hist_internal.h"

#define COLLECT_MAX 1000000
#define GAP_STEPS   3

struct cell {
    double sum;
    int64_t min;
    int64_t max;
    uint64_t known;
};

struct step {
    int64_t index;
    uint64_t samples;
    uint64_t step_ms; /* how much time it stands for: more than asked for where it is coarse */
    struct hist_capacity capacity;
    struct cell cells[HIST_METRICS];
    uint32_t used_known; /* bit per counter */
    double used[HIST_COUNTERS];
};

struct range {
    const struct history_query *query;
    int64_t from_ms;
    int64_t to_ms;
    int64_t step_ms; /* 1: every tick is a step of its own */
    uint32_t metrics;
    history_fn each;
    void *userdata;
    struct history_info *info;
    struct step now;
    bool open; /* @now has something */
    uint32_t given;
    int64_t last_ms; /* of the last sample, for gaps; INT64_MIN = none */
    int64_t usual_ms;
    bool any_order; /* its order is known */
    bool collect;   /* steps go to the list */
    bool disorder;
    struct step *steps;
    size_t n_steps;
    size_t steps_room;
};

#define RANGE_FULL 1 /* the limit */

/* ---- Out ---------------------------------------------------------------------------------- */

static void restore(const struct step *step, unsigned what, struct ac_usage *ret_usage)
{
    double values[HIST_METRICS];
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct cell *c = &step->cells[m];
        double value = what == 0   ? c->sum / (double)c->known
                       : what == 1 ? (double)c->min
                                   : (double)c->max;
        values[m] = c->known > 0 ? value : NAN;
    }
    hist_restore(values, &step->capacity, ret_usage);
}

static double used_or_nan(const struct step *step, unsigned counter, double scale)
{
    return step->used_known >> counter & 1 ? step->used[counter] * scale : (double)NAN;
}

static int give(struct range *range, const struct step *step)
{
    struct history_point point = {.from_ns = step->index * range->step_ms * MS,
        .step_ns = step->step_ms * (uint64_t)MS,
        .samples = (uint32_t)step->samples,
        .cpu_seconds = used_or_nan(step, 0, 1e-9),
        .disk_bytes = used_or_nan(step, 1, 1e-3),
        .network_bytes = used_or_nan(step, 2, 1e-3)};
    restore(step, 0, &point.mean);
    if (step->samples == 1) {
        point.min = point.max = point.mean;
    } else {
        restore(step, 1, &point.min);
        restore(step, 2, &point.max);
    }
    point.mean.timestamp_ns = point.min.timestamp_ns = point.max.timestamp_ns = point.from_ns;
    if (range->query->limit > 0 && range->given == range->query->limit) {
        range->info->limited = true;
        return RANGE_FULL;
    }
    range->given++;
    int r = range->each(range->userdata, &point);
    if (r != 0)
        range->each = NULL; /* the caller ended it */
    return r;
}

static int collect(struct range *range, const struct step *step)
{
    if (range->n_steps == COLLECT_MAX)
        return -E2BIG;
    if (range->n_steps == range->steps_room) {
        size_t room = range->steps_room * 2 + 256;
        struct step *grown = mem_resize_array(range->steps, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        range->steps = grown;
        range->steps_room = room;
    }
    range->steps[range->n_steps++] = *step;
    return 0;
}

static int flush(struct range *range)
{
    if (!range->open)
        return 0;
    range->open = false;
    return range->collect ? collect(range, &range->now) : give(range, &range->now);
}

static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

/* Steps are multiples of their length since 1970; one that began before the span has no point. */
static bool outside(const struct range *range, int64_t at_ms)
{
    return at_ms >= range->to_ms ||
           floor_div(at_ms, range->step_ms) * range->step_ms < range->from_ms;
}

/* ---- In ----------------------------------------------------------------------------------- */

static void note_gap(struct range *range, int64_t at_ms, int64_t span_ms)
{
    if (range->last_ms != INT64_MIN && at_ms > range->last_ms) {
        int64_t gap = at_ms - range->last_ms;
        if (range->usual_ms > 0 && gap > GAP_STEPS * range->usual_ms + span_ms) {
            range->info->gaps++;
            range->info->gap_ns += (uint64_t)(gap - range->usual_ms) * (uint64_t)MS;
        } else {
            range->usual_ms = range->usual_ms == 0 ? gap : (range->usual_ms * 7 + gap) / 8;
        }
    }
    range->last_ms = at_ms + span_ms;
}

/* Makes @now the step of @at_ms. Returns 0, or what ends the query. */
static int go_to(
    struct range *range, int64_t at_ms, const struct hist_capacity *capacity, int64_t least_ms)
{
    int64_t index = floor_div(at_ms, range->step_ms);
    if (range->open && index == range->now.index) {
        range->now.capacity = *capacity;
        return 0;
    }
    if (range->open && index < range->now.index && !range->collect) {
        range->disorder = true;
        return -EAGAIN;
    }
    int r = flush(range);
    if (r != 0)
        return r;
    int64_t step = range->step_ms == 1 ? 0 : range->step_ms;
    range->now = (struct step){
        .index = index, .step_ms = (uint64_t)MAX(step, least_ms), .capacity = *capacity};
    range->open = true;
    return 0;
}

static void add(
    struct step *step, unsigned metric, double sum, int64_t min, int64_t max, uint64_t known)
{
    struct cell *c = &step->cells[metric];
    c->min = c->known == 0 || min < c->min ? min : c->min;
    c->max = c->known == 0 || max > c->max ? max : c->max;
    c->sum += sum;
    c->known += known;
}

static void add_used(struct step *step, int counter, double amount)
{
    step->used_known |= 1u << counter;
    step->used[counter] += amount;
}

/* What each tick of a section used of a counter, in its unit; NaN where the rate is not known. */
static void share_total(const struct row_axis *axis, const struct row_section *section, unsigned m,
    int64_t usual_ms, double *ret_used)
{
    const struct hist_metric_info *info = hist_metric_info(m);
    const int64_t *values = section->metrics[m];
    double sum = 0;
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < section->n; i++) {
        ret_used[i] = NAN;
        if (values[i] == HIST_UNKNOWN)
            continue;
        int64_t step = row_step(axis, section->first + i, usual_ms);
        ret_used[i] = (double)values[i] * (double)step * info->counter_rate / 1000.0;
        sum += ret_used[i];
        last = i;
    }
    if (!(section->totals.known >> info->counter & 1) || last == UINT32_MAX)
        return;
    double total =
        (double)(section->totals.end[info->counter] - section->totals.start[info->counter]);
    for (uint32_t i = 0; i < section->n && sum > 0; i++)
        ret_used[i] *= total / sum;
    if (sum <= 0)
        ret_used[last] = total;
}

/* An array of section->n in @buffer for each counter that is asked for, NULL for the others. */
static void share_totals(const struct row_axis *axis, const struct row_section *section,
    uint32_t metrics, double *buffer, const double *ret_used[HIST_COUNTERS])
{
    int64_t usual_ms = row_usual_step(axis);
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        int counter = hist_metric_info(m)->counter;
        if (counter < 0 || section->metrics[m] == NULL || !(metrics >> m & 1))
            continue;
        double *used = buffer + (size_t)counter * section->n;
        share_total(axis, section, m, usual_ms, used);
        ret_used[counter] = used;
    }
}

static int take_ticks(struct range *range, const struct row_axis *axis,
    const struct row_section *section, const double *const used[HIST_COUNTERS])
{
    for (uint32_t i = 0; i < section->n; i++) {
        int64_t at = axis->times_ms[section->first + i];
        if (section->present[i] == HIST_UNKNOWN || outside(range, at))
            continue;
        struct hist_capacity capacity = row_capacity(axis, section->first + i);
        note_gap(range, at, 0);
        int r = go_to(range, at, &capacity, 0);
        if (r != 0)
            return r;
        range->now.samples++;
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            if (section->metrics[m] == NULL || !(range->metrics >> m & 1))
                continue;
            int64_t value = section->metrics[m][i];
            if (value != HIST_UNKNOWN)
                add(&range->now, m, (double)value, value, value, 1);
        }
        for (int c = 0; c < HIST_COUNTERS; c++) {
            if (used[c] != NULL && !isnan(used[c][i]))
                add_used(&range->now, c, used[c][i]);
        }
    }
    return 0;
}

static int on_ticks(void *userdata, const struct row_axis *axis, const struct row_section *section)
{
    struct range *range = userdata;
    const double *used[HIST_COUNTERS] = {0};
    if (!range->query->used)
        return take_ticks(range, axis, section, used);
    double *buffer cleanup_free =
        mem_alloc_array((size_t)section->n * HIST_COUNTERS + 1, sizeof(*buffer));
    if (buffer == NULL)
        return -ENOMEM;
    share_totals(axis, section, range->metrics, buffer, used);
    return take_ticks(range, axis, section, used);
}

static int on_minutes(
    void *userdata, const struct row_axis *axis, uint32_t first, const struct roll_minutes *minutes)
{
    struct range *range = userdata;
    range->info->resolution_ns = MAX(range->info->resolution_ns, (uint64_t)(MINUTE_MS * MS));
    for (uint32_t i = 0; i < minutes->n; i++) {
        if (first + i >= axis->n)
            return -EBADMSG;
        int64_t at = axis->times_ms[first + i];
        if (minutes->samples[i] == 0 || outside(range, at))
            continue;
        struct hist_capacity capacity = row_capacity(axis, first + i);
        note_gap(range, at, MINUTE_MS);
        int r = go_to(range, at, &capacity, MINUTE_MS);
        if (r != 0)
            return r;
        range->now.samples += minutes->samples[i];
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            const struct roll_cell *c = &minutes->cells[(size_t)m * minutes->n + i];
            if (c->known == 0 || !(range->metrics >> m & 1))
                continue;
            const struct hist_metric_info *info = hist_metric_info(m);
            add(&range->now, m, (double)c->sum, c->min, c->max, c->known);
            if (range->query->used && info->counter >= 0) /* the mean stands for the minute */
                add_used(&range->now, info->counter,
                    (double)c->sum / (double)c->known * (double)MINUTE_MS * info->counter_rate /
                        1000.0);
        }
    }
    return 0;
}

static int on_record(
    void *userdata, enum hist_series series, const struct row_axis *axis, struct byte_reader *body)
{
    struct range *range = userdata;
    int64_t at = axis->times_ms[0];
    if (outside(range, at))
        return 0;
    cleanup_free struct roll_record *record = mem_alloc(sizeof(*record));
    if (record == NULL)
        return -ENOMEM;
    int r = roll_merge(record, body, -1);
    if (r < 0)
        return r;
    int64_t span = hist_record_ms(series, axis);
    range->info->resolution_ns = MAX(range->info->resolution_ns, (uint64_t)(span * MS));
    note_gap(range, at, axis->times_ms[1] - at);
    struct hist_capacity capacity = row_capacity(axis, 1);
    r = go_to(range, at, &capacity, span);
    if (r != 0)
        return r;
    range->now.samples += record->samples;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct roll_stats *s = &record->metrics[m];
        if (s->known == 0 || !(range->metrics >> m & 1))
            continue;
        const struct hist_metric_info *info = hist_metric_info(m);
        add(&range->now, m, (double)s->sum, s->min, s->max, s->known);
        if (range->query->used && info->counter >= 0)
            add_used(&range->now, info->counter,
                s->has_totals ? (double)(s->total_end - s->total_start)
                              : (double)s->integral * info->counter_rate / 1000.0);
    }
    return 0;
}

/* ---- Where steps came twice --------------------------------------------------------------- */

static int compare_steps(const void *a, const void *b)
{
    const struct step *x = a;
    const struct step *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int give_collected(struct range *range)
{
    if (range->n_steps == 0)
        return 0;
    qsort(range->steps, range->n_steps, sizeof(*range->steps), compare_steps);
    struct step *step = &range->steps[0];
    for (size_t i = 1; i <= range->n_steps; i++) {
        const struct step *next = i < range->n_steps ? &range->steps[i] : NULL;
        if (next == NULL || next->index != step->index) {
            int r = give(range, step);
            if (r != 0)
                return r;
            step = &range->steps[i];
            continue;
        }
        step->samples += next->samples;
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            const struct cell *c = &next->cells[m];
            if (c->known > 0)
                add(step, m, c->sum, c->min, c->max, c->known);
        }
        for (int c = 0; c < HIST_COUNTERS; c++) {
            if (next->used_known >> c & 1)
                add_used(step, c, next->used[c]);
        }
    }
    return 0;
}

static int run(struct history *history, struct range *range, struct ac_error *error)
{
    const struct history_query *q = range->query;
    const struct hist_visitor visitor = {.metrics = range->metrics,
        .finest = range->step_ms >= DAY_HOURS * HOUR_MS ? SERIES_HOUR
                  : range->step_ms >= MINUTE_MS         ? SERIES_MINUTE
                                                        : SERIES_MERGED,
        .from_ms = range->from_ms,
        .to_ms = range->to_ms,
        .any_order = range->any_order,
        .cancel = q->cancel,
        .info = range->info,
        .userdata = range,
        .ticks = on_ticks,
        .minutes = on_minutes,
        .record = on_record};
    *range->info = (struct history_info){0};
    range->open = range->disorder = false;
    range->n_steps = 0;
    range->last_ms = INT64_MIN;
    range->usual_ms = 0;
    const struct history_whose whose = {q->subject, q->owner};
    int r = hist_visit(history, &whose, &visitor, error);
    if (r == 0)
        r = flush(range);
    return r == 0 && range->collect ? give_collected(range) : r;
}

/* Steps of a second and more are whole milliseconds; between minutes, whole minutes. */
static int64_t round_step(uint64_t step_ns)
{
    int64_t step = hist_ceil_ms((int64_t)MIN(step_ns, (uint64_t)INT64_MAX));
    if (step >= MINUTE_MS)
        return (step + MINUTE_MS - 1) / MINUTE_MS * MINUTE_MS;
    return MAX(step, (int64_t)1);
}

/* Whether the times of a subject go back somewhere is known only on the way: before anything
 * has been handed out, the query is tried with streaming into a counter of its order. */
static int count_only(void *userdata, const struct history_point *point)
{
    (void)userdata;
    (void)point;
    return 0;
}

static bool goes_back(struct history *history, const struct range *range)
{
    struct history_info info;
    struct range probe = *range;
    struct history_query query = *range->query;
    probe.any_order = true;
    probe.collect = false;
    query.limit = 0;
    probe.query = &query;
    probe.info = &info;
    probe.metrics = 0;
    probe.each = count_only;
    run(history, &probe, NULL);
    return probe.disorder;
}

int history_range_query(struct history *history, const struct history_query *query, history_fn each,
    void *userdata, struct history_info *ret_info, struct ac_error *error)
{
    struct history_info info = {0};
    if (history->none || query->from_ns >= query->to_ns) {
        if (ret_info != NULL)
            *ret_info = info;
        return 0;
    }
    struct range range = {.query = query,
        .from_ms = hist_ceil_ms(query->from_ns),
        .to_ms = hist_ceil_ms(query->to_ns),
        .step_ms = round_step(query->step_ns),
        .metrics =
            query->metrics == 0 ? (1u << HIST_METRICS) - 1 : hist_metrics_for(query->metrics),
        .each = each,
        .userdata = userdata,
        .info = &info};
    int r = -EAGAIN;
    for (unsigned attempt = 0; r == -EAGAIN && range.each != NULL && attempt < 3; attempt++) {
        range.any_order = attempt > 0 || atomic_load(&history->went_back);
        range.collect = range.any_order && goes_back(history, &range);
        r = run(history, &range, error);
    }
    mem_free(range.steps);
    if (r == RANGE_FULL && range.each != NULL)
        r = 0;
    if (r >= 0 && ret_info != NULL)
        *ret_info = info;
    if (r == -E2BIG && range.each != NULL)
        error_set(error, r, "history: too many steps; ask for a shorter span or longer steps");
    return range.each == NULL ? r : hist_explain(r, error);
}

int history_range(struct history *history, const char *subject, int64_t from_ns, int64_t to_ns,
    uint64_t step_ns, uint32_t limit, history_fn each, void *userdata, struct ac_error *error)
{
    const struct history_query query = {.subject = subject,
        .owner = HISTORY_ANYBODY,
        .from_ns = from_ns,
        .to_ns = to_ns,
        .step_ns = step_ns,
        .limit = limit};
    return limit == 0 ? 0 : history_range_query(history, &query, each, userdata, NULL, error);
}

/* Whether somebody who still has a slot was last seen before. */
static bool gone_before(
    struct history *history, const struct history_subject *known, int64_t from_ms)
{
    pthread_mutex_lock(&history->lock);
    const struct hist_subject *subject = hist_subject_get(history, known->name, known->about.owner);
    bool gone = subject != NULL && subject->slot != SLOT_NONE &&
                hist_slot_seen(history, subject->slot) < from_ms;
    pthread_mutex_unlock(&history->lock);
    return gone;
}

int history_subjects(struct history *history, int64_t owner, int64_t from_ns, int64_t to_ns,
    uint32_t limit, int (*each)(void *userdata, const struct history_subject *subject),
    void *userdata, struct ac_error *error)
{
    if (history->none || from_ns >= to_ns)
        return 0;
    struct hist_db *db;
    sqlite3_stmt *statement = NULL;
    int r = hist_read_take(history, &db, error);
    if (r < 0)
        return hist_cancel_code(r, error);
    r = hist_sql(db, HIST_SUBJECT_SPAN, &statement, error);
    if (r == 0) {
        struct binder binder = {.statement = statement};
        bind_int(&binder, hist_ceil_ms(to_ns));
        bind_int(&binder, from_ns / MS);
        bind_int(&binder, limit);
        bind_int(&binder, owner);
        r = sql_bound(&db->connection, &binder, error);
    }
    while (r == 0) {
        r = sql_step(&db->connection, statement, "reading history", error);
        if (r != 1)
            break;
        struct reader reader = {.statement = statement};
        char name[AC_AGENT_ID_MAX + 1];
        char labels[AGENT_LABELS_MAX_BYTES];
        read_text(&reader, name, sizeof(name));
        const struct history_subject subject = {name, hist_about_read(&reader, labels)};
        r = gone_before(history, &subject, from_ns / MS) ? 0 : each(userdata, &subject);
    }
    sql_resetp(&statement);
    hist_read_give(history, db);
    return hist_cancel_code(r, error);
}

int history_has(struct history *history, const struct history_whose *whose, struct ac_error *error)
{
    struct hist_db *db;
    sqlite3_stmt *statement = NULL;
    int64_t id;
    if (history->none)
        return 0;
    int r = hist_read_take(history, &db, error);
    if (r < 0)
        return hist_cancel_code(r, error);
    r = hist_sql(db, HIST_SUBJECT_NAMED, &statement, error);
    if (r == 0) {
        struct binder binder = {.statement = statement};
        bind_text(&binder, whose->subject);
        bind_int(&binder, whose->owner);
        r = sql_bound(&db->connection, &binder, error);
    }
    if (r == 0)
        r = hist_get_int(db, statement, &id, error);
    sql_resetp(&statement);
    hist_read_give(history, db);
    return hist_cancel_code(r, error);
}
