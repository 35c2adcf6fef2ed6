/* SPDX-License-Identifier: Apache-2.0 */
/* Reading columns (hist_column.h). */
#include <errno.h>

#include "base/mem.h"
#include "store/hist_column_code.h"

/* Reads the runs: checks that they fill @n exactly and counts what is known. */
static void read_runs(struct byte_reader *r, size_t n, struct column_view *view)
{
    view->n_runs = (uint32_t)get_capped(r, n + 1);
    view->runs = r->at;
    size_t total = 0;
    size_t known = 0;
    for (uint32_t i = 0; i < view->n_runs && !r->bad; i++) {
        size_t length = get_capped(r, n);
        total += length;
        known += i % 2 == 0 ? length : 0;
    }
    view->runs_end = r->at;
    view->stats.count = (uint32_t)known;
    if (total != n)
        r->bad = true;
}

static void read_spread(struct byte_reader *r, bool has_divisor, struct column_view *view)
{
    struct column_stats *stats = &view->stats;
    stats->min = stats->first - (int64_t)get_capped(r, (uint64_t)stats->first);
    stats->max = stats->first + (int64_t)get_capped(r, HIST_VALUE_MAX - (uint64_t)stats->first);
    stats->sum = wrap_add(get_signed(r), wrap_mul(stats->count, stats->first));
    if (has_divisor)
        view->divisor = get_capped(r, HIST_VALUE_MAX);
    if (stats->min == stats->max || view->divisor == 0 || stats->count < 2)
        r->bad = true;
}

int column_read(struct byte_reader *r, size_t n, uint64_t growth, struct column_view *ret_view)
{
    struct column_view view = {.divisor = 1, .n = (uint32_t)n, .stats.count = (uint32_t)n};
    struct column_stats *stats = &view.stats;
    unsigned head = get_u8(r);
    view.mode = head & 7;
    if (head > FLAGS_ALL || view.mode >= COLUMN_MODE_COUNT || n == 0 || n > HIST_COLUMN_MAX)
        return -EBADMSG;
    if (view.mode == COLUMN_UNKNOWN) {
        stats->count = 0;
        *ret_view = view;
        return r->bad || head != COLUMN_UNKNOWN ? -EBADMSG : 0;
    }
    view.deep = head & FLAG_DEEP;
    if (view.mode == COLUMN_CHANGES && (head & (FLAG_RUNS | FLAG_DIVISOR)))
        return -EBADMSG;
    if (view.deep && view.mode != COLUMN_VALUE && view.mode != COLUMN_DELTA)
        return -EBADMSG;
    if (head & FLAG_RUNS)
        read_runs(r, n, &view);
    stats->first = (int64_t)get_capped(r, HIST_VALUE_MAX);
    stats->min = stats->max = stats->first;
    stats->sum = wrap_mul(stats->count, stats->first);
    if (view.mode != COLUMN_CONSTANT)
        read_spread(r, head & FLAG_DIVISOR, &view);
    if (head & FLAG_TOTALS) {
        stats->has_totals = true;
        stats->total_start = get_varint(r);
        stats->total_end =
            stats->total_start + (uint64_t)wrap_add(get_signed(r), predicted_growth(stats, growth));
    }
    if (view.mode != COLUMN_CONSTANT) {
        view.payload_size = get_capped(r, reader_left(r));
        view.payload = get_bytes(r, view.payload_size);
    }
    if (r->bad)
        return -EBADMSG;
    *ret_view = view;
    return 0;
}

static void decode_values(struct range_decoder *d, const struct plan *plan, struct column_models *m,
    int64_t *numbers, size_t n)
{
    unsigned last = bit_length((uint64_t)numbers[0]);
    for (size_t i = 1; i < n; i++) {
        last = get_size(d, m->size[size_context(last)], plan->depth);
        numbers[i] = (int64_t)get_rest(d, m, plan, last);
    }
}

