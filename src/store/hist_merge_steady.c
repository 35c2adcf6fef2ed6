/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging an agent that was there all the time: column by column, and those that seldom change
 * by their runs of equal values, without a step per tick.
 */
#include <errno.h>
#include <string.h>

#include "store/hist_merge.h"

#define TICKS_PER_RUN 8 /* more runs than one in so many ticks are coded as single values */

enum shape { SHAPE_ABSENT, SHAPE_RUNS, SHAPE_VALUES, SHAPE_GAPS };

/* How a metric is best merged. */
static enum shape shape_of(const struct hist_merge *merge, const struct row_view *views, unsigned m)
{
    uint32_t there = 0;
    bool known = true;
    bool runs = true;
    for (uint32_t i = 0; i < merge->n_sources; i++) {
        const struct column_view *view = &views[i].metrics[m];
        if (!(views[i].mask >> m & 1))
            continue;
        there++;
        known = known && view->stats.count == view->n;
        runs = runs && (view->mode == COLUMN_CONSTANT || view->mode == COLUMN_CHANGES);
    }
    if (there == 0)
        return SHAPE_ABSENT;
    if (there < merge->n_sources || !known)
        return SHAPE_GAPS;
    return runs ? SHAPE_RUNS : SHAPE_VALUES;
}

static void join_totals(const struct hist_merge *merge, const struct row_view *views, unsigned m,
    struct column_stats *stats)
{
    for (uint32_t i = 0; i < merge->n_sources; i++) {
        const struct column_stats *s = &views[i].metrics[m].stats;
        if (!(views[i].mask >> m & 1) || !s->has_totals)
            continue;
        row_join_totals(!stats->has_totals, &stats->total_start, &stats->total_end, s->total_start,
            s->total_end);
        stats->has_totals = true;
    }
}

static void add_to_cell(struct roll_cell *cell, int64_t value, uint32_t ticks)
{
    cell->min = cell->known == 0 ? value : MIN(cell->min, value);
    cell->max = cell->known == 0 ? value : MAX(cell->max, value);
    cell->sum = wrap_add(cell->sum, wrap_mul(value, ticks));
    cell->known += ticks;
}

/* What a value for so many ticks adds to an hour; ends and sum come from the column. */
static void add_to_hour(const struct hist_merge *merge, struct roll_stats *hour, int64_t value,
    uint32_t from, uint32_t ticks)
{
    uint64_t ms = merge->elapsed_ms[from + ticks] - merge->elapsed_ms[from];
    hour->integral = wrap_add(hour->integral, wrap_mul(value, (int64_t)ms));
    sketch_add_many(&hour->sketch, (uint64_t)value, ticks);
}

static void roll_runs(const struct hist_merge *merge, uint32_t n_runs, struct roll_cell *cells,
    struct roll_stats *hour)
{
    uint32_t tick = 0;
    uint32_t minute = 0;
    for (uint32_t i = 0; i < n_runs; i++) {
        const struct column_run *run = &merge->runs[i];
        uint32_t end = tick + run->ticks;
        add_to_hour(merge, hour, run->value, tick, run->ticks);
        while (tick < end) {
            uint32_t until = MIN(end, merge->minute_from[minute + 1]);
            add_to_cell(&cells[minute], run->value, until - tick);
            tick = until;
            minute += tick == merge->minute_from[minute + 1];
        }
    }
}

static void roll_values(const struct hist_merge *merge, const int64_t *values,
    struct roll_cell *cells, struct roll_stats *hour)
{
    for (uint32_t minute = 0; minute < merge->minutes.n; minute++) {
        for (uint32_t i = merge->minute_from[minute]; i < merge->minute_from[minute + 1]; i++) {
            if (values[i] == HIST_UNKNOWN)
                continue;
            add_to_cell(&cells[minute], values[i], 1);
            add_to_hour(merge, hour, values[i], i, 1);
        }
    }
}

