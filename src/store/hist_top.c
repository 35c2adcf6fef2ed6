/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The largest of all agents: for each minute and each hour one row per metric over all slots.
 *
 * The format of a row is that of hist_top_row.c. Its id is level << 60 | period << 8 | metric.
 */
#include "store/hist_top.h"

#include <errno.h>
#include <string.h>

const int64_t top_level_ms[TOP_LEVELS] = {MINUTE_MS, HOUR_MS};

int hist_top_new(struct hist_top **ret_top)
{
    struct hist_top *top = mem_alloc(sizeof(*top));
    if (top == NULL)
        return -ENOMEM;
    top->period[TOP_MINUTE] = top->period[TOP_HOUR] = NO_PERIOD;
    *ret_top = top;
    return 0;
}

void hist_top_free(struct hist_top *top)
{
    if (top == NULL)
        return;
    for (unsigned i = 0; i < TOP_LEVELS * HIST_METRICS; i++) {
        struct top_sums *s = &top->sums[0][0] + i;
        mem_free(s->known);
        mem_free(s->sum);
        mem_free(s->max);
    }
    mem_free(top);
}

size_t hist_top_memory(const struct hist_top *top)
{
    return sizeof(*top) + (size_t)top->room * TOP_LEVELS * HIST_METRICS * 3 * sizeof(uint64_t);
}

static int grow(uint64_t **numbers, uint32_t from, uint32_t to)
{
    uint64_t *grown = mem_resize_array(*numbers, to, sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    memset(grown + from, 0, (to - from) * sizeof(*grown));
    *numbers = grown;
    return 0;
}

int hist_top_reserve(struct hist_top *top, uint32_t slots)
{
    if (slots <= top->room)
        return 0;
    uint32_t room = MAX(slots, MAX(top->room * 2, 64u));
    for (unsigned i = 0; i < TOP_LEVELS * HIST_METRICS; i++) {
        struct top_sums *s = &top->sums[0][0] + i;
        if (grow(&s->known, top->room, room) < 0 || grow(&s->sum, top->room, room) < 0 ||
            grow(&s->max, top->room, room) < 0)
            return -ENOMEM;
    }
    top->room = room;
    return 0;
}

static int64_t top_id(enum top_level level, int64_t period, unsigned metric)
{
    return (int64_t)level << 60 | period << 8 | (int64_t)metric;
}

static int64_t top_id_period(int64_t id)
{
    return (id & (((int64_t)1 << 60) - 1)) >> 8;
}

/* ---- Adding up ---------------------------------------------------------------------------- */

static void clear(struct hist_top *top, enum top_level level)
{
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        struct top_sums *s = &top->sums[level][m];
        memset(s->known, 0, top->room * sizeof(uint64_t));
        memset(s->sum, 0, top->room * sizeof(uint64_t));
        memset(s->max, 0, top->room * sizeof(uint64_t));
    }
}

/* The minute goes into the hour and begins anew. */
static void end_minute(struct hist_top *top)
{
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct top_sums *from = &top->sums[TOP_MINUTE][m];
        struct top_sums *to = &top->sums[TOP_HOUR][m];
        for (uint32_t i = 0; i < top->n; i++) {
            to->known[i] += from->known[i];
            to->sum[i] += from->sum[i];
            to->max[i] = MAX(to->max[i], from->max[i]);
        }
    }
    clear(top, TOP_MINUTE);
}

void hist_top_add(struct history *history, const struct frame_state *now)
{
    struct hist_top *top = history->top;
    int64_t minute = top_period(TOP_MINUTE, now->when_ms);
    int64_t hour = top_period(TOP_HOUR, now->when_ms);
    if (minute != top->period[TOP_MINUTE] && top->period[TOP_MINUTE] != NO_PERIOD)
        end_minute(top);
    if (hour != top->period[TOP_HOUR] && top->period[TOP_HOUR] != NO_PERIOD)
        clear(top, TOP_HOUR);
    top->period[TOP_MINUTE] = minute;
    top->period[TOP_HOUR] = hour;
    top->n = now->n;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        struct top_sums *s = &top->sums[TOP_MINUTE][m];
        const uint64_t *values = now->values[m];
        for (uint32_t i = 0; i < now->n; i++) {
            uint64_t known = values[i] > 0;
            uint64_t value = values[i] - known;
            s->known[i] += known;
            s->sum[i] += value;
            s->max[i] = MAX(s->max[i], value);
        }
    }
}

/* ---- Rows --------------------------------------------------------------------------------- */

static int put_row(struct history *history, enum top_level level, unsigned metric,
    const struct top_sums *sums, struct ac_error *error)
{
    struct buf *out = &history->scratch;
    buf_clear(out);
    if (top_row_encode(sums, history->top->n, out) < 0)
        return error_set(error, -ENOMEM, "no memory");
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(&history->write, HIST_TOP_PUT, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_int(&binder, top_id(level, history->top->period[level], metric));
    bind_bytes(&binder, out->data, out->size);
    r = sql_bound(&history->write.connection, &binder, error);
    return r < 0 ? r : sql_run(&history->write.connection, statement, "writing history", error);
}

static bool any_known(const struct top_sums *sums, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (sums->known[i] > 0)
            return true;
    }
    return false;
}

