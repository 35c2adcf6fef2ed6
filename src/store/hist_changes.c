/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns that seldom change (mode CHANGES), straight from the open chunk: the work is one step
 * per change instead of several per tick.
 */
#include <errno.h>

#include "base/mem.h"
#include "store/hist_column.h"
#include "store/hist_tail.h"

#define TICKS_PER_CHANGE 3 /* more changes than one in so many ticks: range coding pays */

static bool add_run(struct column_stats *stats, uint64_t slot_value, uint32_t ticks)
{
    int64_t value = (int64_t)slot_value - 1;
    if (slot_value == 0)
        return false;
    stats->min = MIN(stats->min, value);
    stats->max = MAX(stats->max, value);
    stats->sum = wrap_add(stats->sum, wrap_mul(value, ticks));
    return true;
}

int column_encode_changes(const struct tail_stream *stream, uint32_t n, struct column_stats *stats,
    uint64_t growth, struct buf *out)
{
    struct byte_reader r = byte_reader(stream->bytes, stream->size);
    const uint8_t *start = r.at;
    uint64_t value = stream->first;
    uint32_t tick = 0;
    uint32_t changes = 0;
    if (r.at != r.end && *r.at == 0) { /* at the first tick */
        r.at++;
        value = (uint64_t)wrap_add((int64_t)value, get_signed(&r));
        start = r.at;
    }
    stats->count = n;
    stats->first = stats->min = stats->max = (int64_t)value - 1;
    for (; r.at != r.end; changes++) {
        uint32_t ticks = (uint32_t)get_varint(&r);
        if (!add_run(stats, value, ticks) || changes >= n / TICKS_PER_CHANGE)
            return 0;
        tick += ticks;
        value = (uint64_t)wrap_add((int64_t)value, get_signed(&r));
    }
    if (!add_run(stats, value, n - tick))
        return 0;
    column_put_head(changes == 0 ? COLUMN_CONSTANT : COLUMN_CHANGES, stats, 1, growth, out);
    if (changes > 0) {
        buf_put_varint(out, (uint64_t)(r.end - start));
        buf_append(out, start, (size_t)(r.end - start));
    }
    return out->failed ? -ENOMEM : 1;
}

int column_decode_changes(const struct column_view *view, int64_t *ret_values)
{
    struct byte_reader r = byte_reader(view->payload, view->payload_size);
    int64_t value = view->stats.first;
    uint32_t filled = 0;
    while (r.at != r.end) {
        uint32_t end = filled + (uint32_t)get_capped(&r, view->n - filled);
        int64_t change = get_signed(&r);
        for (; filled < end; filled++)
            ret_values[filled] = value;
        value = wrap_add(value, change);
        if (r.bad || value < view->stats.min || value > view->stats.max)
            return -EBADMSG;
    }
    for (; filled < view->n; filled++)
        ret_values[filled] = value;
    return 0;
}

static void add_to_runs(struct column_run *runs, uint32_t *n_runs, int64_t value, uint32_t ticks)
{
    if (ticks == 0)
        return;
    if (*n_runs > 0 && runs[*n_runs - 1].value == value)
        runs[*n_runs - 1].ticks += ticks;
    else
        runs[(*n_runs)++] = (struct column_run){value, ticks};
}

int column_read_runs(const struct column_view *view, struct column_run *runs, uint32_t *n_runs)
{
    struct byte_reader r = byte_reader(view->payload, view->payload_size);
    int64_t value = view->stats.first;
    uint32_t tick = 0;
    while (r.at != r.end) {
        uint32_t ticks = (uint32_t)get_capped(&r, view->n - tick);
        add_to_runs(runs, n_runs, value, ticks);
        tick += ticks;
        value = wrap_add(value, get_signed(&r));
        if (r.bad || value < view->stats.min || value > view->stats.max)
            return -EBADMSG;
    }
    add_to_runs(runs, n_runs, value, view->n - tick);
    return 0;
}