/* The values of all sources behind each other. */
static int decode(const struct hist_merge *merge, const struct row_view *views, unsigned m)
{
    int r = 0;
    for (uint32_t i = 0; i < merge->n_sources && r == 0; i++) {
        int64_t *at = merge->buffer + merge->sources[i].offset;
        if (views[i].mask >> m & 1) {
            r = column_decode(&views[i].metrics[m], at);
        } else {
            for (uint32_t k = 0; k < merge->sources[i].axis.n; k++)
                at[k] = HIST_UNKNOWN;
        }
    }
    return r;
}

static uint32_t spread_runs(const struct hist_merge *merge, uint32_t n_runs)
{
    uint32_t tick = 0;
    for (uint32_t i = 0; i < n_runs; i++) {
        for (uint32_t k = 0; k < merge->runs[i].ticks; k++)
            merge->buffer[tick++] = merge->runs[i].value;
    }
    return tick;
}

static int add_metric(struct hist_merge *merge, const struct row_view *views, unsigned m,
    enum shape shape, struct buf *columns)
{
    struct roll_cell *cells = &merge->minutes.cells[(size_t)m * merge->minutes.n];
    struct roll_stats *hour = &merge->record->metrics[m];
    uint64_t growth = row_growth(&merge->axis, m);
    struct column_stats stats = {0};
    uint32_t n_runs = 0;
    int r = 0;
    join_totals(merge, views, m, &stats);
    if (shape == SHAPE_RUNS) {
        for (uint32_t i = 0; i < merge->n_sources && r == 0; i++)
            r = column_read_runs(&views[i].metrics[m], merge->runs, &n_runs);
        if (r == 0)
            roll_runs(merge, n_runs, cells, hour);
    } else {
        r = decode(merge, views, m);
        if (r == 0)
            roll_values(merge, merge->buffer, cells, hour);
    }
    if (r < 0)
        return r;
    if (shape == SHAPE_RUNS && n_runs * TICKS_PER_RUN < merge->axis.n + TICKS_PER_RUN) {
        r = column_encode_runs(merge->runs, n_runs, &stats, growth, columns);
    } else {
        if (shape == SHAPE_RUNS)
            spread_runs(merge, n_runs);
        r = column_encode(merge->buffer, merge->axis.n, &stats, growth, columns);
    }
    hour->known = stats.count;
    hour->min = stats.min;
    hour->max = stats.max;
    hour->sum = stats.sum;
    hour->has_totals = stats.has_totals;
    hour->total_start = stats.total_start;
    hour->total_end = stats.total_end;
    return r;
}

int merge_add_steady(
    struct hist_merge *merge, const struct merge_unit *first_unit, const struct row_view *views)
{
    const struct column_run always = {1, merge->axis.n};
    struct buf columns CLEANUP(buf_done) = {0};
    struct buf body CLEANUP(buf_done) = {0};
    struct column_stats stats = {0};
    struct roll_minutes *minutes = &merge->minutes;
    uint32_t mask = 0;
    int r = 0;
    for (uint32_t i = 0; i < minutes->n; i++)
        minutes->samples[i] = merge->minute_from[i + 1] - merge->minute_from[i];
    memset(minutes->cells, 0, (size_t)minutes->n * HIST_METRICS * sizeof(*minutes->cells));
    roll_clear(merge->record);
    merge->record->samples = merge->axis.n;
    for (unsigned m = 0; m < HIST_METRICS && r == 0; m++) {
        enum shape shape = shape_of(merge, views, m);
        if (shape == SHAPE_ABSENT)
            continue;
        mask |= 1u << m;
        r = add_metric(merge, views, m, shape, &columns);
    }
    if (r < 0)
        return r;
    column_encode_runs(&always, 1, &stats, 0, &body);
    buf_put_varint(&body, mask);
    buf_append(&body, columns.data, columns.size);
    if (body.failed || columns.failed)
        return -ENOMEM;
    const struct row_section section = {
        .subject = first_unit->subject, .slot = first_unit->slot, .n = merge->axis.n};
    r = row_add_body(&merge->merged_row, &section, body.data, body.size);
    return r == 0 ? merge_add_rollups(merge, section.subject, section.slot) : r;
}