static int write_hour(struct history *history, unsigned metric, struct ac_error *error)
{
    const struct hist_top *top = history->top;
    const struct top_sums *minute = &top->sums[TOP_MINUTE][metric];
    const struct top_sums *hour = &top->sums[TOP_HOUR][metric];
    cleanup_free uint64_t *numbers = mem_alloc_array((size_t)top->n + 1, 3 * sizeof(uint64_t));
    if (numbers == NULL)
        return error_set(error, -ENOMEM, "no memory");
    struct top_sums both = {numbers, numbers + top->n, numbers + 2 * (size_t)top->n};
    for (uint32_t i = 0; i < top->n; i++) {
        both.known[i] = hour->known[i] + minute->known[i];
        both.sum[i] = hour->sum[i] + minute->sum[i];
        both.max[i] = MAX(hour->max[i], minute->max[i]);
    }
    return any_known(&both, top->n) ? put_row(history, TOP_HOUR, metric, &both, error) : 0;
}

int hist_top_write(struct history *history, int64_t when_ms, struct ac_error *error)
{
    const struct hist_top *top = history->top;
    int r = 0;
    if (top->period[TOP_MINUTE] == NO_PERIOD ||
        top->period[TOP_MINUTE] == top_period(TOP_MINUTE, when_ms))
        return 0;
    for (unsigned m = 0; m < HIST_METRICS && r == 0; m++) {
        if (any_known(&top->sums[TOP_MINUTE][m], top->n))
            r = put_row(history, TOP_MINUTE, m, &top->sums[TOP_MINUTE][m], error);
        if (r == 0 && top->period[TOP_HOUR] != top_period(TOP_HOUR, when_ms))
            r = write_hour(history, m, error);
    }
    return r;
}

int hist_top_trim(struct history *history, int64_t now_ms, struct ac_error *error)
{
    int64_t hours = (int64_t)(history->options.keep_hours_ns / (uint64_t)MS) / HOUR_MS;
    const int64_t kept[TOP_LEVELS] = {MINUTE_ROWS_KEPT, hours};
    int r = 0;
    if (history->sequence % 60 != 30)
        return 0;
    for (unsigned level = 0; level < TOP_LEVELS && r == 0; level++) {
        int64_t first = MAX(top_period(level, now_ms) - kept[level], (int64_t)0);
        const int64_t numbers[] = {top_id(level, 0, 0), top_id(level, first, 0)};
        r = hist_run(&history->write, HIST_TOP_TRIM, numbers, 2, error);
    }
    return r;
}

int top_row_get(struct hist_db *db, enum top_level level, int64_t period, unsigned metric,
    sqlite3_stmt **statement, const void **ret_bytes, size_t *ret_size, struct ac_error *error)
{
    int r = hist_sql(db, HIST_TOP_GET, statement, error);
    if (r < 0)
        return r;
    sqlite3_reset(*statement);
    if (sqlite3_bind_int64(*statement, 1, top_id(level, period, metric)) != SQLITE_OK)
        return -EIO;
    r = sql_step(&db->connection, *statement, "reading history", error);
    if (r != 1)
        return r;
    *ret_bytes = sqlite3_column_blob(*statement, 0);
    *ret_size = (size_t)sqlite3_column_bytes(*statement, 0);
    return 1;
}

int top_row_span(struct hist_db *db, int64_t *ret_first, int64_t *ret_end, struct ac_error *error)
{
    int64_t first = INT64_MAX;
    int64_t end = 0;
    for (unsigned level = 0; level < TOP_LEVELS; level++) {
        sqlite3_stmt *statement cleanup_reset = NULL;
        int64_t minutes = top_level_ms[level] / MINUTE_MS;
        int r = hist_sql(db, HIST_TOP_SPAN, &statement, error);
        if (r < 0)
            return r;
        sqlite3_bind_int64(statement, 1, top_id(level, 0, 0));
        sqlite3_bind_int64(statement, 2, top_id(level + 1, 0, 0));
        r = sql_step(&db->connection, statement, "reading history", error);
        if (r < 0)
            return r;
        if (sqlite3_column_type(statement, 0) == SQLITE_NULL)
            continue;
        first = MIN(first, top_id_period(sqlite3_column_int64(statement, 0)) * minutes);
        end = MAX(end, (top_id_period(sqlite3_column_int64(statement, 1)) + 1) * minutes);
    }
    *ret_first = MIN(first, end);
    *ret_end = end;
    return 0;
}

/* ---- After a restart ---------------------------------------------------------------------- */

/* The hour so far, from its minutes. */
int hist_top_recover(struct history *history, struct ac_error *error)
{
    struct hist_top *top = history->top;
    if (top->period[TOP_HOUR] == NO_PERIOD)
        return 0;
    clear(top, TOP_HOUR);
    for (int64_t k = 0; k < 60; k++) {
        int64_t minute = top->period[TOP_HOUR] * 60 + k;
        for (unsigned m = 0; m < HIST_METRICS && minute < top->period[TOP_MINUTE]; m++) {
            sqlite3_stmt *statement cleanup_reset = NULL;
            const void *bytes;
            size_t size;
            int r = top_row_get(
                &history->write, TOP_MINUTE, minute, m, &statement, &bytes, &size, error);
            if (r < 0)
                return r;
            if (r == 1)
                top_row_add(bytes, size, TOP_SUMS | TOP_MAXIMA, top->room, &top->sums[TOP_HOUR][m]);
        }
    }
    return 0;
}
