/* SPDX-License-Identifier: Apache-2.0 */
/* The largest of all agents in a span, from the rows of hist_top.c. */
#include <errno.h>
#include <string.h>

#include "store/hist_top.h"

#define TOP_MAX 1000

struct candidate {
    int64_t subject;
    uint64_t known;
    uint64_t sum;
    uint64_t max;
    double value;
};

struct ended {
    int64_t subject;
    uint32_t slot;
    int64_t to_ms;
};

struct ask {
    struct history *history;
    struct hist_db *db;
    enum hist_metric metric;
    enum history_aggregate aggregate;
    int64_t from_ms;
    int64_t to_ms;
    int64_t typical_ms; /* between two ticks */
    uint32_t n;         /* slots */
    int64_t *subjects;  /* of each slot now; 0 = none */
    uint64_t *known;
    uint64_t *sum;
    uint64_t *max;
    uint64_t *open; /* the minute that is being added up: samples, sum, maximum */
    uint32_t n_open;
    int64_t open_ms;     /* its start; NO_PERIOD = not in the span */
    struct ended *ended; /* by to_ms */
    size_t n_ended;
    size_t next_ended;
    struct candidate *found;
    size_t n_found;
    struct history_info *info;
};

static void ask_done(struct ask *ask)
{
    mem_free(ask->subjects);
    mem_free(ask->known);
    mem_free(ask->ended);
    mem_free(ask->found);
}

static void take_slot(struct ask *ask, uint32_t slot, int64_t subject)
{
    if (subject > 0 && ask->known[slot] > 0)
        ask->found[ask->n_found++] =
            (struct candidate){subject, ask->known[slot], ask->sum[slot], ask->max[slot], 0};
    ask->known[slot] = ask->sum[slot] = ask->max[slot] = 0;
}

/* What slots hold before @period_ms belongs to those who left them before. */
static void take_ended(struct ask *ask, int64_t period_ms)
{
    for (; ask->next_ended < ask->n_ended; ask->next_ended++) {
        const struct ended *e = &ask->ended[ask->next_ended];
        if (e->to_ms >= period_ms)
            break;
        if (e->slot < ask->n)
            take_slot(ask, e->slot, e->subject);
    }
}

static void add_numbers(struct ask *ask, const uint64_t *numbers, uint32_t n, unsigned part)
{
    for (uint32_t i = 0; i < n; i++) {
        if (part == 0)
            ask->known[i] += numbers[i];
        else if (part == 1)
            ask->sum[i] += numbers[i];
        else
            ask->max[i] = MAX(ask->max[i], numbers[i]);
    }
}

/* Adds a stored period. Returns 1, 0 where there is none, or -errno. */
static int add_period(struct ask *ask, enum top_level level, int64_t period, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    const void *bytes;
    size_t size;
    int r = top_row_get(ask->db, level, period, ask->metric, &statement, &bytes, &size, error);
    if (r != 1)
        return r;
    const struct top_sums to = {ask->known, ask->sum, ask->max};
    unsigned wanted = ask->aggregate == HISTORY_MAX ? TOP_MAXIMA : TOP_SUMS;
    if (top_row_add(bytes, size, wanted, ask->n, &to) < 0) {
        ask->info->damaged++;
        return 0;
    }
    ask->info->resolution_ns = MAX(ask->info->resolution_ns, (uint64_t)(top_level_ms[level] * MS));
    return 1;
}