static void decode_deltas(struct range_decoder *d, const struct plan *plan, struct column_models *m,
    int64_t *numbers, size_t n)
{
    struct delta_state s = {0};
    for (size_t i = 1; i < n; i++) {
        bool zero = range_decode(d, &m->zero[s.zeros]);
        numbers[i] = zero ? numbers[i - 1] : wrap_add(numbers[i - 1], get_delta(d, m, plan, &s));
        s.zeros = (s.zeros << 1 | zero) & (PRIOR_ZERO_CONTEXTS - 1);
    }
}

static void decode_runs(struct range_decoder *d, const struct plan *plan, struct column_models *m,
    int64_t *numbers, size_t n)
{
    struct delta_state s = {0};
    unsigned context = 0;
    size_t i = 1;
    while (i < n) {
        size_t run = get_run(d, m, &context);
        for (; run > 0 && i < n; run--, i++)
            numbers[i] = numbers[i - 1];
        if (i == n)
            break;
        numbers[i] = wrap_add(numbers[i - 1], get_delta(d, m, plan, &s));
        i++;
    }
}

/* Numbers back to values, checked against what the header promised. */
static int denormalise(const struct column_view *view, int64_t *numbers, size_t n)
{
    uint64_t span = (uint64_t)(view->stats.max - view->stats.min) / view->divisor;
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad |= (uint64_t)numbers[i] > span;
        numbers[i] = wrap_add(view->stats.min, (int64_t)((uint64_t)numbers[i] * view->divisor));
    }
    return bad ? -EBADMSG : 0;
}

/* Moves known values to their places, from the back, so that it works in place. */
static void spread(const struct column_view *view, int64_t *values)
{
    uint32_t lengths[HIST_COLUMN_MAX + 1];
    struct byte_reader r = byte_reader(view->runs, (size_t)(view->runs_end - view->runs));
    for (uint32_t i = 0; i < view->n_runs; i++)
        lengths[i] = (uint32_t)get_varint(&r);
    size_t from = view->stats.count;
    size_t to = view->n;
    for (uint32_t i = view->n_runs; i-- > 0;) {
        for (uint32_t k = 0; k < lengths[i]; k++)
            values[--to] = i % 2 == 0 ? values[--from] : HIST_UNKNOWN;
    }
}

static int decode_payload(const struct column_view *view, int64_t *values)
{
    const struct column_stats *stats = &view->stats;
    struct plan plan = {.mode = view->mode, .min = stats->min, .divisor = view->divisor};
    struct column_deep deep;
    if (view->deep) {
        deep_init(&deep);
        plan.deep = &deep;
    }
    plan.depth = tree_depth((uint64_t)(stats->max - stats->min) / plan.divisor);
    struct column_models models;
    struct range_decoder d;
    range_decoder_init(&d, view->payload, view->payload_size);
    values[0] = (int64_t)((uint64_t)(stats->first - stats->min) / plan.divisor);
    if (plan.mode == COLUMN_VALUE) {
        prior_load(PRIOR_VALUE, &models);
        decode_values(&d, &plan, &models, values, stats->count);
    } else if (plan.mode == COLUMN_DELTA) {
        prior_load(PRIOR_DELTA, &models);
        decode_deltas(&d, &plan, &models, values, stats->count);
    } else {
        prior_load(PRIOR_RUNS, &models);
        decode_runs(&d, &plan, &models, values, stats->count);
    }
    return denormalise(view, values, stats->count);
}

int column_decode(const struct column_view *view, int64_t *ret_values)
{
    if (view->mode == COLUMN_UNKNOWN) {
        for (uint32_t i = 0; i < view->n; i++)
            ret_values[i] = HIST_UNKNOWN;
        return 0;
    }
    if (view->mode == COLUMN_CHANGES)
        return column_decode_changes(view, ret_values);
    int r = 0;
    if (view->mode == COLUMN_CONSTANT) {
        for (uint32_t i = 0; i < view->stats.count; i++)
            ret_values[i] = view->stats.first;
    } else {
        r = decode_payload(view, ret_values);
    }
    if (view->runs != NULL)
        spread(view, ret_values);
    return r;
}