/* Hours where their minutes are gone, else minutes. */
static int add_stored(struct ask *ask, int64_t minutes_from, struct ac_error *error)
{
    int64_t first, end;
    int r = top_row_span(ask->db, &first, &end, error);
    if (r < 0)
        return r;
    int64_t minute = MAX(top_period(TOP_MINUTE, ask->from_ms), first);
    end = MIN((ask->to_ms + MINUTE_MS - 1) / MINUTE_MS, end);
    while (minute < end) {
        if (hist_cancelled())
            return -ECANCELED;
        take_ended(ask, minute * MINUTE_MS);
        if (minute >= minutes_from) {
            r = add_period(ask, TOP_MINUTE, minute, error);
            minute++;
        } else {
            r = add_period(ask, TOP_HOUR, minute / 60, error);
            minute = (minute / 60 + 1) * 60;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_ended(struct ask *ask, struct ac_error *error)
{
    struct hist_db *db = ask->db;
    sqlite3_stmt *statement cleanup_reset = NULL;
    size_t room = 0;
    int r = hist_sql(db, HIST_TENURE_ENDED, &statement, error);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, ask->from_ms);
    sqlite3_bind_int64(statement, 2, ask->to_ms);
    for (;;) {
        r = sql_step(&db->connection, statement, "reading history", error);
        if (r != 1)
            return r;
        if (ask->n_ended == room) {
            room = room * 2 + 64;
            struct ended *grown = mem_resize_array(ask->ended, room, sizeof(*grown));
            if (grown == NULL)
                return error_set(error, -ENOMEM, "no memory");
            ask->ended = grown;
        }
        ask->ended[ask->n_ended++] = (struct ended){sqlite3_column_int64(statement, 0),
            (uint32_t)sqlite3_column_int64(statement, 1), sqlite3_column_int64(statement, 3)};
    }
}

/* Under the lock: slots, the current minute, and the state of the database that goes with them. */
static int snapshot(struct ask *ask, int64_t *ret_minutes_from, struct ac_error *error)
{
    struct history *history = ask->history;
    struct hist_top *top = history->top;
    ask->typical_ms = history->typical_ms;
    ask->n = MAX(history->n_slots, top->n);
    ask->subjects = mem_alloc_array((size_t)ask->n + 1, sizeof(int64_t));
    ask->known = mem_alloc_array((size_t)ask->n + 1, 6 * sizeof(uint64_t));
    if (ask->subjects == NULL || ask->known == NULL)
        return error_set(error, -ENOMEM, "no memory");
    ask->sum = ask->known + ask->n;
    ask->max = ask->sum + ask->n;
    ask->open = ask->max + ask->n;
    for (uint32_t i = 0; i < ask->n && i < history->n_slots; i++) {
        const struct hist_slot *slot = &history->slots[i];
        if (slot->subject != NULL && slot->subject->name[0] != 0 && slot->from_ms < ask->to_ms)
            ask->subjects[i] = slot->subject->id;
    }
    int64_t now = top->period[TOP_MINUTE];
    *ret_minutes_from = now == NO_PERIOD ? 0 : MAX(now - MINUTE_ROWS_KEPT + 1, (int64_t)0);
    int r = read_ended(ask, error);
    if (r < 0)
        return r;
    ask->found = mem_alloc_array(ask->n_ended + ask->n + 1, sizeof(*ask->found));
    return ask->found == NULL ? error_set(error, -ENOMEM, "no memory") : 0;
}

/* Under the lock: copies the minute that is being added up. */
static void copy_open(struct ask *ask)
{
    const struct hist_top *top = ask->history->top;
    ask->open_ms = NO_PERIOD;
    if (top->period[TOP_MINUTE] == NO_PERIOD)
        return;
    int64_t start = top->period[TOP_MINUTE] * MINUTE_MS;
    if (start >= ask->to_ms || start + MINUTE_MS <= ask->from_ms)
        return;
    const struct top_sums *s = &top->sums[TOP_MINUTE][ask->metric];
    ask->open_ms = start;
    ask->n_open = top->n;
    memcpy(ask->open, s->known, top->n * sizeof(uint64_t));
    memcpy(ask->open + ask->n, s->sum, top->n * sizeof(uint64_t));
    memcpy(ask->open + 2 * (size_t)ask->n, s->max, top->n * sizeof(uint64_t));
}

static void add_open(struct ask *ask)
{
    if (ask->open_ms == NO_PERIOD)
        return;
    take_ended(ask, ask->open_ms);
    for (unsigned part = 0; part < 3; part++)
        add_numbers(ask, ask->open + part * (size_t)ask->n, ask->n_open, part);
}

static int compare_ended(const void *a, const void *b)
{
    const struct ended *x = a;
    const struct ended *y = b;
    return x->to_ms < y->to_ms ? -1 : x->to_ms > y->to_ms;
}

static int compare_subjects(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    return x->subject < y->subject ? -1 : x->subject > y->subject;
}

static int compare_values(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return compare_subjects(a, b);
}

/* One candidate per subject, with its value. */
static void settle(struct ask *ask)
{
    if (ask->n_ended > 0) { /* else no subject can be there twice */
        size_t kept = 0;
        qsort(ask->found, ask->n_found, sizeof(*ask->found), compare_subjects);
        for (size_t i = 0; i < ask->n_found; i++) {
            struct candidate *last = kept > 0 ? &ask->found[kept - 1] : NULL;
            const struct candidate *c = &ask->found[i];
            if (last == NULL || last->subject != c->subject) {
                ask->found[kept++] = *c;
                continue;
            }
            last->known += c->known;
            last->sum += c->sum;
            last->max = MAX(last->max, c->max);
        }
        ask->n_found = kept;
    }
    double scale = hist_metric_info(ask->metric)->scale;
    double step_s = (double)MAX(ask->typical_ms, (int64_t)1) / 1000.0;
    for (size_t i = 0; i < ask->n_found; i++) {
        struct candidate *c = &ask->found[i];
        double sum = (double)c->sum * scale;
        c->value = ask->aggregate == HISTORY_MAX    ? (double)c->max * scale
                   : ask->aggregate == HISTORY_MEAN ? sum / (double)c->known
                                                    : sum * step_s;
    }
}

/* Who it is, and whether it takes part. 1, 0, -errno. */
static int take_subject(struct hist_db *db, int64_t subject, history_filter filter, void *userdata,
    char *ret_name, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(db, HIST_SUBJECT_NAME, &statement, error);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, subject);
    r = sql_step(&db->connection, statement, "reading history", error);
    if (r != 1)
        return r;
    struct reader reader = {.statement = statement};
    read_text(&reader, ret_name, AC_AGENT_ID_MAX + 1);
    if (reader.damaged || ret_name[0] == 0)
        return 0;
    if (filter == NULL)
        return 1;
    char labels[AGENT_LABELS_MAX_BYTES];
    const struct history_subject known = {ret_name, hist_about_read(&reader, labels)};
    return filter(userdata, &known);
}

/* Moves the @n largest to the front, sorted. */
static void select_largest(struct candidate *found, size_t n_found, size_t n)
{
    if (n == 0)
        return;
    qsort(found, n, sizeof(*found), compare_values);
    for (size_t i = n; i < n_found; i++) {
        if (compare_values(&found[i], &found[n - 1]) >= 0)
            continue;
        struct candidate better = found[i];
        size_t at = n - 1;
        for (; at > 0 && compare_values(&better, &found[at - 1]) < 0; at--)
            found[at] = found[at - 1];
        found[at] = better;
    }
}

static int answer(struct ask *ask, uint32_t n, history_filter filter, void *userdata,
    struct history_top_row *ret_rows, struct ac_error *error)
{
    uint32_t given = 0;
    settle(ask);
    /* The last of the found ones that falls out is lost: with a filter all are sorted. */
    size_t sorted = filter == NULL ? MIN((size_t)n + 1, ask->n_found) : ask->n_found;
    select_largest(ask->found, ask->n_found, sorted);
    for (size_t i = 0; i < sorted && given < n; i++) {
        struct history_top_row *row = &ret_rows[given];
        int r = take_subject(ask->db, ask->found[i].subject, filter, userdata, row->subject, error);
        if (r < 0)
            return r;
        if (r == 0)
            continue;
        row->value = ask->found[i].value;
        given++;
    }
    return (int)given;
}

static int ask_all(struct ask *ask, uint32_t n, history_filter filter, void *userdata,
    struct history_top_row *ret_rows, struct ac_error *error)
{
    int64_t minutes_from = 0;
    struct history *history = ask->history;
    pthread_mutex_lock(&history->lock);
    int r = hist_run(ask->db, HIST_BEGIN_READ, NULL, 0, error);
    if (r == 0)
        r = snapshot(ask, &minutes_from, error);
    if (r == 0)
        copy_open(ask);
    pthread_mutex_unlock(&history->lock);
    if (r < 0)
        return r;
    if (ask->n_ended > 0)
        qsort(ask->ended, ask->n_ended, sizeof(*ask->ended), compare_ended);
    r = add_stored(ask, minutes_from, error);
    add_open(ask);
    take_ended(ask, ask->to_ms);
    for (uint32_t i = 0; i < ask->n; i++)
        take_slot(ask, i, ask->subjects[i]);
    return r < 0 ? r : answer(ask, n, filter, userdata, ret_rows, error);
}

int history_top(struct history *history, enum ac_resource resource,
    enum history_aggregate aggregate, int64_t from_ns, int64_t to_ns, uint32_t n,
    history_filter filter, void *userdata, struct history_top_row *ret_rows,
    struct history_info *ret_info, struct ac_error *error)
{
    struct history_info info = {0};
    struct ask ask CLEANUP(ask_done) = {.history = history,
        .metric = hist_metric_of(resource),
        .aggregate = aggregate,
        .from_ms = MAX(from_ns, (int64_t)0) / MS,
        .to_ms = MAX(to_ns, (int64_t)0) / MS,
        .info = &info};
    int r = 0;
    if (!history->none) {
        r = hist_read_take(history, &ask.db, error);
        if (r == 0) {
            r = ask_all(&ask, MIN(n, (uint32_t)TOP_MAX), filter, userdata, ret_rows, error);
            hist_read_give(history, ask.db);
        }
        r = hist_cancel_code(r, error);
    }
    if (r >= 0 && ret_info != NULL)
        *ret_info = info;
    return r;
}
